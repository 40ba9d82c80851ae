"""Settings of `python -m benchmarks`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch

from benchmarks.cases import CASES, SETTINGS, Case
from benchmarks.contenders import CONTENDERS
from lightning_ebm.config import ConfigError, build, parse_overrides
from lightning_ebm.registry import did_you_mean
from lightning_ebm.settings import Settings, setting


@dataclass(frozen=True)
class BenchConfig(Settings):
    """What is timed, and how."""

    cases: list[str] = setting(list(CASES))
    """Names in `CASES`."""
    settings: list[str] = setting(list(SETTINGS))
    """Names in `SETTINGS`: with the gradient term of writing, or without."""
    contenders: list[str] = setting([])
    """Names in `CONTENDERS`; empty: on the CPU all but `ours_compiled`, whose compilation takes minutes there; on CUDA
    those that run there."""
    device: str = setting("cpu", one_of=("cpu", "cuda"))
    """Where meta-steps run."""
    rounds: int = setting(7, at_least=1)
    """Timed meta-steps of each contender; in each round, one of each in turn."""
    threads: int = setting(1, at_least=1)
    """Threads of each contender on the CPU."""
    steps: int = setting(0, at_least=0)
    """Write steps T and read steps K of all cases; 0: those of the case."""
    timeout: float = setting(3600.0, above=0)
    """Seconds for which a contender may be silent, as when it compiles."""
    growth: bool = False
    """Whether to time `ours` and the reference against numbers of patterns, steps and episodes too."""
    growth_case: str = "mlp"
    """The case for that."""
    output: str = setting("runs/bench", path=True)
    """Folder of all files."""


def resolve(overrides: Sequence[str]) -> BenchConfig:
    """The checked settings of key=value words.

    Raises:
        ConfigError: on an unknown key or name, a wrong type, or a value out of range; the message names the key.
    """
    config: BenchConfig = build(BenchConfig, parse_overrides(overrides), "")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: there is no CUDA device here")
    if not config.contenders:
        on_cuda = ["ours", "ours_by_episode", "autograd_loop", "ours_compiled"]
        on_cpu = [name for name in CONTENDERS if name != "ours_compiled"]
        config = replace(config, contenders=on_cuda if config.device == "cuda" else on_cpu)
    check_names("cases", config.cases, CASES)
    check_names("growth_case", [config.growth_case], CASES)
    check_names("settings", config.settings, SETTINGS)
    check_names("contenders", config.contenders, CONTENDERS)
    return config


def check_names(key: str, names: Sequence[str], known: Collection[str]) -> None:
    """Refuses names that are not known.

    Raises:
        ConfigError: if one is not; the message lists the known ones.
    """
    for name in names:
        if name not in known:
            raise ConfigError(f"{key}: there is no {name!r}.{did_you_mean(name, known)}")


def case_of(config: BenchConfig, name: str, setting: str) -> Case:
    """A case in a setting, with the steps that the configuration asks for."""
    case = replace(CASES[name], gradient_term=SETTINGS[setting])
    return replace(case, write_steps=config.steps, read_steps=config.steps) if config.steps else case
