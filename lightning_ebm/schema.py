"""The schema of a configuration: every key, its type, its default and its bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lightning_ebm.registry import analyses, choice, datasets, distortions, memories
from lightning_ebm.settings import Settings, setting

PRECISIONS = {"float32": 32, "float16": 16, "int8": 8, "int4": 4}
"""How a state may be kept between writing and reading, and the bits of each of its values."""
MAX_SEED = 2**32 - 1  # NumPy's bound


@dataclass(frozen=True)
class EpisodesConfig(Settings):
    """How episodes are made."""

    patterns_per_episode: int = setting(64, at_least=1)
    """N, patterns stored in each episode."""
    classes: int = setting(0, at_least=0)
    """All patterns of an episode come from this many classes (alphabets, scripts, kinds of object), drawn for it:
    correlated episodes; 0: from the whole split."""
    with_replacement: bool = False
    """Whether a pattern may occur more than once in an episode."""
    batch: int = setting(4, at_least=1)
    """Episodes of one update, over all devices."""
    seed: int = setting(0, at_least=0)
    """Seed of all episodes; another one gives other episodes."""
    val: int = setting(32, at_least=1)
    """Episodes of each validation."""
    test: int = setting(200, at_least=1)
    """Episodes of the final evaluation."""
    workers: int = setting(0, at_least=0)
    """Processes that assemble episodes beside training; 0 makes them in training's own."""
    train_patterns_per_episode: list[int] = setting([], at_least=1)
    """Range [low, high] that N is drawn from for each update, the same in all of its episodes; empty: always
    `patterns_per_episode`, as validation and test episodes have in any case."""
    curriculum: int = setting(0, at_least=0)
    """Updates over which the upper end of `train_patterns_per_episode` rises linearly from low to high; 0 starts with
    the whole range."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (span := self.train_patterns_per_episode) and not (len(span) == 2 and span[0] <= span[1]):
            raise ValueError(f"train_patterns_per_episode must be a range [low, high] from 1, or empty, got {span}")
        if self.curriculum and not self.train_patterns_per_episode:
            raise ValueError("curriculum raises the upper end of episodes.train_patterns_per_episode, which is empty")


@dataclass(frozen=True)
class TrainingConfig(Settings):
    """How a memory is meta-trained. The EBMM paper's settings (section 4) are those of recipe=paper."""

    max_steps: int = setting(4000, at_least=0)
    """Steps of the optimiser; 0 leaves the memory as it was initialised."""
    max_seconds: float = setting(0.0, at_least=0)
    """Budget of seconds for these steps, validations not counted; 0 for none. Where they run out before the updates do,
    the schedule (`pretrain_steps`, `cooldown_fraction`) goes by the share of them that is spent. What is learned then
    depends on the machine."""
    learning_rate: float = setting(0.01, at_least=0)
    """Learning rate of AdamW."""
    weight_decay: float = setting(1e-6, at_least=0)
    """Weight decay of AdamW."""
    clip: float = setting(1.0, at_least=0)
    """Bound on the global norm of the meta-gradient; 0 for none."""
    warmup_steps: int = setting(50, at_least=0)
    """Updates over which the rate rises linearly to its full value."""
    cooldown_fraction: float = setting(0.5, at_least=0, at_most=1)
    """Share of the updates, at the end, over which it falls linearly to zero."""
    ema_decay: float = setting(0.0, at_least=0, below=1)
    """Decay of an exponential moving average of the parameters, from 0 (none) to below 1, which is then what is
    validated, saved and tested."""
    episodes_per_backward: int = setting(0, at_least=0)
    """Episodes of an update that each device holds in memory together, while the gradients of all are added up: the
    same gradients in less memory and somewhat more time; 0 for all of them."""
    start_from: str = setting("", path=True)
    """A checkpoint of the same memory whose parameters training begins with, such as one that learned on fewer
    patterns. It may have fewer read steps: the further ones begin with their initial decay. Empty: fresh parameters."""
    pretrain_steps: int = setting(0, at_least=0)
    """The first steps, which minimise `pretrain_objective` instead of the meta-loss; 0: none."""
    pretrain_objective: str = setting("auxiliary", one_of=("auxiliary", "keys", "alignment"))
    """auxiliary, the memory's objective of single patterns, such as autoencoding them, whose steps are many times
    cheaper; or, for an EBMM, keys or alignment, which start the memory of an energy net (`ebmm.objectives`). After one
    of these two, write rate and read step size are searched."""
    pretrain_learning_rate: float = setting(0.0, at_least=0)
    """Learning rate at which those begin, to fall linearly to `learning_rate`; 0: `learning_rate`."""
    auxiliary_weight: float = setting(0.0, at_least=0)
    """Weight of `pretrain_objective`, added to the meta-loss in the other steps; 0: none."""
    inner_rate_factor: float = setting(1.0, at_least=0)
    """Learning rate of an EBMM's write rates and read step sizes, as a multiple of all others'."""
    gradient_term_from: int = setting(0, at_least=0)
    """Steps before writing takes in its gradient term (memory.writing.gradient_term=true), which corrects what is
    recalled, costs a third derivative, and is useless before anything is recalled; 0: it is there from the start."""
    mask: bool = False
    """Whether the memory is told, while training, which values were distorted."""
    state_precision: str = setting("float32", one_of=PRECISIONS)
    """How the state is kept between writing and reading while training: float32, float16, int8, int4. Rounding passes
    gradients on as if it were not there."""
    validate_every: int = setting(500, at_least=1)
    """Updates between validations (and checkpoints)."""
    log_images: bool = True
    """Whether each validation saves a picture of pattern, query and every read step."""


@dataclass(frozen=True)
class TrainerConfig(Settings):
    """Where training, and then testing, runs; the names are those of `pytorch_lightning.Trainer`."""

    accelerator: str = setting("auto", one_of=("auto", "cpu", "gpu", "cuda", "mps"))
    """Kind of device; auto takes a GPU if there is one."""
    devices: int = setting(1, at_least=1)
    """Processes on this machine, one a device."""
    num_nodes: int = setting(1, at_least=1)
    """Machines."""
    precision: str = setting("32-true", one_of=("32-true", "64-true", "bf16-mixed", "bf16-true", "16-mixed"))
    """Arithmetic, such as 32-true or bf16-mixed."""
    matmul_precision: str = setting("highest", one_of=("highest", "high", "medium"))
    """Of float32 matrix products and convolutions on a GPU: highest (float32), high (TensorFloat-32) or medium
    (products in bfloat16), as in `torch.set_float32_matmul_precision`."""
    threads: int = setting(0, at_least=0)
    """Threads of each process on a CPU; 0 leaves torch's choice."""
    timeout: float = setting(1800.0, at_least=1)
    """Seconds that a process waits for the others before it gives them up for lost."""


@dataclass(frozen=True)
class WandbConfig(Settings):
    """Weights & Biases; what a run keeps in its folder is complete without."""

    mode: str = setting("auto", one_of=("auto", "disabled", "offline", "online"))
    """One of disabled; offline: kept in the run's folder, for `wandb sync`; online; or auto: online where an agent of a
    W&B sweep has started the run, and disabled otherwise."""
    project: str = "lightning-ebm"
    """Name of the project."""
    entity: str = ""
    """User or team; empty: the user's default."""
    group: str = ""
    """What runs are grouped by; empty: the name of the comparison that they belong to, if they do."""
    tags: list[str] = setting([])
    """Words."""


@dataclass(frozen=True)
class CompareConfig(Settings):
    """What `compare` puts in its table."""

    rows: dict[str, Any] = setting({})
    """A label for each row, and what it changes in the rest of the configuration. With `sizes:` (label -> changes) in
    it, a row becomes one for each size."""
    vary: dict[str, Any] = setting({})
    """Axes of the task, such as data or distortion: axis -> label -> changes; a table for each combination."""
    seeds: list[int] = setting([], at_least=0, at_most=MAX_SEED)
    """Seeds that every row is trained with; empty: `seed`."""
    patterns_per_episode: list[int] = setting([], at_least=1)
    """Numbers of patterns to test with, one column each; empty: `episodes.patterns_per_episode` only."""
    mask: str = setting("unknown", one_of=("unknown", "known", "both"))
    """Whether memories are told which values were distorted: unknown, known, or both in turn."""
    precisions: list[str] = setting(["float32"], one_of=PRECISIONS)
    """How the state is kept between writing and reading: float32, float16, int8, int4."""
    gallery: int = setting(8, at_least=0)
    """Patterns of the first test episode that are shown in the report; 0 for none."""
    paper_results: str = setting("", path=True)
    """A paper's numbers, laid over: figure3-omniglot, figure3-cifar, table1, or a CSV file; empty: none."""
    jobs: int = setting(1, at_least=0)
    """Experiments that run at a time, each in a process of its own; 1: here, one after the other; 0: one for each GPU
    or, without, each core; with SLURM, all."""
    executor: str = setting("local", one_of=("local", "slurm"))
    """Where they run: local, or slurm: each experiment is a job of SLURM, submitted through submitit."""
    slurm: dict[str, Any] = setting({})
    """Settings of sbatch for these jobs, as submitit names them: {partition: gpu, time: 240, gpus_per_node: 1}; time in
    minutes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.precisions:
            raise ValueError(f"precisions must be some of {', '.join(PRECISIONS)}, got []")


@dataclass(frozen=True)
class RunConfig(Settings):
    """Everything a run depends on."""

    name: str = "run"
    """Begins the name of the run's folder."""
    recipe: str = ""
    """A packaged set of rates, steps and schedules that lies under the file's or command line's other keys: paper, or
    none."""
    output: str = setting("runs", path=True)
    """Folder that run folders are made in."""
    resume: str = setting("auto", one_of=("auto", "never"))
    """`auto` goes on from the last checkpoint of the same configuration; `never` refuses to."""
    seed: int = setting(0, at_least=0, at_most=MAX_SEED)
    """Seed of parameters (episodes have their own, `episodes.seed`)."""
    checkpoint: str = setting("", path=True)
    """What `evaluate` loads; empty: the best checkpoint of the same configuration."""
    memory: Any = choice(memories, "ebmm")
    """The memory, by name, with its settings."""
    data: Any = choice(datasets, "glyphs")
    """The data set, by name, with its settings."""
    distortion: Any = choice(distortions, "block")
    """How queries are made, by name, with its settings."""
    test_distortion: Any = choice(distortions, "")
    """How those of test episodes are made; empty: as all others."""
    episodes: EpisodesConfig = EpisodesConfig()
    """Size and number of episodes."""
    training: TrainingConfig = TrainingConfig()
    """The optimiser."""
    trainer: TrainerConfig = TrainerConfig()
    """Devices."""
    wandb: WandbConfig = WandbConfig()
    """Weights & Biases."""
    compare: CompareConfig = CompareConfig()
    """Rows and columns of the comparison."""
    analysis: Any = choice(analyses, "capacity")
    """The question that `analyse` asks of the rows, by name, with its settings."""


NOT_TRAINING = (
    *("recipe", "output", "resume", "checkpoint", "compare", "analysis", "trainer", "wandb", "test_distortion"),
    *("episodes.test", "episodes.workers", "training.episodes_per_backward", "training.log_images"),
)
"""Keys that leave what is learned unchanged: runs that differ in them only continue one another."""

RENAMED = {
    "training.updates": "training.max_steps",
    "training.seconds": "training.max_seconds",
    "training.rate": "training.learning_rate",
    "training.warmup": "training.warmup_steps",
    "training.cooldown": "training.cooldown_fraction",
    "training.average": "training.ema_decay",
    "training.chunk": "training.episodes_per_backward",
    "training.pretrain": "training.pretrain_steps",
    "training.pretrain_rate": "training.pretrain_learning_rate",
    "training.auxiliary": "training.auxiliary_weight",
    "training.pictures": "training.log_images",
    "episodes.items": "episodes.patterns_per_episode",
    "episodes.repeats": "episodes.with_replacement",
    "episodes.train_items": "episodes.train_patterns_per_episode",
    "compare.items": "compare.patterns_per_episode",
    "compare.published": "compare.paper_results",
    "memory.writing.rate": "memory.writing.write_rate",
    "memory.energy.memory": "memory.energy.written_units",
    "memory.energy.code": "memory.energy.code_dim",
    "memory.energy.period": "memory.energy.block_size",
    "memory.energy.address": "memory.energy.address_dim",
    "memory.energy.rows": "memory.energy.slots",
    "memory.energy.components": "memory.energy.slots",
    "memory.rows": "memory.slots",
    "memory.address": "memory.address_dim",
    "memory.coders.code": "memory.coders.code_dim",
    "analysis.items": "analysis.patterns_per_episode",
}
"""Former key -> its name of now, both dotted, for the error that a former key gives."""
