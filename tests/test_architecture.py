"""The picture of the house in CONTRIBUTING.md is that of the code: imports point down, and no room is too large."""

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PICTURE = re.search(r"```text\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL).group(1)
FLOORS = {
    room: floor for floor, line in enumerate(reversed(PICTURE.splitlines())) for room in line.split("  ")[0].split()
}
FILES = [path for package in ("lightning_ebm", "baselines") for path in (ROOT / package).rglob("*.py")]


def room(module: str) -> str:
    """The file or folder below `lightning_ebm`, or `baselines`, that a module belongs to."""
    parts = module.split(".")
    return parts[1] if parts[0] == "lightning_ebm" and len(parts) > 1 else parts[0]


def imported(path: Path) -> set[str]:
    """All modules of ours that a file imports, at its head or within a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = ROOT.joinpath(*node.module.split("."))
            found |= {
                f"{node.module}.{n.name}" if (inner / f"{n.name}.py").exists() else node.module for n in node.names
            }
    return {module for module in found if module.split(".")[0] in ("lightning_ebm", "baselines")}


def test_every_room_is_in_the_picture_and_imports_point_down():
    upward = []
    for path in FILES:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        here = room(module)
        if here in ("__init__", "__main__"):  # the public names, and the command
            continue
        assert here in FLOORS, f"{path} belongs to no room of CONTRIBUTING.md"
        for other in imported(path):
            there = room(other)
            if there != here and not FLOORS.get(there, -1) < FLOORS[here]:
                upward.append(f"{module} -> {other}")
    assert not upward


def test_files_of_a_room_do_not_import_in_circles():
    graph = {".".join(path.relative_to(ROOT).with_suffix("").parts): imported(path) for path in FILES}
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above, module])
        if module not in done:
            for other in graph.get(module, ()):
                visit(other, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_no_room_holds_more_than_a_fifth_of_all_lines():
    lines = Counter()
    for path in FILES:
        lines[room(".".join(path.relative_to(ROOT).with_suffix("").parts))] += len(path.read_text("utf-8").splitlines())
    assert lines.most_common(1)[0][1] <= sum(lines.values()) / 5, lines
