"""Completion, asked as bash asks: through the installed command, with a line and the place of the cursor."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).parent / "lightning-ebm")


def completed(line, folder):
    environment = {
        **os.environ, "_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line, "COMP_TYPE": "9",
        "COMP_POINT": str(len(line)), "_ARGCOMPLETE_STDOUT_FILENAME": str(folder / "found"),
    }  # fmt: skip
    subprocess.run([COMMAND], env=environment, cwd=folder, check=True, timeout=60)
    return {word.strip() for word in (folder / "found").read_text().split("\n")}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("lightning-ebm ev", {"evaluate"}),
        ("lightning-ebm train gly", {"glyphs"}),
        ("lightning-ebm train min", {"mine.yaml"}),
        ("lightning-ebm train glyphs training.max", {"training.max_steps=", "training.max_seconds="}),
        ("lightning-ebm train glyphs memory=ho", {"memory=hopfield"}),
        ("lightning-ebm train glyphs memory.rul", {"memory.rule="}),
        ("lightning-ebm train glyphs memory.energy=resnet_c", {"memory.energy=resnet_conv"}),
        ("lightning-ebm train glyphs training.log_images=t", {"training.log_images=true"}),
        ("lightning-ebm train glyphs compare.mask=", {f"compare.mask={word}" for word in ("unknown", "known", "both")}),
        ("lightning-ebm sweep glyphs-", {"glyphs-rate"}),
        ("lightning-ebm evaluate --memory glyphs-", {"glyphs-4096"}),
        ("lightning-ebm export glyphs --dtype int", {"int8", "int4"}),
        ("lightning-ebm list mem", {"memories"}),
    ],
)
def test_words(line, words, tmp_path):
    (tmp_path / "mine.yaml").write_text("{}")
    assert completed(line, tmp_path) == words


def test_no_class_is_imported_meanwhile():
    code = "import lightning_ebm.cli, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
