"""Every code block of README and docs/ is run, page by page and in order, at small size.

Files are written where a block has a title. Commands of other programs are checked against those programs' own
parsers, as they need a cluster, a server or an installation.
"""

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import argcomplete
import numpy as np
import pytest
import yaml
from jsonschema import Draft7Validator
from PIL import Image

from lightning_ebm.cli import main
from lightning_ebm.config import merge, read
from tests.data.roots import cifar10, omniglot

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SCHEMA = Draft7Validator(json.loads((ROOT / "configs" / "schema.json").read_text(encoding="utf-8")))
SMALL = {
    "episodes": {"patterns_per_episode": 4, "batch": 2, "val": 2, "test": 2},
    "training": {"max_steps": 2, "validate_every": 2, "log_images": False},
    "trainer": {"accelerator": "cpu", "threads": 1},
}
WORDS = [f"{node}.{key}={str(value).lower()}" for node, keys in SMALL.items() for key, value in keys.items()]
GRID = ["compare.jobs=1", "compare.seeds=[0]", "compare.gallery=0"]
ELSEWHERE = ("trainer.devices", "trainer.num_nodes", "compare.executor", "compare.slurm", "executor", "slurm")
"""Keys that need more devices, or a cluster: parsed as they stand, and left out of what is run."""


def blocks(page):
    return FENCE.findall(page.read_text(encoding="utf-8"))


def commands(block):
    """Words of each command, without comments, variables before it, and `&` behind it."""
    for line in block.replace("\\\n", " ").splitlines():
        for part in line.split(" && "):
            words = shlex.split(part, comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words = words[1:]
            if words:
                yield [word for word in words if word != "&"]


def with_code():
    return [page for page in PAGES if any(language in ("python", "yaml", "bash") for language, _, _ in blocks(page))]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """One that looks like a checkout to commands, with smaller configurations, sweeps and data sets."""
    for kind in ("configs", "sweeps"):
        (tmp_path / kind).mkdir()
    for path in (ROOT / "configs").glob("*.yaml"):
        whole = merge(read(path), SMALL)
        if rows := whole.get("compare", {}).get("rows"):
            whole["compare"]["rows"] = dict(list(rows.items())[:2])
        if isinstance(data := whole.get("data"), dict) and data["name"] == "omniglot":
            data["validation"] = ["Korean"]  # an alphabet of the small data set
        (tmp_path / "configs" / path.name).write_text(yaml.safe_dump(whole))
    for path in (ROOT / "sweeps").glob("*.yaml"):
        (tmp_path / "sweeps" / path.name).write_text(yaml.safe_dump(small_sweep(yaml.safe_load(path.read_text()))))
    omniglot(tmp_path / "data")
    cifar10(tmp_path / "data", count=400)  # episodes.classes=2 needs some of each class
    for name in ("drawing.png", "signature.jpg"):
        page = np.full((64, 64), 255, np.uint8)
        page[20:24, 10:50] = page[10:50, 30:34] = 0
        Image.fromarray(page).save(tmp_path / name)
    (tmp_path / "photos").mkdir()
    for number, name in enumerate(["cat.jpg", "beach.jpg", *(f"photos/{number}.png" for number in range(50))]):
        values = np.random.default_rng(number).integers(256, size=(40, 50, 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LIGHTNING_EBM_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path
    for file in tmp_path.glob("*.py"):  # pages may give modules the same name
        sys.modules.pop(file.stem, None)


def small_sweep(search):
    """One trial of a sweep, of two steps."""

    def first(parameters):
        for one in parameters.values():
            if "parameters" in one:
                first(one["parameters"])
            elif "values" in one and search["method"] == "grid":
                one["values"] = one["values"][:1]

    first(search["parameters"])
    small = {word.split("=")[0]: {"value": yaml.safe_load(word.split("=")[1])} for word in WORDS}
    return {**search, "run_cap": 1, "parameters": search["parameters"] | small}


def run_ours(words):
    """A command of ours, small, in this process."""
    verb, *rest = words
    target = rest[rest.index(">") + 1] if ">" in rest else None
    rest = rest[: rest.index(">")] if target else rest
    local = [word for word in rest if word.split("=")[0] not in (*ELSEWHERE, "workers")]
    if verb in ("train", "show", "analyse", "export", "compare") or (verb == "evaluate" and "--memory" not in rest):
        local += WORDS
    if verb == "evaluate" and "--memory" in rest:
        local += ["episodes.test=2"]
    if verb in ("compare", "analyse", "evaluate") and "--memory" not in rest:
        local += GRID
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed) if target else contextlib.nullcontext():
        assert main([verb, *local]) == 0, words
    if target:
        Path(target).write_text(printed.getvalue())


def check_wandb(words):
    from wandb.cli.cli import cli

    command = cli.commands[words[0]]
    known = {option for parameter in command.params for option in parameter.opts}
    assert words[0] == "leet" or {word for word in words if word.startswith("--")} <= known


def check_torchrun(words):
    from torch.distributed.run import parse_args

    parsed = parse_args(words)
    assert parsed.training_script == "lightning_ebm"
    run_ours(parsed.training_script_args)


def check_pip(words):
    for word in words[1:]:
        for extra in re.findall(r"\[(.*)\]", word):
            assert extra in PROJECT["optional-dependencies"]
        assert word.startswith(("-", ".", "constraints.txt", PROJECT["name"]))


def run(words):
    program, rest = words[0].removeprefix(".venv/bin/"), words[1:]
    if program == "lightning-ebm":
        run_ours(rest)
    elif program == "torchrun":
        check_torchrun(rest)
    elif program == "wandb":
        check_wandb(rest)
    elif program == "sbatch":
        assert (ROOT / rest[0]).is_file()
        run_ours(["train", *rest[1:]])
    elif program == "make":
        assert f"\n{rest[0]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    elif program == "pip":
        check_pip(rest)
    elif program == "eval":
        places = [Path(sys.executable).parent, Path(argcomplete.__file__).parents[4] / "bin"]
        environment = os.environ | {"PATH": ":".join([*map(str, places), os.environ["PATH"]])}
        subprocess.run(["bash", "-c", shlex.join(words).replace("'", '"')], check=True, env=environment)
    else:
        assert program in ("export", ".", "python3.11", "python"), f"what is {program}?"


@pytest.mark.parametrize("page", with_code(), ids=lambda page: page.stem)
def test_blocks_are_of_known_kinds_and_yaml_is_valid(page):
    for language, _, code in blocks(page):
        assert language in ("python", "bash", "yaml", "text")
        if language == "python":
            compile(code, page.name, "exec")
        if language == "yaml" and "method:" not in code:
            assert not list(SCHEMA.iter_errors(yaml.safe_load(code)))


@pytest.mark.slow
@pytest.mark.parametrize("page", with_code(), ids=lambda page: page.stem)
def test_page(page, folder):
    names: dict = {}
    for language, title, code in blocks(page):
        if language == "yaml" and "method:" in code:
            code = yaml.safe_dump(small_sweep(yaml.safe_load(code)))
        if title:
            (folder / title).write_text(code)
        elif language == "python":
            exec(compile(code, page.name, "exec"), names)
        elif language == "yaml":
            if "method:" in code:
                (folder / "block.yaml").write_text(code)
                run(["lightning-ebm", "sweep", "block.yaml"])
        elif language == "bash":
            for words in commands(code):
                run(words)
