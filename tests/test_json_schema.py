"""The schema that editors read: current, in accord with the configuration's own checks, and wrong where those are."""

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from lightning_ebm.cli import main
from lightning_ebm.config import ConfigError, plain, read, resolve
from lightning_ebm.json_schema import json_schema, meanings
from lightning_ebm.registry import analyses, datasets, distortions, memories
from lightning_ebm.schema import TrainingConfig

ROOT = Path(__file__).parent.parent
SHIPPED = sorted((ROOT / "configs").glob("*.yaml"))
OURS = [path for path in ROOT.glob("results/**/*.yaml") if path.name != "config.yaml"]  # those are records
SCHEMA = json.loads((ROOT / "configs" / "schema.json").read_text(encoding="utf-8"))
CHECK = Draft7Validator(SCHEMA)


def test_the_shipped_schema_is_what_the_verb_prints(capsys):
    assert main(["schema"]) == 0
    message = "run: lightning-ebm schema > configs/schema.json"
    assert capsys.readouterr().out == (ROOT / "configs" / "schema.json").read_text(encoding="utf-8"), message
    assert main(["schema", "configs/demo.yaml"]) == 1


def test_it_is_a_schema():
    Draft7Validator.check_schema(json_schema())


@pytest.mark.parametrize("path", [*SHIPPED, *OURS], ids=lambda path: path.stem)
def test_configurations_are_valid(path):
    text = path.read_text(encoding="utf-8")
    assert not list(CHECK.iter_errors(yaml.safe_load(text)))
    if path in SHIPPED:
        assert text.startswith("# yaml-language-server: $schema=schema.json\n")


WRONG = [
    "trainning: {max_steps: 3}",
    "training: {updates: 3}",
    "training: {max_steps: -1}",
    "training: {max_steps: 1.5}",
    "training: {max_steps: many}",
    "training: {ema_decay: 1}",
    "training: {pretrain_objective: autoencoding}",
    "training: {log_images: maybe}",
    "memory: boltzmann",
    "memory: {name: hopfield, slots: 3}",
    "memory: {energy: {name: mixture, width: 3}}",
    "memory: {slotz: 3}",
    "memory: {name: lstm, width: much}",
    "data: {name: bits, side: 3}",
    "distortion: {name: block, fill: sand}",
    "distortion: {name: any_of, of: half}",
    "test_distortion: 3",
    "analysis: {name: basin, shares: [2]}",
    "analysis: {name: rate, precisions: []}",
    "compare: {rows: {one: {memory: {nam: hopfield}}}}",
    "compare: {rows: {one: hopfield}}",
    "compare: {vary: {distortion: {half: {distorsion: half}}}}",
    "compare: {precisions: [int2]}",
    "episodes: {train_patterns_per_episode: 4}",
]
RIGHT = [
    "{}",
    "name: 12345",
    "memory: hopfield",
    "memory: {name: lstm, width: null}",
    "memory: {name: lstm, width: none}",
    'memory: "mine:Memory"',
    'memory: {name: "mine:Memory", anything: 3}',
    "memory: {energy: {name: mixture, slots: 3}}",
    "memory: {writing: {steps: 3}}",
    "test_distortion: ''",
    "distortion: {name: pixels, amount: [4, 8]}",
    "seed: 3\ntraining: {max_steps: '${seed}', log_images: false}",
    "distortion: {name: any_of, of: [half, {name: block, size: 3}]}",
    "compare: {rows: {one: {memory: 'mine:Memory', sizes: {small: {memory: {keys: 1}}}}}}",
    "compare: {rows: {one: {memory: hopfield, sizes: {small: {seed: 1}}}}, vary: {a: {b: {distortion: half}}}}",
]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_wrong_in_the_schema_too(text):
    """The second judge is the configuration itself, which knows nothing of the schema; rows are read by the grid."""
    settings = yaml.safe_load(text)
    assert list(CHECK.iter_errors(settings))
    if not text.startswith("compare: {rows") and "vary" not in text:
        with pytest.raises(ConfigError):
            resolve(read(settings))


@pytest.mark.parametrize("text", RIGHT)
def test_what_is_right_is_right_in_the_schema_too(text):
    settings = yaml.safe_load(text)
    assert not list(CHECK.iter_errors(settings))
    if "mine:" not in text:
        resolve(read(settings))


def test_every_resolved_default_is_valid():
    """Each class with all of its settings written out, as `show` prints them."""
    registries = {"memory": memories, "data": datasets, "distortion": distortions, "analysis": analyses}
    for key, registry in registries.items():
        for name in registry.names():
            if name == "any_of":  # needs a list
                continue
            whole = plain(resolve({key: name}))
            assert not list(CHECK.iter_errors(whole)), (key, name)


def test_meanings_are_the_docstrings_below_the_fields():
    found = meanings(TrainingConfig)
    assert found["learning_rate"] == "Learning rate of AdamW."
    described = SCHEMA["properties"]["training"]["properties"]["learning_rate"]
    assert described == {
        "description": "Learning rate of AdamW.", "type": ["number", "string"], "minimum": 0, "default": 0.01,
        "pattern": described["pattern"],
    }  # fmt: skip
