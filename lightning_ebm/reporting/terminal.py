"""Where the command line prints: text as it is, whole lines in files, and no encoding that stops a run."""

import codecs
import sys
from typing import Any

from rich.console import Console

PLAIN = {"±": "+-", "—": "-", "“": '"', "”": '"', "…": "...", "∞": "inf"}
"""What is printed where an encoding lacks a character; of others, a question mark."""
ENDLESS = 100_000
"""Width of what is not a terminal: files and pipes have no edge at which a line would have to be folded."""

QUIET = Console(quiet=True)
"""Shows nothing: what a notebook calls prints only where it is given another console."""


def terminal(**settings: Any) -> Console:
    """A console on which labels are never markup. In a file or a pipe, its lines are as long as they are."""
    console = Console(highlight=False, markup=False, emoji=False, **settings)
    if not console.is_terminal:
        console.width = ENDLESS
    return console


def print_in_any_encoding() -> None:
    """From now on, standard output and error replace what their encoding lacks, instead of raising."""
    codecs.register_error("plain", replaced)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="plain")


def replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """A handler of codecs: the nearest text in ASCII."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(letter, "?") for letter in error.object[error.start : error.end]), error.end
