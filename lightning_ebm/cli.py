"""The command line: `lightning-ebm VERB CONFIG key=value …`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from rich.text import Text

from lightning_ebm import listing
from lightning_ebm.completion import complete
from lightning_ebm.config import check_keys, packaged, read
from lightning_ebm.launcher import rank
from lightning_ebm.registry import analyses, datasets, distortions, energies, memories
from lightning_ebm.reporting.terminal import print_in_any_encoding, terminal
from lightning_ebm.schema import DTYPES, RunConfig
from lightning_ebm.signals import FAILURES, Stopped, reason, stops_on_signal
from lightning_ebm.verbs import (
    analyse,
    compare,
    evaluate,
    export,
    list_names,
    recall,
    say,
    schema,
    show,
    summarise,
    sweep,
    train,
)

DESCRIPTION = "Meta-train, compare and launch associative memories."
EPILOG = """\
Any key of the configuration can be set as key=value, for example
  training.max_steps=500 episodes.patterns_per_episode=32 memory.writing.steps=3 memory=hopfield
`lightning-ebm show CONFIG` prints all keys with their values. Choices by name:
  memory: {memories}
  memory.energy (of ebmm): {energies}
  data: {datasets}
  distortion: {distortions}
  analysis: {analyses}
or the import path of your own class, package.module:Class.
"""
SUMMARISE_EPILOG = """\
WORDS are cells.csv files or folders of comparisons, then settings. Settings and their defaults:
  columns=             items (patterns stored) or floats (size of the state); default: the one that varies
  error=               corrupted or all values; default: corrupted, or all if paper_results is given
  paper_results=       figure3-omniglot, figure3-cifar, table1 or a CSV file: adds the paper's numbers as rows
  output=              folder for summary.md and summary.tex; default: the folder of the first file
"""
SWEEP_EPILOG = """\
WORDS are a sweep file in the schema of Weights & Biases, such as sweeps/glyphs-rate.yaml, then settings. No W&B server
is needed. Settings and their defaults:
  workers=1            parallel trials; 0: one for each GPU or core
  output=runs          results go to <output>/sweep-<file>; the same command resumes an interrupted sweep
  seed=0               seed of random and Bayesian search
  executor=local       or slurm, with slurm={partition: gpu, time: 240, gpus_per_node: 1} for sbatch
"""

RECALL_EPILOG = """\
WORDS are PNG, JPEG, WebP, GIF, TIFF or BMP files, then settings. The memory stores the central squares of all images
together, and reads each from a corrupted copy. Settings and their defaults:
  distortion=...       how copies are corrupted; default: as in the memory's test; distortion.size=8 changes its size
  company=...          patterns stored together with few images: a data set; default: glyphs for binary memories,
                       otherwise the memory's own data set; empty: none
  mask=                known or unknown: whether the memory gets the mask of corrupted values; default: as published
  invert=false         true: store negatives, for bright ink on dark paper
  seed=0               seed of the random numbers
  output=runs          folder of the report's folder
"""
LIST_EPILOG = f"""\
WORDS are some of {", ".join(listing.KINDS)}; default: all.
"""
SCHEMA_EPILOG = """\
Editors with YAML support complete and check a configuration that begins with the line
  # yaml-language-server: $schema=schema.json
where schema.json is what this verb prints: lightning-ebm schema > schema.json
"""

VERBS: dict[str, Callable[..., None]] = {
    "train": train, "evaluate": evaluate, "compare": compare, "analyse": analyse, "show": show, "export": export,
}  # fmt: skip
"""Verbs that take a configuration."""
TOOLS = {
    "summarise": (summarise, SUMMARISE_EPILOG),
    "sweep": (sweep, SWEEP_EPILOG),
    "recall": (recall, RECALL_EPILOG),
    "list": (list_names, LIST_EPILOG),
    "schema": (schema, SCHEMA_EPILOG),
}
"""Verbs with their own arguments, and the end of their help."""
MEMORY = "a pretrained memory: {names}, or an exported file"
OPTIONS = {
    "evaluate": {"memory": f"{MEMORY}; replaces CONFIG"},
    "recall": {"memory": f"{MEMORY}; default: one of drawings with any damage"},
    "export": {
        "as_": "its name in the package, or a path that ends in .safetensors",
        "dtype": f"how its parameters are stored: {', '.join(DTYPES)} (default: {DTYPES[0]}); the row is measured so",
        "row": "export this row of the comparison in CONFIG; default: the memory that train makes",
    },
}
"""Options of verbs; a trailing underscore avoids a Python keyword."""

errors = terminal()  # errors of every process are shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a verb.

    Returns:
        The exit code: 0; 1 after a mistake, explained in one line; 75 after a stop signal, when the same command
        resumes; 130 when interrupted.
    """
    print_in_any_encoding()
    parser = argparse.ArgumentParser("lightning-ebm", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"lightning-ebm {version('lightning-ebm')}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    names = {
        registry.group.removeprefix("lightning_ebm."): ", ".join(registry.names())
        for registry in (memories, energies, datasets, distortions, analyses)
    }
    for name, work in VERBS.items():
        verb = add_verb(verbs, name, work, EPILOG.format(**names))
        several = "?" if name == "evaluate" else None  # --memory replaces it
        verb.add_argument("config", nargs=several, metavar="CONFIG", help="a YAML file, or a name, such as demo")
        verb.add_argument("words", nargs="*", metavar="key=value", help="settings that override the file")
    for name, (tool, epilog) in TOOLS.items():
        verb = add_verb(verbs, name, tool, epilog)
        verb.add_argument("words", nargs="*", metavar="WORD", help="see below")
    complete(parser)
    parsed, rest = parser.parse_known_args(arguments)
    if unknown := [word for word in rest if word.startswith("-")]:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    words = parsed.words + rest  # words after an option, too
    options = {name: getattr(parsed, name) for name in OPTIONS.get(parsed.verb, {})}
    file = getattr(parsed, "config", None) or ""
    if file and options.get("memory"):  # then the first word is a setting
        file, words = "", [file, *words]
    os.environ["PYTHONSAFEPATH"] = "1"  # a user's random.py must not shadow modules in child processes
    os.environ["MPLBACKEND"] = "agg"  # Matplotlib refuses to start with a notebook's backend that is not installed here
    quieten()
    goes_on = "" if parsed.verb in ("summarise", "export", "recall", "list", "schema") else "; the same command resumes"
    try:
        with stops_on_signal():
            if parsed.verb in VERBS:
                if file:
                    check_keys(RunConfig, read(file, words))  # before torch is imported, which takes seconds
                VERBS[parsed.verb](file, words, **options)
            else:
                TOOLS[parsed.verb][0](words, **options)
    except FAILURES as error:
        where = f" in process {rank()}" if rank() else ""
        errors.print(Text(f"error{where}:", "bold red"), reason(error), soft_wrap=True)
        return 1
    except Stopped as stop:
        say(f"{stop.words}{goes_on}")
        return int(str(stop.code))
    except (KeyboardInterrupt, SystemExit):  # Lightning turns an interrupt into an exit
        say(f"interrupted{goes_on}")
        return 130
    return 0


def add_verb(verbs: Any, name: str, work: Callable[..., None], epilog: str) -> argparse.ArgumentParser:
    """Adds the parser of a verb; the docstring of its function is the help."""
    help, form = (work.__doc__ or "").strip(), argparse.RawDescriptionHelpFormatter
    verb: argparse.ArgumentParser = verbs.add_parser(
        name, help=help, description=help, epilog=epilog, formatter_class=form
    )
    known = ", ".join(packaged("weights", ".safetensors"))
    for option, text in OPTIONS.get(name, {}).items():
        flag = f"--{option.rstrip('_')}"
        verb.add_argument(flag, dest=option, default="", metavar="NAME", help=text.format(names=known))
    return verb


def quieten() -> None:
    """Silences advice that is not meant for our users, so that our own messages are read."""
    if logging.lastResort:  # warnings only; Lightning, once it is imported, leaves its messages to the root's handlers
        logging.getLogger().addHandler(logging.lastResort)
    for advice in (
        ".*does not have many workers.*",  # making episodes costs less than starting a worker
        ".*LeafSpec.*is deprecated.*",  # Lightning's own affair
        ".*GPU available but not used.*",
        ".*Checkpoint directory .* exists and is not empty.*",  # expected when a run resumes
    ):
        warnings.filterwarnings("ignore", advice)


if __name__ == "__main__":
    sys.exit(main())
