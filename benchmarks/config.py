"""Settings of `python -m benchmarks`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch

from benchmarks.cases import CASES, SETTINGS, Case
from benchmarks.contenders import CONTENDERS
from lightning_ebm.config import ConfigError, build, parse_overrides
from lightning_ebm.registry import did_you_mean
from lightning_ebm.settings import setting

DEVICES = ("cpu", "cuda")


@dataclass
class BenchConfig:
    """What is timed, and how.

    Attributes:
        cases: names in `CASES`.
        settings: names in `SETTINGS`: with the gradient term of writing, or without.
        contenders: names in `CONTENDERS`; empty: on the CPU all but `ours_compiled`, whose compilation takes
            minutes there; on CUDA those that run there.
        device: "cpu" or "cuda".
        rounds: timed meta-steps of each contender, at least 1; in each round, one of each in turn.
        threads: threads of each contender on the CPU, at least 1.
        steps: write steps T and read steps K of all cases; 0: those of the case.
        timeout: seconds for which a contender may be silent, as when it compiles.
        growth: whether to time `ours` and the reference against numbers of patterns, steps and episodes too.
        growth_case: the case for that.
        output: folder of all files.
    """

    cases: list[str] = field(default_factory=lambda: list(CASES))
    settings: list[str] = field(default_factory=lambda: list(SETTINGS))
    contenders: list[str] = field(default_factory=list)
    device: str = "cpu"
    rounds: int = 7
    threads: int = 1
    steps: int = 0
    timeout: float = 3600.0
    growth: bool = False
    growth_case: str = "mlp"
    output: str = setting("runs/bench", path=True)


def resolve(overrides: Sequence[str]) -> BenchConfig:
    """The checked settings of key=value words.

    Raises:
        ConfigError: on an unknown key or name, a wrong type, or a value out of range; the message names the key.
    """
    config: BenchConfig = build(BenchConfig, parse_overrides(overrides), "")
    check_names("device", [config.device], DEVICES)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: there is no CUDA device here")
    check_names("cases", config.cases, CASES)
    check_names("growth_case", [config.growth_case], CASES)
    check_names("settings", config.settings, SETTINGS)
    if not config.contenders:
        on_cuda = ["ours", "ours_by_episode", "autograd_loop", "ours_compiled"]
        config.contenders = on_cuda if config.device == "cuda" else [n for n in CONTENDERS if n != "ours_compiled"]
    check_names("contenders", config.contenders, CONTENDERS)
    for key, bound in {"rounds": 1, "threads": 1, "steps": 0}.items():
        if getattr(config, key) < bound:
            raise ConfigError(f"{key} must be at least {bound}, got {getattr(config, key)}")
    if not config.timeout > 0:
        raise ConfigError(f"timeout must be above 0, got {config.timeout}")
    return config


def check_names(key: str, names: Sequence[str], known: Iterable[str]) -> None:
    """Refuses names that are not known.

    Raises:
        ConfigError: if one is not; the message lists the known ones.
    """
    known = list(known)
    for name in names:
        if name not in known:
            raise ConfigError(f"{key}: there is no {name!r}.{did_you_mean(name, known)}")


def case_of(config: BenchConfig, name: str, setting: str) -> Case:
    """A case in a setting, with the steps that the configuration asks for."""
    case = replace(CASES[name], gradient_term=SETTINGS[setting])
    return replace(case, write_steps=config.steps, read_steps=config.steps) if config.steps else case
