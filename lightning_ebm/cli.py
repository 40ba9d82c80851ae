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

from lightning_ebm import pretrained
from lightning_ebm.config import ConfigError, shipped
from lightning_ebm.registry import analyses, datasets, distortions, energies, memories
from lightning_ebm.reporting.terminal import print_in_any_encoding, terminal
from lightning_ebm.signals import Stopped, process_number, stops_on_signal
from lightning_ebm.verbs import (
    analyse,
    compare,
    evaluate,
    export,
    recall,
    say,
    show,
    summarise,
    sweep,
    train,
)

DESCRIPTION = "Meta-train, compare and launch associative memories."
EPILOG = """\
Any key of the configuration can be given as key=value, for example
  training.max_steps=500 episodes.patterns_per_episode=32 memory.writing.steps=3 memory=hopfield
`lightning-ebm show CONFIG` prints all keys with their values. Nested choices by name:
  memory: {memories}
  memory.energy (of ebmm): {energies}
  data: {datasets}
  distortion: {distortions}
  analysis: {analyses}
or the import path of your own class, package.module:Class.
"""
SUMMARISE_EPILOG = """\
Settings, each with what it is if not given:
  columns=             items (numbers of patterns) or floats (sizes of the state); empty: whichever was varied
  error=               corrupted or all (values); empty: corrupted, or all where published is given
  published=           figure3-omniglot, figure3-cifar, table1 or a CSV file: a paper's numbers as rows of their own
  output=              folder for summary.md and summary.tex; empty: that of the first file
"""
SWEEP_EPILOG = """\
Settings, each with what it is if not given:
  workers=1 (trials at a time; 0: one for each GPU or core)  output=runs  seed=0 (of random and Bayesian search)
  executor=local or slurm  slurm={partition: gpu, time: 240, gpus_per_node: 1} (settings of sbatch, for slurm)
FILE is in the schema of Weights & Biases, such as sweeps/glyphs-rate.yaml, and is run without its server.
Everything is kept in <output>/sweep-<file>; the same command resumes an interrupted sweep.
"""

RECALL_EPILOG = """\
IMAGES are PNG, JPEG, WebP, GIF or BMP files. Their middle squares are stored, all together, as the memory's patterns;
each is read from a damaged copy. Settings, each with what it is if not given:
  distortion=...          that of the memory's test; distortion.size=8 and the like change it
  company=...             patterns stored beside few images: glyphs, or the memory's own data set; empty: none
  mask=                   known or unknown (which values were damaged); empty: as published
  invert=false            true: store negatives, as of bright ink on dark paper
  seed=0  output=runs
"""

VERBS: dict[str, Callable[..., None]] = {
    "train": train, "evaluate": evaluate, "compare": compare, "analyse": analyse, "show": show, "export": export,
}  # fmt: skip
"""Verbs that take a configuration."""
TOOLS = {
    "summarise": (summarise, SUMMARISE_EPILOG),
    "sweep": (sweep, SWEEP_EPILOG),
    "recall": (recall, RECALL_EPILOG),
}
"""Verbs that take words of their own, and what their help says of them."""
MEMORY = "a pretrained memory: {names}, or a file that export wrote"
OPTIONS = {
    "evaluate": {"memory": f"{MEMORY}; in place of CONFIG"},
    "recall": {"memory": MEMORY},
    "export": {
        "as_": "what to call it, in the package; or a path that ends in .safetensors",
        "dtype": "how to store its parameters: float32 (default), float16 or int8; the row is measured as stored",
        "row": "label of a row of the comparison, in place of the memory that train makes of CONFIG",
    },
}
"""Words behind `--`, for the verbs that have some; an underscore keeps one from being a word of Python."""

errors = terminal()  # of several processes, each one's are seen


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a verb.

    Returns:
        The exit code: 0, 1 for a mistake (one line says which), 75 when a signal asked to stop and the same command
        goes on, 130 when interrupted.
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
        several = "?" if name == "evaluate" else None  # with --memory, it needs none
        verb.add_argument("config", nargs=several, metavar="CONFIG", help="a YAML file, or a name, such as demo")
        verb.add_argument("words", nargs="*", metavar="key=value", help="settings laid over the file")
    for name, (tool, epilog) in TOOLS.items():
        verb = add_verb(verbs, name, tool, epilog)
        verb.add_argument("words", nargs="*", metavar="WORD", help="see below")
    parsed, rest = parser.parse_known_args(arguments)
    if unknown := [word for word in rest if word.startswith("-")]:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    words = parsed.words + rest  # those behind an option too
    options = {name: getattr(parsed, name) for name in OPTIONS.get(parsed.verb, {})}
    file = getattr(parsed, "config", None)
    if file and options.get("memory"):  # which stands in its place, so that the first word is a setting
        file, words = None, [file, *words]
    os.environ["PYTHONSAFEPATH"] = "1"  # in Pythons that are started from here, no random.py of a user comes first
    os.environ["MPLBACKEND"] = "agg"  # Matplotlib refuses to start with a notebook's backend that is not installed here
    quieten()
    goes_on = "" if parsed.verb in ("summarise", "export", "recall") else "; the same command goes on where it was"
    try:
        with stops_on_signal():
            if parsed.verb in VERBS:
                VERBS[parsed.verb](shipped(file, "configs", "configuration") if file else None, words, **options)
            else:
                TOOLS[parsed.verb][0](words, **options)
    except (ConfigError, ValueError, NotImplementedError, RuntimeError, OSError, MemoryError) as error:
        where = f" in process {process_number()}" if process_number() else ""
        text = " ".join(str(error).split()) or type(error).__name__
        errors.print(Text(f"error{where}:", "bold red"), text, soft_wrap=True)
        return 1
    except Stopped as stop:
        say(f"{stop.words}{goes_on}")
        return int(str(stop.code))
    except (KeyboardInterrupt, SystemExit):  # Lightning turns an interrupt into an exit
        say(f"interrupted{goes_on}")
        return 130
    return 0


def add_verb(verbs: Any, name: str, work: Callable[..., None], epilog: str) -> argparse.ArgumentParser:
    """A parser for one verb, whose help is the docstring of what it does."""
    help = (work.__doc__ or "").strip()
    raw = argparse.RawDescriptionHelpFormatter
    verb: argparse.ArgumentParser = verbs.add_parser(
        name, help=help, description=help, epilog=epilog, formatter_class=raw
    )
    known = ", ".join(pretrained.names())
    for option, text in OPTIONS.get(name, {}).items():
        flag = f"--{option.rstrip('_')}"
        verb.add_argument(flag, dest=option, default="", metavar="NAME", help=text.format(names=known))
    return verb


def quieten() -> None:
    """Silences advice that is not meant for our users, so that our own messages are read."""
    import pytorch_lightning  # noqa: F401  (it sets its loggers' level when imported)

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for advice in (
        ".*does not have many workers.*",  # episodes cost less than a worker's start
        ".*LeafSpec.*is deprecated.*",  # Lightning's own affair
        ".*GPU available but not used.*",
        ".*Checkpoint directory .* exists and is not empty.*",  # as it should when a run goes on
    ):
        warnings.filterwarnings("ignore", advice)


if __name__ == "__main__":
    sys.exit(main())
