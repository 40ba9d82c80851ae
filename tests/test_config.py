"""Configuration: precedence, choices by name, strictness, and every shipped file."""

import dataclasses
import itertools
import os
import re
import types
import typing
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmarks.config import BenchConfig
from lightning_ebm.cli import main
from lightning_ebm.config import (
    ConfigError,
    build,
    distortion_in_test,
    identity,
    load_yaml,
    merge,
    parse_overrides,
    plain,
    read,
    resolve,
    to_yaml,
)
from lightning_ebm.experiments.grid import grid
from lightning_ebm.experiments.measure import count_floats
from lightning_ebm.experiments.recall import RecallConfig
from lightning_ebm.memory import PatternSpec
from lightning_ebm.registry import Choice, datasets, memories
from lightning_ebm.reporting.summarise import SummaryConfig
from lightning_ebm.schema import RENAMED, RunConfig
from lightning_ebm.sweeping.trials import SweepConfig
from tests.marks import fast

CONFIGS, RESULTS = (Path(__file__).parent.parent / folder for folder in ("configs", "results"))


def resolved(*overrides, text=""):
    return resolve(merge(yaml.safe_load(text) or {}, parse_overrides(overrides)))


def test_precedence_is_defaults_file_command_line(tmp_path):
    (tmp_path / "base.yaml").write_text(
        "training: {max_steps: 1, learning_rate: 0.5, clip: 3}\nmemory: {name: hopfield, rule: storkey}"
    )
    (tmp_path / "run.yaml").write_text("base: base.yaml\ntraining: {learning_rate: 0.25}")
    config = resolve(read(tmp_path / "run.yaml", ["training.clip=2", "memory.center=true"]))
    assert (config.training.max_steps, config.training.learning_rate, config.training.clip) == (1, 0.25, 2.0)
    assert config.training.validate_every == 500  # the default
    assert (config.memory.name, config.memory.config.rule, config.memory.config.center) == ("hopfield", "storkey", True)


def test_a_recipe_lies_under_what_its_layer_says_and_over_the_layers_below(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("training: {learning_rate: 0.25, clip: 3, max_steps: 7}\nmemory: {writing: {write_rate: 2.0}}")
    config = resolve(read(path, ["recipe=paper", "training.clip=2"]))
    assert (config.training.learning_rate, config.training.clip, config.training.max_steps) == (5e-5, 2.0, 7)
    assert config.memory.config.writing.write_rate == 1e-4
    assert config.recipe == "paper"
    path.write_text("recipe: paper\ntraining: {learning_rate: 0.25}")
    assert (resolve(read(path)).training.learning_rate, resolve(read(path)).training.clip) == (0.25, 0.05)
    rows = grid({"compare": {"rows": {"a": {"recipe": "paper"}, "b": {}}}, "training": {"learning_rate": 0.25}}, {})
    assert [cell.config.training.learning_rate for cell in rows] == [5e-5, 0.25]
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
    assert resolved("memory.writing.write_rate=0.5", text="memory: ebmm").memory.config.writing.write_rate == 0.5


def test_nested_choice_and_import_path():
    config = resolved("memory.energy=gated_rnn", "memory.energy.hops=2")
    assert (config.memory.config.energy.name, config.memory.config.energy.config.hops) == ("gated_rnn", 2)
    config = resolved("memory=baselines.hopfield:Hopfield", "memory.rule=storkey")
    assert config.memory.config.rule == "storkey"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainning.max_steps=3", "unknown key 'trainning'.*Did you mean 'training'"),
        ("training.max_step=3", "unknown key 'training.max_step'.*Did you mean 'max_steps'"),
        ("memory.energy.code_dims=3", "unknown key 'memory.energy.code_dims'.*Did you mean 'code_dim'"),
        ("memory=hopfeld", "memory: there is no memory called 'hopfeld'.*Did you mean 'hopfield'"),
        ("memory=no.such:Thing", "memory: .*cannot be imported"),
        ("memory=pathlib:Path", "memory: .*needs a class attribute `config`"),
        ("memory.energy=3", "memory.energy: there is no energy called '3'"),
        ("memory.energy=[3]", "memory.energy.name must be one of"),
        ("training.max_steps=many", "training.max_steps: .*many"),
        ("training.max_steps=-1", "training.max_steps must be at least 0"),
        ("episodes.patterns_per_episode=0", "episodes.patterns_per_episode must be at least 1"),
        ("training.cooldown_fraction=2", "training.cooldown_fraction must be at least 0 and at most 1"),
        ("compare.mask=maybe", "compare.mask must be one of unknown, known, both"),
        ("resume=perhaps", "resume must be one of"),
        ("training=5", "training must hold keys and values"),
        ("compare.patterns_per_episode=[0]", "compare.patterns_per_episode must be at least 1"),
        (
            "compare.patterns_per_episode=[4, 4]",
            r"compare.patterns_per_episode must not hold a value twice, got \[4, 4\]",
        ),
        ("compare.seeds=[1, 1]", r"compare.seeds must not hold a value twice, got \[1, 1\]"),
        ("compare.precisions=[int8, int8]", "compare.precisions must not hold a value twice"),
        ("episodes.batch=1000000000", "episodes.batch must be at least 1 and at most 65536, got 1000000000"),
        ("name=../elsewhere", "name must be the name of a folder within output, got '../elsewhere'"),
        ("name=", "name must be the name of a folder"),
        ("name=/me", "name must be the name of a folder within output, got '/me'"),
        ("compare.precisions=[]", "compare.precisions must be some of float32"),
        ("compare.precisions=[int3]", "compare.precisions must be one of float32"),
        ("trainer.timeout=inf", "trainer.timeout: .*finite number, got 'inf'"),
        ("training.clip=.nan", "training.clip: .*number.*got '.nan'"),
        ("episodes.test=99999999999999999999", "episodes.test: a whole number must fit into 64 bits"),
        ("seed=4294967296", "seed must be at least 0 and at most 4294967295"),
        ("episodes.patterns_per_episode=1:30", "episodes.patterns_per_episode: .*1:30"),
        ("recipe=[paper]", r"there is no recipe \['paper'\]"),
        ("memory=.relative:Thing", "memory: .*cannot be imported"),
        (
            "episodes.train_patterns_per_episode=[3]",
            r"episodes.train_patterns_per_episode must be a range \[low, high\] from 1, or empty, got \[3\]",
        ),
        ("episodes.train_patterns_per_episode=[0, 3]", "episodes.train_patterns_per_episode must be at least 1"),
        ("episodes.train_patterns_per_episode=[9, 3]", "episodes.train_patterns_per_episode must be a range"),
        ("episodes.train_patterns_per_episode=[1, many]", "episodes.train_patterns_per_episode.*many"),
        ("episodes.curriculum=9", "episodes.curriculum raises .* episodes.train_patterns_per_episode, which is empty"),
        ("test_distortion.size=3", "test_distortion.name must be one of any_of"),
        ("test_distortion=haf", "test_distortion: there is no distortion called 'haf'.*Did you mean 'half'"),
        ("distortion=", "distortion.name must be one of any_of"),
        ("distortion={name: any_of, of: half}", "distortion.of must be a list of distortion names"),
        ("memory={name: mann, name: lstm}", "memory, line 1: 'name' is given twice"),
        ("compare.rows={a: [}", "compare.rows, line 1: "),
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


@pytest.mark.parametrize("word", ["training.max_steps", "--max_steps=3", "=3"])
def test_overrides_must_be_key_value(word):
    with pytest.raises(ConfigError, match="key=value"):
        resolved(word)


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{key}: &{key} [{', '.join([f'*{below}'] * 10)}]\n" for below, key in itertools.pairwise("abcdefgh")
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a\n- b", "keys and values"),
        ("a: [1", "c.yaml, line 1: "),
        ("training:\n\tmax_steps: 3", "c.yaml, line 2: .*cannot start any token"),
        (
            "training: {max_steps: 1}\nname: a\ntraining: {learning_rate: 2}",
            "c.yaml, line 3: 'training' is given twice",
        ),
        ("compare:\n  rows:\n    a: {}\n    'a': {}", "c.yaml, line 4: 'a' is given twice"),
        ("seed: !!python/object:os.system 3", "c.yaml, line 1: could not determine a constructor"),
        ("seed: !!timestamp soon", "c.yaml, line 1: could not determine a constructor"),
        ("seed: 1\n---\nseed: 2", "c.yaml, line 2: but found another document"),
        ("? [a]\n: 1", "c.yaml, line 1: found unhashable key"),
        (LAUGHS, "c.yaml holds more than 100,000 values"),
        ("name: &a [*a]", "c.yaml holds more than 100,000 values"),
        ("[" * 5000, "c.yaml is not YAML"),
        ("name: f\N{LATIN SMALL LETTER U WITH DIAERESIS}r".encode("latin-1"), "c.yaml is not YAML in UTF-8"),
        (b"name: a\0b", "c.yaml is not YAML in UTF-8"),
        ('name: "a\\0b"', "name: text must not hold NUL"),
        ("name: a".encode("utf-32"), "c.yaml is not YAML"),
        ("base: gone.yaml", "gone.yaml, the base of .*c.yaml: No such file"),
        ('base: "a\\0b"', "c.yaml: base: text must not hold NUL"),
        ("base: [a.yaml]", r"c.yaml: base: .* text, got \['a.yaml'\]"),
        ("base: c.yaml", "c.yaml: base leads back to"),
        ("base: loop.yaml", "loop.yaml: base leads back to .*c.yaml"),
        ("base: .", "cannot read the configuration .*: Is a directory"),
    ],
)
def test_bad_files_are_named(tmp_path, content, message):
    (tmp_path / "c.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "loop.yaml").write_text("base: ./c.yaml")
    with pytest.raises(ConfigError, match=message) as caught:
        resolve(read(tmp_path / "c.yaml"))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"missing\.yaml"):
        read(tmp_path / "missing.yaml")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_are_read_in_the_encodings_of_yaml(tmp_path, encoding):
    (tmp_path / "c.yaml").write_text("name: für λ\r\nseed: 3", encoding=encoding)
    config = resolve(read(tmp_path / "c.yaml"))
    assert (config.name, config.seed) == ("für λ", 3)


TEXTS = [
    "my runs/exp #1", "12345e7", "yes", "null", "2026-11-28", "0x10", "010", "1:30", "1_000", "a: b", "[x]", "[{x: 1}]",
    "{a}", "[!E]*", "*network", "&x", "!x", "'quoted'", '"', "$a.b", "???", "<<", "=", "a=b", " padded ", ".inf",
    "-", "%", "\udcff", "tab\tend",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_kept_as_given(tmp_path, text):
    assert resolved(f"name={text}", f"wandb.group={text}").name == text
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"name": text, "wandb": {"tags": [text]}}))
    config = resolve(read(tmp_path / "c.yaml"))
    assert (config.name, config.wandb.tags) == (text, [text])
    assert resolve(load_yaml(to_yaml(config), "")) == config


@pytest.mark.parametrize("text", ["12345e7", "yes", "2026-11-28", "0x10", "1:30", "null", "~"])
def test_text_needs_no_quotes_in_a_file_and_labels_are_text(tmp_path, text):
    (tmp_path / "c.yaml").write_text(f"name: {text}\ncompare: {{rows: {{{text}: {{wandb: {{entity: {text}}}}}}}}}")
    config = resolve(read(tmp_path / "c.yaml"))
    assert (config.name, list(config.compare.rows)) == (text, [text])
    (cell,) = grid(tmp_path / "c.yaml")
    assert (cell.label, cell.config.wandb.entity) == (text, text)


def test_numbers_and_words_share_a_setting_by_what_the_text_spells():
    assert resolved("distortion.size=[4, 16]").distortion.config.size == [4, 16]
    assert resolved("distortion=pixels", "distortion.amount=2.5e-1").distortion.config.amount == 0.25
    fills = [resolved("distortion=half", f"distortion.fill={one}").distortion.config.fill for one in ("0", "noise")]
    assert fills == [0, "noise"]
    slots = [resolved("memory=pca", f"memory.slots={one}").memory.config.slots for one in ("3", "null", "None")]
    assert slots == [3, None, None]


@pytest.mark.parametrize(("glob", "kept"), [("*network", ["Memory network"]), ("[!E]*y", ["Pseudo-inverse memory"])])
def test_globs_need_no_quotes_of_yaml(glob, kept):
    assert [one.label for one in grid(CONFIGS / "debug.yaml", [f"memory={glob}"])] == kept


SETTINGS = [RunConfig, RecallConfig, SweepConfig, SummaryConfig, BenchConfig, *map(datasets.load, datasets.names())]


def test_every_new_name_is_a_key_and_no_former_one_is():
    def keys(schema, path):
        for entry in dataclasses.fields(schema):
            here, kind = f"{path}{entry.name}", typing.get_type_hints(schema)[entry.name]
            yield here
            nested = [kind] if dataclasses.is_dataclass(kind) else []
            if registry := entry.metadata.get("registry"):
                nested = [registry.load(name).config for name in registry.names()]
            for one in nested:
                if path.count(".") < 2:  # a distortion may hold distortions
                    yield from keys(one, f"{here}.")

    known = set(keys(RunConfig, ""))
    assert known.issuperset(RENAMED.values())
    assert known.isdisjoint(RENAMED)


def test_a_home_is_expanded_in_every_path_of_every_key(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "base.yaml").write_text(
        "output: ~/runs\ncompare: {paper_results: ~/mine.csv}\ndata: {name: mnist, root: ~}"
    )
    (tmp_path / "run.yaml").write_text("base: ~/base.yaml\nname: ~/not-a-path")
    config = resolve(read(tmp_path / "run.yaml", ["checkpoint=~/c.ckpt"]))
    assert (config.output, config.compare.paper_results) == (f"{tmp_path}/runs", f"{tmp_path}/mine.csv")
    assert (config.checkpoint, config.data.config.root) == (f"{tmp_path}/c.ckpt", str(tmp_path))
    assert config.name == "~/not-a-path"
    assert resolved("output=./~").output == "./~"
    with pytest.raises(ConfigError, match=r"output: '~nobody-of-that-name/x' names an unknown home"):
        resolved("output=~nobody-of-that-name/x")
    checked = 0
    for schema in SETTINGS:
        schema = getattr(schema, "config", schema)
        for key in {"output", "checkpoint", "paper_results", "root"} & {
            entry.name for entry in dataclasses.fields(schema)
        }:
            assert getattr(build(schema, {key: "~/x"}, ""), key) == f"{tmp_path}/x", (schema, key)
            checked += 1
    assert checked == 13


def test_a_former_key_names_the_new_one(monkeypatch):
    monkeypatch.setitem(RENAMED, "training.speed", "training.learning_rate")
    monkeypatch.setitem(RENAMED, "memory.writing.speed", "memory.writing.write_rate")
    for key in ("training.speed", "memory.writing.speed"):
        with pytest.raises(ConfigError, match=f"{key} is now called {RENAMED[key]}"):
            resolved(f"{key}=3")


def leaves(schema, above=""):
    """Every key, its type, and whether it is a path, of a schema and of the classes that its choices name."""
    for entry in dataclasses.fields(schema):
        kind, key = typing.get_type_hints(schema)[entry.name], f"{above}{entry.name}"
        if "registry" in entry.metadata and isinstance(entry.default, str):
            yield key, Choice, False
            if entry.default:
                yield from leaves(entry.metadata["registry"].load(entry.default).config, f"{key}.")
        elif dataclasses.is_dataclass(kind):
            yield key, kind, False
            yield from leaves(kind, f"{key}.")
        else:
            yield key, kind, entry.metadata.get("path", False)


LEAVES = list(leaves(RunConfig))
ODD = [
    "", "0", "-1", "1", "1.5", "1e99", "1e400", "nan", "-inf", "true", "No", "null", "[]", "{}", "[1, 2]", "[a, [b]]",
    "{a: 1}", "{name: half}", "{name: {}}", "[[[[1]]]]", "9" * 30, "9" * 5000, "~", "~/x", "~nobody/x", "a\nb",
    "\x1b[2J", "\0", "\u2028",
    "\udcff", "ebmm", "os:path", "a:b:c", "[/x]", ":smile:", *TEXTS,
]  # fmt: skip
WORDS = st.sampled_from(ODD) | st.text(max_size=12) | st.integers().map(str) | st.floats().map(str)


@st.composite
def cases(draw):
    key, kind, path = draw(st.sampled_from(LEAVES))
    how = draw(st.sampled_from(["value", "value", "value", "letter lost", "key below", "odd key"]))
    if how != "value":
        cut = draw(st.integers(0, len(key) - 1))
        key = {"letter lost": key[:cut] + key[cut + 1 :], "key below": f"{key}.{draw(WORDS)}", "odd key": draw(WORDS)}[
            how
        ]
    return key, kind if how == "value" else None, path, draw(WORDS), draw(st.booleans())


def value_at(config, key):
    for part in key.split("."):
        config = getattr(config.config if isinstance(config, Choice) else config, part)
    return config


def kept(kind, path, text, value):
    """Whether a value is what a text says, read by another way than the configuration's."""
    if kind is str:
        return value == (os.path.expanduser(text) if path else text)
    if kind is Choice:
        return not text or value.name == text or f"name: {value.name}" in text
    if kind is bool:
        return text.strip().lower() in (
            ("true", "yes", "on", "1", "t", "y") if value else ("false", "no", "off", "0", "f", "n")
        )
    if kind in (int, float):
        return float(text.replace("_", "")) == value
    found = yaml.load(text, Loader=yaml.BaseLoader)
    if kind is typing.Any or isinstance(kind, types.UnionType):
        found = numbers(found)
    return plain(value) == (list(map(int, found)) if kind == list[int] else found)


def numbers(found):
    """Numbers for the texts that spell them, in lists too."""
    if isinstance(found, list):
        return list(map(numbers, found))
    try:
        return float(found)
    except (TypeError, ValueError):
        return found


@pytest.mark.slow
def test_any_word_is_refused_in_one_line_or_kept_as_given(tmp_path, capsys):
    seen, refused = set(), []
    file = tmp_path / "c.yaml"

    @settings(
        max_examples=120,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def check(case):
        key, kind, path, text, in_file = case
        seen.add(case)
        word = [f"{key}={text}"]
        if in_file:
            node = text
            for part in reversed(key.split(".")):
                node = {part: node}
            file.write_text(yaml.safe_dump(node))
            word = []
        else:
            file.write_text("")
        try:
            config = resolve(read(file, word))
        except ConfigError:
            refused.append(case)
            if len(refused) <= 20:  # the others differ in what is refused, not in how the command line says it
                assert main(["show", str(file), *word]) == 1
                (line,) = capsys.readouterr().out.splitlines()
                assert line.startswith("error: ")
        else:
            if kind and not dataclasses.is_dataclass(kind):
                assert kept(kind, path, text, value_at(config, key)) or (in_file and text in ("", "~"))

    check()
    assert len(seen) >= 80


def test_a_resolved_configuration_gives_itself_again():
    config = resolved("memory=memory_network", "episodes.patterns_per_episode=3", "compare.rows={a: {seed: 3}}")
    assert resolve(load_yaml(to_yaml(config), "")) == resolve(yaml.safe_load(to_yaml(config))) == config


def test_a_list_of_choices_is_resolved_one_by_one():
    config = resolved("distortion={name: any_of, of: [half, {name: block, size: [2, 5]}, half]}")
    half, block, _ = config.distortion.config.of
    assert (half.name, half.config.side, block.name, block.config.size) == ("half", "random", "block", [2, 5])
    assert resolve(load_yaml(to_yaml(config), "")) == resolve(yaml.safe_load(to_yaml(config))) == config
    assert str(config.distortion) == "any_of (of half (side random, fill noise) or block (size [2, 5], fill noise))"


def test_the_test_is_distorted_as_training_unless_said():
    assert distortion_in_test(resolved("distortion.size=3")) == resolved("distortion.size=3").distortion
    config = resolved("test_distortion={name: half, side: left}")
    assert (distortion_in_test(config).name, distortion_in_test(config).config.side) == ("half", "left")
    assert resolved("test_distortion=", text="test_distortion: half") == resolved()
    assert identity(config) == identity(resolved()) != identity(resolved("distortion=half"))
    assert identity(resolved("episodes.train_patterns_per_episode=[2, 3]")) != identity(resolved())


def test_identity_is_that_of_the_outcome():
    one = resolved("training.max_steps=3")
    assert identity(one) == identity(resolved("training.max_steps=3", "output=/elsewhere", "resume=never"))
    assert identity(one) == identity(resolved("training.max_steps=3", "trainer.devices=2", "episodes.test=7"))
    assert identity(one) != identity(resolved("training.max_steps=4"))
    assert identity(one) != identity(resolved("training.max_steps=3", "memory.energy.keys=3"))


def test_interpolation_sees_the_final_values():
    config = resolved("episodes.patterns_per_episode=7", text="name: n-${episodes.patterns_per_episode}")
    assert config.name == "n-7"
    with pytest.raises(ConfigError, match=r"^Interpolation key 'episodes.itmes' not found"):
        resolved(text="name: n-${episodes.itmes}")


SHIPPED = sorted([*CONFIGS.glob("*.yaml"), *(p for p in RESULTS.glob("*/*.yaml") if p.name != "config.yaml")])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_configuration_resolves_with_all_its_rows(path):
    assert plain(resolve(read(path)))
    assert grid(path)


SPECS = {
    "bits": PatternSpec((128,), binary=True),
    **dict.fromkeys(("glyphs", "omniglot"), PatternSpec((1, 32, 32), binary=True)),
    "cifar10": PatternSpec((3, 32, 32), binary=False),
    "tiny_imagenet": PatternSpec((3, 64, 64), binary=False),
}


@pytest.mark.parametrize(
    "path",
    fast([CONFIGS / "figure3_omniglot.yaml"], [RESULTS / "all-glyphs" / "all.yaml", *CONFIGS.glob("figure3_*.yaml")]),
    ids=lambda path: path.stem,
)
def test_rows_have_as_many_floats_as_their_labels_say(path):
    for cell in grid(path):
        said = re.search(r"(\d+) floats", cell.label)
        if said:
            memory = memories.build(cell.config.memory, SPECS[cell.config.data.name])
            assert count_floats(memory, memory.initial_state(1))[0] == int(said[1]), cell.label
