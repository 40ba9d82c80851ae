"""`base:` names a configuration of the package, from any folder, unless a file of that name is there."""

import pytest

from lightning_ebm.config import ConfigError, read, resolve


def test_a_base_by_name(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("base: bits\nseed: 3\nepisodes: {batch: 2}")
    config = resolve(read(path))
    assert (config.data.name, config.seed, config.episodes.batch, config.episodes.val) == ("bits", 3, 2, 24)
    (tmp_path / "bits").write_text("data: glyphs")
    assert resolve(read(path)).data.name == "glyphs"


def test_a_folder_does_not_hide_a_configuration_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "omniglot").mkdir()  # where one keeps the data of that name
    assert resolve(read("omniglot")).data.name == "omniglot"


def test_a_name_that_the_package_does_not_have(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("base: bitz")
    with pytest.raises(ConfigError, match=r"mine.yaml: there is neither a file 'bitz' nor .* Did you mean 'bits'\?"):
        read(path)


def test_a_mapping_has_a_base_too(tmp_path, monkeypatch):
    config = resolve(read({"base": "bits", "seed": 3}, {"episodes": {"batch": 2}}))
    assert (config.data.name, config.seed, config.episodes.batch, config.episodes.val) == ("bits", 3, 2, 24)
    (tmp_path / "mine.yaml").write_text("base: bits\nname: mine")
    monkeypatch.chdir(tmp_path)
    assert resolve(read({"base": "mine.yaml", "recipe": "paper"})) == resolve(read("mine.yaml", {"recipe": "paper"}))
    assert resolve(read({"base": "mine.yaml"})).name == "mine"
    with pytest.raises(ConfigError, match=r"^there is neither a file 'bitz' nor .* Did you mean 'bits'\?"):
        read({"base": "bitz"})
