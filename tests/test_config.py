"""Configuration: precedence, choices by name, strictness, and every shipped file."""

import re
from pathlib import Path

import pytest
import yaml

from lightning_ebm.config import (
    ConfigError,
    distortion_in_test,
    identity,
    merge,
    parse_overrides,
    plain,
    read,
    resolve,
    to_yaml,
)
from lightning_ebm.experiments.grid import grid
from lightning_ebm.experiments.measure import count_floats
from lightning_ebm.memory import PatternSpec
from lightning_ebm.registry import memories

CONFIGS = Path(__file__).parent.parent / "configs"


def resolved(*overrides, text="", tmp_path=None):
    if tmp_path is None:
        return resolve(read_text(text, overrides))
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return resolve(read(path, overrides))


def read_text(text, overrides):
    return merge(yaml.safe_load(text) or {}, parse_overrides(overrides))


def test_precedence_is_defaults_file_command_line(tmp_path):
    (tmp_path / "base.yaml").write_text(
        "training: {updates: 1, rate: 0.5, clip: 3}\nmemory: {name: hopfield, rule: storkey}"
    )
    (tmp_path / "run.yaml").write_text("base: base.yaml\ntraining: {rate: 0.25}")
    config = resolve(read(tmp_path / "run.yaml", ["training.clip=2", "memory.center=true"]))
    assert (config.training.updates, config.training.rate, config.training.clip) == (1, 0.25, 2.0)
    assert config.training.validate_every == 500  # the default
    assert (config.memory.name, config.memory.config.rule, config.memory.config.center) == (
        "hopfield",
        "storkey",
        True,
    )


def test_a_recipe_lies_under_what_its_layer_says_and_over_the_layers_below(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("training: {rate: 0.25, clip: 3, updates: 7}\nmemory: {writing: {rate: 2.0}}")
    config = resolve(read(path, ["recipe=paper", "training.clip=2"]))
    assert (config.training.rate, config.training.clip, config.training.updates) == (5e-5, 2.0, 7)
    assert config.memory.config.writing.rate == 1e-4
    assert config.recipe == "paper"
    path.write_text("recipe: paper\ntraining: {rate: 0.25}")
    assert (resolve(read(path)).training.rate, resolve(read(path)).training.clip) == (0.25, 0.05)
    rows = grid({"compare": {"rows": {"a": {"recipe": "paper"}, "b": {}}}, "training": {"rate": 0.25}}, {})
    assert [cell.config.training.rate for cell in rows] == [5e-5, 0.25]
    with pytest.raises(ConfigError, match=r"no recipe 'papre'.*Did you mean 'paper'"):
        read(path, ["recipe=papre"])


def test_a_recipes_name_is_not_part_of_what_is_learned(tmp_path):
    named = resolve(parse_overrides(["recipe=paper"]))
    spelled = resolve({key: value for key, value in parse_overrides(["recipe=paper"]).items() if key != "recipe"})
    assert identity(named) == identity(spelled)


def test_another_name_drops_the_settings_of_the_old_one():
    text = "memory: {name: ebmm, writing: {steps: 3}}"
    assert resolved("memory=hopfield", text=text).memory.config.rule == "hebb"
    assert resolved("memory.name=hopfield", "memory.rule=storkey", text=text).memory.config.rule == "storkey"
    assert resolved("memory.writing.rate=0.5", text="memory: ebmm").memory.config.writing.rate == 0.5


def test_nested_choice_and_import_path():
    config = resolved("memory.energy=gated_rnn", "memory.energy.hops=2")
    assert (config.memory.config.energy.name, config.memory.config.energy.config.hops) == ("gated_rnn", 2)
    config = resolved("memory=baselines.hopfield:Hopfield", "memory.rule=storkey")
    assert config.memory.config.rule == "storkey"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainning.updates=3", "unknown key 'trainning'.*Did you mean 'training'"),
        ("training.updats=3", "unknown key 'training.updats'.*Did you mean 'updates'"),
        ("memory.energy.codes=3", "unknown key 'memory.energy.codes'.*Did you mean 'code'"),
        ("memory=hopfeld", "memory: there is no memory called 'hopfeld'.*Did you mean 'hopfield'"),
        ("memory=no.such:Thing", "memory: .*cannot be imported"),
        ("memory=pathlib:Path", "memory: .*needs a class attribute `config`"),
        ("memory.energy=3", "memory.energy.name must be one of"),
        ("training.updates=many", "training.updates: .*many"),
        ("training.updates=-1", "training.updates must be at least 0"),
        ("episodes.items=0", "episodes.items must be at least 1"),
        ("training.cooldown=2", "training.cooldown must be at most 1"),
        ("compare.mask=maybe", "compare.mask must be one of unknown, known, both"),
        ("resume=perhaps", "resume must be one of"),
        ("training=5", "training must hold keys and values"),
        ("compare.items=[0]", "compare.items must be numbers"),
        ("name=${nowhere}", "nowhere"),
        ("episodes.train_items=[3]", r"episodes.train_items must be a range \[low, high\] from 1, or empty, got \[3\]"),
        ("episodes.train_items=[0, 3]", "episodes.train_items must be a range"),
        ("episodes.train_items=[9, 3]", "episodes.train_items must be a range"),
        ("episodes.train_items=[1, many]", "episodes.train_items.*many"),
        ("episodes.curriculum=9", "episodes.curriculum raises .* episodes.train_items, which is empty"),
        ("test_distortion.size=3", "test_distortion.name must be one of any_of"),
        ("test_distortion=haf", "test_distortion: there is no distortion called 'haf'.*Did you mean 'half'"),
        ("distortion=", "distortion.name must be one of any_of"),
        ("distortion={name: any_of, of: half}", "distortion.of must be a list of distortion names"),
        ("distortion={name: any_of, of: [half, haf]}", r"distortion.of\[1\]: .*Did you mean 'half'"),
        (
            "distortion={name: any_of, of: [{name: half, sied: left}]}",
            r"'distortion.of\[0\].sied'.*Did you mean 'side'",
        ),
        ("distortion={name: any_of, of: [{side: left}]}", r"distortion.of\[0\].name must be one of"),
    ],
)
def test_mistakes_name_the_key(override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        resolved(override)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("word", ["training.updates", "--updates=3", "=3"])
def test_overrides_must_be_key_value(word):
    with pytest.raises(ConfigError, match="key=value"):
        resolved(word)


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a\n- b", "keys and values"), ("a: [1", "not YAML"), ("base: gone.yaml", "gone.yaml")],
)
def test_bad_files_are_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        resolved(text=text, tmp_path=tmp_path)
    with pytest.raises(ConfigError, match=r"missing\.yaml"):
        read(tmp_path / "missing.yaml")


def test_a_resolved_configuration_gives_itself_again():
    config = resolved("memory=memory_network", "episodes.items=3", "compare.rows={a: {seed: 3}}")
    assert resolve(yaml.safe_load(to_yaml(config))) == config


def test_a_list_of_choices_is_resolved_one_by_one():
    config = resolved("distortion={name: any_of, of: [half, {name: noise_block, size: [2, 5]}]}")
    half, block = config.distortion.config.of
    assert (half.name, half.config.side, block.name, block.config.size) == ("half", "random", "noise_block", [2, 5])
    assert resolve(yaml.safe_load(to_yaml(config))) == config
    assert str(config.distortion) == "any_of (of half (side random, fill noise) or noise_block (size [2, 5]))"


def test_the_test_is_distorted_as_training_unless_said():
    assert distortion_in_test(resolved("distortion.size=3")) == resolved("distortion.size=3").distortion
    config = resolved("test_distortion={name: half, side: left}")
    assert (distortion_in_test(config).name, distortion_in_test(config).config.side) == ("half", "left")
    assert resolved("test_distortion=", text="test_distortion: half") == resolved()
    assert identity(config) == identity(resolved()) != identity(resolved("distortion=half"))
    assert identity(resolved("episodes.train_items=[2, 3]")) != identity(resolved())


def test_identity_is_that_of_the_outcome():
    one = resolved("training.updates=3")
    assert identity(one) == identity(resolved("training.updates=3", "output=/elsewhere", "resume=never"))
    assert identity(one) == identity(resolved("training.updates=3", "trainer.devices=2", "episodes.test=7"))
    assert identity(one) != identity(resolved("training.updates=4"))
    assert identity(one) != identity(resolved("training.updates=3", "memory.energy.keys=3"))


def test_interpolation_sees_the_final_values():
    config = resolved("episodes.items=7", text="name: n-${episodes.items}")
    assert config.name == "n-7"


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_resolves_with_all_its_rows(path):
    assert plain(resolve(read(path)))
    assert grid(path)


SPECS = {
    "bits": PatternSpec((128,), binary=True),
    **dict.fromkeys(("glyphs", "omniglot"), PatternSpec((1, 32, 32), binary=True)),
    "cifar10": PatternSpec((3, 32, 32), binary=False),
    "tiny_imagenet": PatternSpec((3, 64, 64), binary=False),
}


@pytest.mark.parametrize("path", [CONFIGS / "all.yaml", *CONFIGS.glob("figure3_*.yaml")], ids=lambda path: path.stem)
def test_rows_have_as_many_floats_as_their_labels_say(path):
    for cell in grid(path):
        said = re.search(r"(\d+) floats", cell.label)
        if said:
            memory = memories.build(cell.config.memory, SPECS[cell.config.data.name])
            assert count_floats(memory, memory.initial_state(1))[0] == int(said[1]), cell.label
