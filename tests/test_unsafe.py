"""No code of the package runs what a file says: nothing is unpickled, evaluated or loaded unsafely."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for folder in ("lightning_ebm", "baselines") for path in (ROOT / folder).rglob("*.py"))
BUILTINS = {"eval", "exec", "compile", "__import__"}
UNSAFE = {
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "cPickle.load", "marshal.load", "marshal.loads"),
    *("shelve.open", "dill.load", "joblib.load", "cloudpickle.load", "yaml.load", "yaml.load_all", "yaml.unsafe_load"),
    *("yaml.full_load", "os.system", "os.popen", "pd.read_pickle", "pandas.read_pickle"),
}


def calls(source):
    """Dotted name, keywords and line of every call."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}, node.lineno


def unsafe(source):
    """What a source does that it must not: (line, name)."""
    found = []
    for name, keywords, line in calls(source):
        if name in BUILTINS | UNSAFE:
            found.append((line, name))
        if name == "torch.load" and keywords.get("weights_only") != "True":
            found.append((line, name))
        if (
            name.split(".")[-1] == "load"
            and name.startswith(("np.", "numpy."))
            and keywords.get("allow_pickle") != "False"
        ):
            found.append((line, name))
        if keywords.get("shell") == "True":
            found.append((line, name))
    for node in ast.walk(ast.parse(source)):  # so that no other name stands for one of them
        if isinstance(node, ast.ImportFrom):
            found += [
                (node.lineno, f"{node.module}.{a.name}") for a in node.names if f"{node.module}.{a.name}" in UNSAFE
            ]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_unsafe(path):
    assert unsafe(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "pickle.load(f)", "eval(text)", "exec(text)", "yaml.load(f)", "yaml.unsafe_load(f)", "torch.load(f)",
        "torch.load(f, weights_only=False)", "np.load(f)", "np.load(f, allow_pickle=True)", "os.system(text)",
        "subprocess.run(text, shell=True)", "from pickle import loads",
    ],
)  # fmt: skip
def test_the_check_finds(line):
    assert len(unsafe(line)) == 1


def test_the_check_lets_pass():
    allowed = "model.eval()\ntorch.load(f, weights_only=True)\nnp.load(f, allow_pickle=False)\nyaml.safe_load(f)"
    assert unsafe(allowed + "\nre.compile(p)") == []
