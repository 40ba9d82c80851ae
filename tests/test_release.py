"""What a release repeats is the same everywhere, and the workflows run commands that exist and pinned actions."""

import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
BUILTINS = {"test"}


def test_version_and_date():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    latest = re.search(r"^## \[(\d.*?)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert (cited["version"], cited["date-released"]) == latest.groups()
    assert PROJECT["version"] == cited["version"]


def test_constraints_fit_the_requirements():
    """Every package that pyproject.toml asks for, but for the benchmarks' and pre-commit, is pinned as it allows."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *(one for name in extras if name != "bench" for one in extras[name])]
    for requirement in map(Requirement, wanted):
        if requirement.name in (PROJECT["name"], "pre-commit"):
            continue
        assert requirement.specifier.contains(pins[requirement.name]), requirement


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow(path):
    text = path.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow[True]  # `on`, as YAML 1.1 reads it
    assert workflow["permissions"] == {"contents": "read"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"]
        assert set(job.get("needs", "").split()) <= set(workflow["jobs"])
    for step in steps(workflow):
        assert ("uses" in step) != ("run" in step)
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])
            assert re.search(re.escape(step["uses"]) + r" # v\d+\.\d+\.\d+\n", text)
            continue
        for line in step["run"].splitlines():
            program, *words = line.split()
            assert program in BUILTINS or shutil.which(program), line
            if program == "make":
                targets = [word for word in words if "=" not in word]
                assert targets
                assert all(f"\n{target}:" in makefile for target in targets), line


def test_one_action_has_one_version():
    pins = {}
    for path in WORKFLOWS:
        for step in steps(yaml.safe_load(path.read_text(encoding="utf-8"))):
            if "uses" in step:
                name, commit = step["uses"].split("@")
                assert pins.setdefault(name, commit) == commit


def test_the_pythons_that_are_tested_are_those_that_are_claimed():
    matrix = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    claimed = [line.rsplit(" ", 1)[1] for line in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d", line)]
    assert matrix["jobs"]["tests"]["strategy"]["matrix"]["python"] == claimed
    assert PROJECT["requires-python"] == f">={claimed[0]}"


def test_issue_forms():
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.stem != "config":
            assert {"name", "description", "body"} <= form.keys()
            identities = [one["id"] for one in form["body"]]
            assert len(set(identities)) == len(identities)
            assert all(one["attributes"]["label"] for one in form["body"])
