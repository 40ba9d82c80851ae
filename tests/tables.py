"""Tables that were written to files."""

import csv
from pathlib import Path


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file: texts by column."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
