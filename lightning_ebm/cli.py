"""The command line: `lightning-ebm VERB CONFIG key=value …`. Verbs import what they need, so that `--help` is fast."""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.text import Text

from lightning_ebm import listing
from lightning_ebm.completion import complete
from lightning_ebm.config import ConfigError, check_keys, distortion_in_test, expanded, packaged, read, resolve, to_yaml
from lightning_ebm.launcher import rank
from lightning_ebm.registry import REGISTRIES
from lightning_ebm.reporting.terminal import print_in_any_encoding, terminal
from lightning_ebm.schema import DTYPES, RunConfig
from lightning_ebm.signals import FAILURES, Exit, reason, stops_on_signal

console = terminal(quiet=rank() > 0)  # only the first of several processes prints
errors = terminal()  # errors of every process are shown


def say(text: str) -> None:
    """Prints text without breaking lines, so that paths can be copied."""
    console.print(text, soft_wrap=True)


def train(config: str, overrides: Sequence[str]) -> None:
    """Meta-train one memory, or resume the training of the same configuration."""
    from lightning_ebm.training.train import train

    train(config, overrides, console)


def evaluate(config: str, overrides: Sequence[str], memory: str = "") -> None:
    """Measure one trained memory on the test episodes; compare a pretrained one (--memory) with its published row."""
    from lightning_ebm import pretrained
    from lightning_ebm.experiments.compare import evaluate
    from lightning_ebm.experiments.pretrained import reproduce
    from lightning_ebm.reporting.comparison_tables import main_table

    if rank():  # other processes of a launcher have nothing to do
        return
    if not memory and not config:
        raise ConfigError("evaluate needs a configuration, such as configs/glyphs.yaml, or --memory NAME")
    deviations: list[str] = []
    if memory:
        found, deviations = reproduce(pretrained.read(expanded(memory, "--memory")), overrides, console)
    else:
        found = evaluate(config, overrides, console)
    console.print(main_table(found, brief=True))
    if deviations:
        raise ValueError("; ".join(deviations))


def compare(config: str, overrides: Sequence[str]) -> None:
    """Train and measure every row of a configuration; print a table and write report.html and results.csv."""
    from lightning_ebm.experiments.compare import compare

    compare(config, overrides, console)


def analyse(config: str, overrides: Sequence[str]) -> None:
    """Run one analysis (analysis=NAME) on the memories of all rows; print a table and write it with a figure."""
    from lightning_ebm.experiments.analysis import analyse

    analyse(config, overrides, console)


def show(config: str, overrides: Sequence[str]) -> None:
    """Print the resolved configuration, and write pictures of patterns and queries of each split."""
    from lightning_ebm.experiments.grid import grid
    from lightning_ebm.reporting.figures.strips import contact_sheet
    from lightning_ebm.reporting.figures.style import save
    from lightning_ebm.training.trainer import build

    resolved = resolve(read(config, overrides))
    grid(config, overrides)  # whose rows may be wrong
    say(to_yaml(resolved))
    run = build(resolved)
    run.folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "val", "test"):
        batch = next(iter(getattr(run.data, f"{split}_dataloader")()))
        distortion = distortion_in_test(resolved) if split == "test" else resolved.distortion
        title = f"{resolved.data.name}, {split}\n{distortion}"
        sheet = contact_sheet(batch.patterns[0].numpy(), batch.queries[0].numpy(), title)
        save(sheet, run.folder / split)
        say(f"{split}: {run.folder / split}.png")


def summarise(words: Sequence[str]) -> None:
    """Write tables in Markdown and LaTeX from the results of comparisons."""
    from lightning_ebm.reporting.summarise import write_summary

    paths, overrides = files_and_settings(words)
    if not paths:
        raise ConfigError("summarise needs a cells.csv file, or the folder of a comparison")
    folder, tables = write_summary(paths, overrides)
    for table in tables:
        console.print(table, "")
    console.print(f"summary.md and summary.tex: {folder.resolve()}")


def sweep(words: Sequence[str]) -> None:
    """Run the trials of a W&B sweep file; print a table and write it with the best command and a figure."""
    from lightning_ebm.sweeping import sweep

    if not words or "=" in words[0]:
        raise ConfigError("sweep needs a sweep file, such as sweeps/glyphs-rate.yaml, before any settings")
    sweep(words[0], words[1:], console)


def export(config: str, overrides: Sequence[str], as_: str = "", row: str = "", dtype: str = "") -> None:
    """Export a trained memory and its measured row to one file (--as NAME) for load_pretrained and --memory."""
    from lightning_ebm.experiments.compare import comparison_of
    from lightning_ebm.experiments.pretrained import export, place, published, wanted
    from lightning_ebm.reporting.comparison_tables import main_table

    path, experiment = place(expanded(as_, "--as")), wanted(config, overrides, row)
    command = ["lightning-ebm", "compare" if row else "train", config, *overrides]
    saved = export(experiment, path, command, dtype or DTYPES[0])
    console.print(main_table(comparison_of(saved.name, experiment.config, published(saved)), brief=True))
    say(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


def recall(words: Sequence[str], memory: str = "") -> None:
    """Store your own images in a pretrained memory (--memory NAME), and recall them from corrupted copies."""
    from lightning_ebm import pretrained
    from lightning_ebm.experiments.recall import default_memory, recall, write_report

    files, settings = files_and_settings(words)
    saved = pretrained.read(expanded(memory or default_memory(files), "--memory"))
    found = recall(saved, files, settings)
    page = write_report(saved, found)
    console.print(found.answer.table())
    say(f"\nThe report, with pictures of every read step:\n  {page.resolve().as_uri()}")


def list_names(words: Sequence[str]) -> None:
    """List memories, energies, data, distortions, analyses, pretrained memories, configurations and sweeps by name."""
    for kind in words or listing.KINDS:
        console.print(listing.table(kind), width=min(80, console.width))


def schema(words: Sequence[str]) -> None:
    """Print the JSON Schema of a configuration, from which editors complete and check YAML files."""
    from lightning_ebm.json_schema import json_schema, to_json

    if words:
        raise ConfigError(f"schema takes no words, got {' '.join(words)}")
    print(to_json(json_schema()), end="")


def files_and_settings(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Splits words into files, whose names may contain an equals sign, and key=value settings."""
    files = [Path(expanded(word, "file")) for word in words if "=" not in word or os.path.exists(word)]
    return files, [word for word in words if "=" in word and not os.path.exists(word)]


EPILOG = """\
Any key of the configuration can be set as key=value, for example
  training.max_steps=500 episodes.patterns_per_episode=32 memory.writing.steps=3 memory=hopfield
`lightning-ebm show CONFIG` prints all keys with their values. Choices by name:
{choices}
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
  distortion=...       how copies are corrupted; default: as in the memory's test; distortion.size=8 changes the size
  company=...          data set of patterns that are added if you pass few images; default: glyphs for binary memories,
                       otherwise the memory's own data set; empty: none
  mask=                known or unknown: whether the memory gets the mask of corrupted values; default: as published
  invert=false         true: store negatives, for bright ink on dark paper
  seed=0               seed of the random numbers
  output=runs          the report goes to <output>/recall-<memory>-<hash>
"""
SCHEMA_EPILOG = """\
Editors with YAML support complete and check a configuration that begins with the line
  # yaml-language-server: $schema=schema.json
where schema.json is what this verb prints: lightning-ebm schema > schema.json
"""
VERBS: dict[str, Callable[..., None]] = {
    verb.__name__: verb for verb in (train, evaluate, compare, analyse, show, export)
}
"""Verbs that take a configuration."""
TOOLS = {
    "summarise": (summarise, SUMMARISE_EPILOG),
    "sweep": (sweep, SWEEP_EPILOG),
    "recall": (recall, RECALL_EPILOG),
    "list": (list_names, f"WORDS are some of {', '.join(listing.KINDS)}; default: all.\n"),
    "schema": (schema, SCHEMA_EPILOG),
}
"""Verbs with their own arguments, and the end of their help."""
MEMORY = "a pretrained memory: {names}, or an exported file"
OPTIONS = {
    "evaluate": {"memory": f"{MEMORY}; replaces CONFIG"},
    "recall": {"memory": f"{MEMORY}; default: omniglot-4608-any for drawings, cifar10-9216-any for photographs"},
    "export": {
        "as_": "its name in the package, or a path that ends in .safetensors",
        "dtype": f"how its parameters are stored: {', '.join(DTYPES)} (default: {DTYPES[0]}), and then measured",
        "row": "export this row of the comparison in CONFIG; default: the memory that train makes",
    },
}
"""Options of verbs; a trailing underscore avoids a Python keyword."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a verb.

    Returns:
        The exit code: 0; 1 after a mistake, explained in one line; 75 after a stop signal, when the same command
        resumes; 130 when interrupted.
    """
    print_in_any_encoding()
    parser = argparse.ArgumentParser(
        "lightning-ebm", description="Meta-train, compare and launch associative memories."
    )
    parser.add_argument("--version", action="version", version=f"lightning-ebm {version('lightning-ebm')}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    choices = "\n".join(f"  {key}: {', '.join(registry.names())}" for registry, key in REGISTRIES.values())
    for name, work in VERBS.items():
        verb = add_verb(verbs, name, work, EPILOG.format(choices=choices))
        several = "?" if name == "evaluate" else None  # --memory replaces it
        verb.add_argument("config", nargs=several, metavar="CONFIG", help="a YAML file, or a name, such as demo")
        verb.add_argument("words", nargs="*", default=[], metavar="key=value", help="settings that override the file")
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
    except Exit as end:
        say(f"{end.words}{goes_on}")
        return int(str(end.code))
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
        "Glyph .* missing from font.*",  # a label in letters that the figures' font lacks; tables show it
    ):
        warnings.filterwarnings("ignore", advice)


if __name__ == "__main__":
    sys.exit(main())
