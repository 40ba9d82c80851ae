"""One run of a sweep, as the folder that it keeps: its command, what it printed, how it ended."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lightning_ebm.config import ConfigError
from lightning_ebm.files import atomic_write
from lightning_ebm.reporting.figures.curves import read_curve
from lightning_ebm.sweeping.space import Point


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        state: finished; stopped, by Hyperband; or failed.
        error: the least val/error; infinite if there is none.
        update: at which it was.
        validations: how many there were.
        seconds: of training, up to the last of them.
        words: why it failed; else empty.
    """

    state: str
    error: float
    update: int
    validations: int
    seconds: float
    words: str = ""


@dataclass(frozen=True)
class Trial:
    """A run.

    Attributes:
        folder: `<output>/sweep-<file>/run-NNN`.
        values: of all parameters.
        place: quantiles of the varied ones; empty in a grid.
        command: its words, the folder that it writes to among them.
    """

    folder: Path
    values: Point
    place: list[float]
    command: list[str]

    def outcome(self) -> Outcome | None:
        """How it ended; None if it has not."""
        try:
            return Outcome(**json.loads((self.folder / "result.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{self.folder / 'result.json'} is damaged; delete it to run it again: {error}") from None

    def points(self) -> list[tuple[int, float, float]]:
        """Update, seconds and val/error of each validation so far."""
        found = [path.parent for path in sorted(self.folder.glob("*/metrics"))]
        return read_curve(self.folder.name, found[0]).points if found else []

    def errors(self) -> list[float]:
        """val/error of each validation so far."""
        return [error for _, _, error in self.points()]

    def end(self, state: str, words: str = "") -> Outcome:
        """Records how it ended."""
        points = self.points()
        update, _, error = min(points, key=lambda point: point[2], default=(0, 0.0, math.inf))
        seconds = points[-1][1] if points else 0.0
        outcome = Outcome(state, error, update, len(points), round(seconds, 3), words)
        write(self.folder / "result.json", asdict(outcome))
        return outcome


def new_trial(folder: Path, number: int, values: Point, place: Sequence[float], command: Sequence[str]) -> Trial:
    """Makes the folder of a run of a sweep, and keeps in it what it is to do."""
    own = folder / f"run-{number:03d}"
    own.mkdir(parents=True, exist_ok=True)
    # metrics are read from our own folder: the last word wins over one that the sweep gives
    trial = Trial(own, values, list(place), [*command, f"output={own}"])
    write(own / "command.json", {"values": values, "place": trial.place, "command": trial.command})
    return trial


def read_trials(folder: Path) -> list[Trial]:
    """The runs that a sweep has begun, by number.

    Raises:
        ConfigError: if a file of one is damaged.
    """
    trials = []
    for path in sorted(folder.glob("run-*/command.json"), key=lambda path: int(path.parent.name.split("-")[1])):
        try:
            trials.append(Trial(path.parent, **json.loads(path.read_text(encoding="utf-8"))))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{path} is damaged; delete the folder of that run: {error}") from None
    return trials


def write(path: Path, content: object) -> None:
    """Writes JSON, durably."""
    atomic_write(path, json.dumps(content, indent=1).encode())
