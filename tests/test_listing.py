"""`lightning-ebm list`: every name once, with its paper, in 80 columns."""

from pathlib import Path

import pytest

from lightning_ebm import listing, pretrained
from lightning_ebm.cli import main
from lightning_ebm.registry import analyses, datasets, distortions, energies, memories

ROOT = Path(__file__).parent.parent


def test_every_name_is_there_and_no_line_is_too_long(capsys):
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    first_words = [line.split()[0] for line in text.splitlines() if line.startswith("  ") and line[2] != " "]
    for registry in (memories, energies, datasets, distortions, analyses):
        assert set(registry.names()) <= set(first_words)
    assert set(pretrained.names()) <= set(first_words)
    assert {path.stem for folder in ("configs", "sweeps") for path in (ROOT / folder).glob("*.yaml")} <= set(
        first_words
    )
    assert max(map(len, text.splitlines())) <= 80


def test_entries_have_a_sentence_and_memories_their_paper():
    for kind in listing.KINDS:
        for entry in listing.entries(kind):
            assert entry.line.endswith((".", ")")), entry
            assert not entry.line.endswith((" al.", "eq."))
    hopfield = next(entry for entry in listing.entries("memories") if entry.name == "hopfield")
    assert "Hopfield, Neural networks and physical systems" in hopfield.citation
    mine = next(entry for entry in listing.entries("pretrained") if entry.name == "omniglot-4608")
    assert mine.line == (
        "Stores 64 patterns of omniglot in 4,608 floats (measured_mixture): error 1.6 on corrupted values."
    )  # the row of docs/pretrained.md


def test_a_kind_alone_and_a_wrong_one(capsys):
    assert main(["list", "sweeps"]) == 0
    assert "glyphs-rate" in (text := capsys.readouterr().out)
    assert "hopfield " not in text
    assert main(["list", "memory"]) == 1
    assert "Did you mean 'memories'?" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("A machine (Wu et al. 2018, eq. 3). It learns.", "A machine (Wu et al. 2018, eq. 3)."),
        ("One\nsentence over lines\n\nAnother paragraph.", "One sentence over lines"),
    ],
)
def test_first_sentence(text, first):
    assert listing.first_sentence(text) == first
