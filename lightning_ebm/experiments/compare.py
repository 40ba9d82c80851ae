"""The comparison: all cells of a grid are run, and what they found is put together, one table for each variation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lightning_ebm.config import ConfigError, distortion_in_test, to_yaml
from lightning_ebm.experiments.executor import name_of, run_cells
from lightning_ebm.experiments.experiment import Cell, measured
from lightning_ebm.reporting.published import published
from lightning_ebm.reporting.record import QUERY, Comparison, Gallery, Recall, pooled
from lightning_ebm.schema import RunConfig
from lightning_ebm.signals import process_number
from lightning_ebm.training.checkpoints import load
from lightning_ebm.training.trainer import build, is_trainable, provenance


def compare(cells: Sequence[Cell], console: Console) -> dict[str, Comparison]:
    """Runs all cells that are not done. Of several processes, the first one measures: others find nothing.

    Args:
        cells: the grid, as `grid.cells` makes it.
        console: shows what is going on.

    Returns:
        One comparison for each variation of the task, by its name.

    Raises:
        ConfigError: if every cell failed.
    """
    if name := cells[0].config.compare.published:
        published(name)  # a mistake is found before anything is trained
    failed = run_cells(cells, cells[0].config.compare.jobs, console)
    if process_number():
        return {}
    if len(failed) == len(cells):
        raise ConfigError(f"{cells[0].label}: {failed[0]}")
    by_variation: dict[str, list[int]] = {}
    for rank, cell in enumerate(cells):
        by_variation.setdefault(cell.variation, []).append(rank)
    return {
        variation: together(
            [cells[rank] for rank in ranks if rank not in failed],
            {cells[rank].label: failed[rank] for rank in ranks if rank in failed},
        )
        for variation, ranks in by_variation.items()
        if not failed.keys() >= set(ranks)
    }


def evaluate(config: RunConfig) -> Comparison:
    """Measures one trained memory, as `compare` would.

    Raises:
        ConfigError: if it was not trained, or its checkpoint is damaged.
    """
    run = build(config)
    if is_trainable(run.memory) and (config.checkpoint or config.training.updates):
        load(run.memory, Path(config.checkpoint) if config.checkpoint else run.folder / "checkpoints" / "best.ckpt")
    cell = Cell(config.name, config.name, "", config)
    results = [result for _, rows in measured(run, cell.settings()) for result in cell.labelled(rows)]
    made = provenance(config)
    return Comparison(
        title=f"{config.memory.name} on {config.data.name}, {distortion_in_test(config)}",
        unit=results[0].unit,
        results=results,
        gallery=None,
        command=made["command"],
        config=to_yaml(config),
        provenance=made,
    )


def together(cells: Sequence[Cell], failed: dict[str, str]) -> Comparison:
    """What the cells of one table found, seeds pooled.

    Args:
        cells: those that are done, at least one.
        failed: label and error of those that are not.
    """
    first = cells[0].config
    results = [result for cell in cells for result in cell.results()]
    queries = {(r.items, r.mask_known): r for r in reversed(results) if r.label == QUERY}  # the same in all cells
    results = pooled(r for r in results if r.label != QUERY) + list(queries.values())
    firsts = {cell.label: cell for cell in reversed(cells)}  # of several seeds, the first one is shown
    shown = [firsts[label] for label in dict.fromkeys(cell.label for cell in cells)]
    made = provenance(first)
    seeds = sorted({cell.config.seed for cell in cells})
    variation = f", {cells[0].variation}" if cells[0].variation else ""
    return Comparison(
        title=f"Associative memories on {first.data.name}, {distortion_in_test(first)}{variation}",
        unit=results[0].unit,
        results=sorted(results, key=lambda result: (result.mask_known, result.items)),
        gallery=gallery(shown) if first.compare.gallery else None,
        command=made["command"],
        config="\n".join(f"# {name_of(cell)}\n{to_yaml(cell.config)}" for cell in cells),
        provenance={**made, "seed": ", ".join(map(str, seeds)), "episode seed": str(first.episodes.seed)},
        curves=[curve for cell in shown if (curve := cell.curve()).points],
        failed=failed,
        runs={cell.folder.name: to_yaml(cell.config) for cell in cells},
        published=published(first.compare.published) if first.compare.published else None,
    )


def gallery(cells: Sequence[Cell]) -> Gallery:
    """What the memories recalled of the first test episode."""
    recalls = {cell.label: cell.recall() for cell in cells}
    episode = next(iter(recalls.values()))
    return Gallery(
        episode["patterns"],
        episode["queries"],
        [Recall(label, saved["trajectory"], saved.get("energies")) for label, saved in recalls.items()],
    )
