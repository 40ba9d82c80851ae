"""From a run to a pretrained memory, and from it to the row that it is published with."""

import dataclasses
import os
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from lightning_ebm import pretrained
from lightning_ebm.cli import main
from lightning_ebm.config import ConfigError, identity, parse_overrides, plain, read, resolve
from lightning_ebm.experiments.compare import evaluate
from lightning_ebm.experiments.pretrained import interval, place, published, reproduce, run_config, wanted
from lightning_ebm.pretrained import PretrainedError
from lightning_ebm.training.trainer import build
from tests.marks import fast

DEBUG = Path(__file__).parents[2] / "configs" / "debug.yaml"
WORDS = ("training.log_images=false", "compare.mask=both", "compare.gallery=0")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A memory trained for four updates, and its file."""
    folder = tmp_path_factory.mktemp("export")
    words = [str(DEBUG), f"output={folder}", *WORDS]
    assert main(["train", *words]) == 0
    assert main(["export", *words, "--as", str(folder / "tiny.safetensors")]) == 0
    return resolve(read(DEBUG, words[1:])), folder / "tiny.safetensors"


def test_it_reads_as_the_best_checkpoint_does(exported):
    config, file = exported
    run = build(config)
    checkpoint = torch.load(run.folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    run.memory.load_state_dict({name.removeprefix("memory."): value for name, value in checkpoint.items()})
    memory, batch = pretrained.load(file), next(iter(run.data.test_dataloader()))
    with torch.no_grad():
        state, expected = memory.write(batch.patterns), run.memory.write(batch.patterns)
        assert all(torch.equal(state[name], expected[name]) for name in expected)
        assert torch.equal(memory.read(state, batch.queries), run.memory.read(expected, batch.queries))


def test_its_row_is_that_of_evaluate(exported):
    config, file = exported
    rows = published(pretrained.read(file))
    measured = evaluate(plain(config)).results
    assert len(rows) == 2 * 3  # both masks; the memory and two controls
    for row, expected in zip(rows, measured, strict=True):
        assert (row.error, row.error_corrupted) == (expected.error, expected.error_corrupted)
        assert (row.floats, row.items, row.mask_known) == (expected.floats, 4, expected.mask_known)
    assert (rows[0].floats, rows[0].updates, len(rows[0].error)) == (128, 4, 4) and rows[0].train_seconds > 0


def test_it_says_how_it_was_made_and_nothing_of_the_machine(exported):
    config, file = exported
    saved = pretrained.read(file)
    assert identity(run_config(saved)) == identity(config) == saved.made["trained: identity"]
    started = yaml.safe_load((build(config).folder / "provenance.yaml").read_text())
    assert saved.made["trained: device"] == started["device"] and saved.made["measured: torch"] == torch.__version__
    assert str(file.parent).encode() not in file.read_bytes()
    assert not {"output", "wandb", "compare", "checkpoint"} & yaml.safe_load(saved.config).keys()


def test_it_names_the_checkpoint_it_started_from_without_its_folder(exported, tmp_path):
    config, _ = exported
    first = build(config).folder / "checkpoints" / "best.ckpt"
    words = [str(DEBUG), f"output={tmp_path}", *WORDS, f"training.start_from={first}", "training.max_steps=1"]
    assert main(["train", *words]) == 0
    assert main(["export", *words, "--as", str(tmp_path / "x.safetensors")]) == 0
    saved = pretrained.read(tmp_path / "x.safetensors")
    assert run_config(saved).training.start_from == "best.ckpt"
    assert str(first.parent).encode() not in (tmp_path / "x.safetensors").read_bytes()


def test_evaluate_puts_published_and_reproduced_side_by_side(exported, capsys):
    _, file = exported
    assert main(["evaluate", "--memory", str(file), "episodes.test=2"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for mask in ("unknown", "known"):
        assert f"testing on 2 episodes of 4 patterns, mask {mask}, float32" in shown
    assert "published" in shown and "reproduced" in shown and "the first 2 of 4 test episodes" in shown
    again = reproduce(pretrained.read(file), ["episodes.test=2"])[0].results
    there, here = ([row for row in again if row.label == f"tiny, {when}"] for when in ("published", "reproduced"))
    assert len(there) == len(here) == 2  # masks
    for old, new in zip(there, here, strict=True):
        assert len(old.error) == 2 and new.error == pytest.approx(old.error) and new.mask_known == old.mask_known


def test_another_memory_does_not_reproduce_the_row(exported, refused):
    _, file = exported
    saved = pretrained.read(file)
    # what the unwritten memory would do is far from every row of a written one
    changed = {name: value * 1.5 for name, value in saved.parameters.items()}
    other = file.with_name("other.safetensors")
    other.write_bytes(dataclasses.replace(saved, parameters=changed).content())
    last = refused("evaluate", "--memory", str(other), "episodes.test=2")
    assert re.match(r"tiny, reproduced: the mean error on .* values is [\d.]+, outside of [\d.]+ to", last)


def test_the_interval_is_half_the_standard_error():
    # deviations of 1, 2, 3, 4 from 2.5: sum of squares 5, so the standard error is sqrt(5 / 3 / 4) = 0.645497
    assert interval([1.0, 2.0, 3.0, 4.0], 16) == pytest.approx((2.5 - 0.3227486, 2.5 + 0.3227486))
    assert interval([0.0] * 10, 4) == pytest.approx((-1 / 40, 1 / 40))  # one wrong value in 40 patterns
    assert interval([3.0], 5) == pytest.approx((2.8, 3.2))


def test_a_row_of_a_comparison(tmp_path, capsys):
    words = [str(DEBUG), f"output={tmp_path}", *WORDS[:1], "compare.gallery=0"]
    assert main(["export", *words, "--row", "EBMM", "--as", str(tmp_path / "row.safetensors")]) == 1
    assert re.search(r"EBMM is not trained, .*: first run lightning-ebm compare \S+debug.yaml", flat(capsys))
    assert main(["compare", *words, "memory=EBMM"]) == 0
    assert main(["export", *words, "--row", "EBMM", "--as", str(tmp_path / "row.safetensors")]) == 0
    assert run_config(pretrained.read(tmp_path / "row.safetensors")).name == "ebmm"
    capsys.readouterr()
    assert main(["export", *words, "--row", "Hopfield", "--as", str(tmp_path / "h.safetensors")]) == 1
    assert "Hopfield has no parameters to train" in flat(capsys)


def test_a_run_that_lacks_a_file_of_its_own_is_not_exported(exported, tmp_path, refused):
    config, _ = exported
    whole = build(config).folder / "checkpoints"
    folder = tmp_path / whole.parent.name / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "best.ckpt").write_bytes((whole / "best.ckpt").read_bytes())
    export = ["export", str(DEBUG), f"output={tmp_path}", *WORDS, "--as", str(tmp_path / "x.safetensors")]
    assert "has no checkpoints/last.ckpt, which holds updates and seconds" in refused(*export)
    (folder / "last.ckpt").write_bytes((whole / "last.ckpt").read_bytes())
    for damage in (b"commit: [\xff", b"commit", b"- commit"):
        (folder.parent / "provenance.yaml").write_bytes(damage)
        assert "provenance.yaml is damaged" in refused(*export)
    assert not (tmp_path / "x.safetensors").exists()


def flat(capsys):
    return " ".join(capsys.readouterr().out.split())


def test_a_row_is_named_by_its_label_and_if_that_is_not_enough_by_its_seed():
    several = parse_overrides(["compare.seeds=[0,1]"])
    assert wanted(DEBUG, several, "EBMM, seed 1").config.seed == 1
    with pytest.raises(ConfigError, match=r"--row must be one of EBMM, seed 0; EBMM, seed 1, got 'EBMM'"):
        wanted(DEBUG, several, "EBMM")
    with pytest.raises(ConfigError, match=r"no row 'EBM'\. Did you mean 'EBMM'\? Known: EBMM, Hopfield, Memory net"):
        wanted(DEBUG, {}, "EBM")
    assert wanted(DEBUG, {}, "").config.name == "debug"  # what train takes


@pytest.mark.parametrize("name", ["", "../up", "a b", "folder/name", "-x", "a:b.safetensors"])
def test_names_that_cannot_be(name):
    with pytest.raises(ConfigError, match="--as must be a name of letters and digits"):
        place(name)


def test_mistakes_are_one_line(exported, tmp_path, refused):
    config, file = exported
    words, untrained = ([str(DEBUG), f"output={output}", *WORDS] for output in (config.output, tmp_path))
    cases = {
        ("export", *words, "--as", str(file)): "remove it first",
        ("export", *words, "--as", "glyphs-4096"): "remove it first",
        ("export", *untrained, "--as", str(tmp_path / "x.safetensors")): "first run lightning-ebm train",
        ("evaluate", "--memory", "nowhere"): "there is no pretrained memory 'nowhere'. Known: ",
        ("evaluate", "--memory", str(file), "distortion.size=3"): "only data.root, data.download, episodes.test",
        ("evaluate", "distortion.size=3", "--memory", str(file)): "only data.root, data.download, episodes.test",
        ("evaluate", "--memory", str(file), "episodes.test=5"): "episodes.test must be at most 4",
        ("evaluate", "--memory", str(file), "data.root=/x"): "unknown key 'data.root'",
        ("evaluate",): "evaluate needs a configuration",
    }
    for arguments, message in cases.items():
        assert message in refused(*arguments), arguments


ALIASES = "a: &a [x]\n" + "".join(
    f"{key}: &{key} [{', '.join([f'*{one}'] * 10)}]\n" for one, key in pairwise("abcdefghi")
)
"""Nine lines that hold a hundred million values once their aliases are written out."""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": []}, "has no published row"),
        ({"rows": [{"precision": "float32"}]}, "rows of the pretrained memory tiny cannot be read"),
        ({"config": "data: {name: 'os:system'}"}, "could lead to an import"),
        ({"config": "data: {name: '${oc.env:HOME}'}"}, "could lead to an import"),
        ({"config": "[1, 2"}, "the configuration of the pretrained memory tiny, line 1"),
        ({"config": "[1, 2]"}, "is not a YAML mapping"),
        ({"config": ALIASES}, "holds more than 100,000 values"),
        ({"config": "data: {name: glyphs, size: 20}"}, "and its data are"),
    ],
)
def test_files_that_cannot_be_measured_are_refused(exported, changes, message):
    saved = dataclasses.replace(pretrained.read(exported[1]), **changes)
    with pytest.raises((PretrainedError, ConfigError), match=message):
        reproduce(saved, ["episodes.test=1"])


def test_errors_of_another_type_are_refused(exported):
    saved = pretrained.read(exported[1])
    rows = [saved.rows[0] | {"error": ["1"]}]
    with pytest.raises(PretrainedError, match="error must be a"):
        published(dataclasses.replace(saved, rows=rows))


@pytest.mark.data_root
@pytest.mark.parametrize("name", fast(["glyphs-4096"], pretrained.names()))
def test_each_shipped_memory_reproduces_its_row(name):
    """On the first of its test episodes: the same errors as when it was published, but for roundings."""
    saved = pretrained.read(name)
    if hasattr(run_config(saved).data.config, "root") and not os.environ.get("LIGHTNING_EBM_DATA"):
        pytest.skip("$LIGHTNING_EBM_DATA is not set")
    comparison, deviations = reproduce(saved, ["episodes.test=6"])
    assert any(not result.is_control for result in comparison.results)
    assert deviations == []


@pytest.mark.parametrize("name", pretrained.names())
def test_the_documentation_has_the_numbers_of_the_files(name):
    """In the table of docs/pretrained.md: error on damaged values, then on all, with bands."""
    page = (DEBUG.parent.parent / "docs" / "pretrained.md").read_text(encoding="utf-8")
    (line,) = re.findall(rf"^\| `{re.escape(name)}` .*$", page, re.MULTILINE)
    row = published(pretrained.read(name))[0]
    for errors in (row.error_corrupted, row.error):
        low, high = np.percentile(errors, [5, 95])
        assert f"{np.mean(errors):.1f} [{low:.1f}, {high:.1f}]" in line
    assert f"| {row.floats:,} | {row.items} |" in line


def test_there_is_a_shipped_memory_that_needs_no_files():
    assert any(not hasattr(run_config(pretrained.read(name)).data.config, "root") for name in pretrained.names())
