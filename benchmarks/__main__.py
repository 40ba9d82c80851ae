"""Times a meta-step of EBMM against other tools, at equal results: `python -m benchmarks cases=[mlp]`.

Prints a table, and writes bench.md, bench.csv and a figure. Settings are those of `config.BenchConfig`, as key=value.
The other tools are installed by `pip install -e '.[bench]'`; one that is missing is named in the table.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live

from benchmarks.config import resolve
from benchmarks.growth import grow
from benchmarks.process import ContenderError
from benchmarks.report import write_report
from benchmarks.results import Row, write_csv
from benchmarks.run import run
from benchmarks.tables import rich_tables
from lightning_ebm.config import ConfigError


def main(words: Sequence[str]) -> int:
    """Runs the benchmark; returns 0, or 1 for a mistake, which one line names."""
    console = Console(highlight=False)
    if {"-h", "--help"} & set(words):
        console.print(__doc__, markup=False)
        return 0
    try:
        config = resolve(words)
        folder = Path(config.output)
        folder.mkdir(parents=True, exist_ok=True)
        with Live(console=console, auto_refresh=False) as live:

            def show(rows: list[Row]) -> None:
                live.update(rich_tables(rows), refresh=True)
                # nothing measured is lost if the benchmark is stopped
                write_csv([row.flat() for row in rows], folder / "bench.csv")

            rows = run(config, show)
        write_report(config, rows, [])
        if config.growth:
            write_report(config, rows, grow(config, console.print))
    except (ConfigError, ContenderError, OSError) as error:
        console.print(f"error: {error}", markup=False, soft_wrap=True)
        return 1
    console.print(f"\nTables and figures: {folder.resolve()}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
