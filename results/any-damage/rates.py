"""Searches the rates of a mixture's writing with which patterns may come at once or in portions.

    python rates.py omniglot.yaml TRAINED.ckpt FOUND.ckpt

A pattern is lost if no row holds its code. First, prices give each pattern a row of its own; the rate of rows rises
from step to step, as a sigmoid. The last step lowers the bias of each row that holds a pattern so far that later
patterns avoid it. Rates are drawn at random around the best so far, for some minutes, on training drawings.
"""

import math
import random
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from lightning_ebm.config import read, resolve
from lightning_ebm.ebmm import EBMM
from lightning_ebm.ebmm.rows import normalised
from lightning_ebm.experiments.analyses.incremental_writing import write_in_portions
from lightning_ebm.training.checkpoints import saved_parameters
from lightning_ebm.training.trainer import build

SECONDS = 400
HELD = 0.97
"""Least cosine of a code and the row that holds it."""
LAST = -400.0
"""Rate of biases in the last step."""
START = {"half": 27.0, "width": 4.2, "row_rate": 0.32, "price": 13.9, "price_halves": 43.0, "sharpness": 42.0}


def set_rates(memory: EBMM, gamma: float, drawn: dict[str, float]) -> None:
    """Gives a memory the rates of all its write steps, and γ."""
    rates = torch.zeros_like(memory.writing.rates())
    for step in range(memory.writing.steps):
        rates[step, memory.writing.row_of["memory.weight"], 0] = drawn["row_rate"] / (
            1 + math.exp((drawn["half"] - step) / drawn["width"])
        )
        rates[step, memory.writing.row_of["memory.bias"], 0] = -drawn["price"] * 0.5 ** (step / drawn["price_halves"])
    rates[-1, memory.writing.row_of["memory.bias"], 0] = LAST
    memory.writing.learned_rates = nn.Parameter(rates)
    memory.energy_net.log_gamma.data.fill_(math.log(gamma * drawn["sharpness"]))


@torch.no_grad()
def lost(memory: EBMM, patterns: Tensor, portions: int) -> float:
    """Share of patterns (episodes, items, *shape) that no row holds after they came in so many portions."""
    rows = write_in_portions(memory, patterns, portions)["memory.weight"]
    shares = []
    for each, weight in zip(patterns, rows, strict=True):
        codes = memory.energy_net.features(each)
        shares.append((codes @ normalised(weight).T / codes.shape[1]).amax(1) < HELD)
    return torch.stack(shares).float().mean().item()


def main(config: str, trained: str, found: str) -> None:
    """Searches, and writes a checkpoint for `training.start_from`."""
    run = build(resolve(read(Path(config), ["episodes.batch=8"])))
    parameters = saved_parameters(Path(trained))[1]
    gamma = parameters["energy_net.log_gamma"].exp().item()
    memory = run.memory
    fresh = memory.state_dict() | {name: value for name, value in parameters.items() if "learned_rates" not in name}
    memory.load_state_dict(fresh)
    patterns = next(iter(run.data.train_dataloader())).patterns
    random.seed(0)
    best, least, end = START, math.inf, time.monotonic() + SECONDS
    drawn = dict(best)
    while time.monotonic() < end:
        set_rates(memory, gamma, drawn)
        errors = [lost(memory, patterns, 1)]
        for few, portions in ((patterns, 4), (patterns, 2), (patterns[:, :16], 1), (patterns, 16)):
            if sum(errors) >= least:  # it cannot become the best any more
                break
            errors.append(lost(memory, few, portions))
        else:
            if sum(errors) < least:
                best, least = drawn, sum(errors)
                print(f"lost {least:.4f} {errors} {best}", flush=True)
        drawn = {key: value * math.exp(random.gauss(0, 0.2) * (random.random() < 0.5)) for key, value in best.items()}
    set_rates(memory, gamma, best)
    state = {f"memory.{name}": value for name, value in memory.state_dict().items()}
    torch.save({"state_dict": state, "global_step": 0, "training_seconds": 0.0}, found)


if __name__ == "__main__":
    main(*sys.argv[1:])
