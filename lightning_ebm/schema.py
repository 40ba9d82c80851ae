"""The schema of a configuration: every key, its type, its default and its bounds."""

import os
from dataclasses import dataclass
from typing import Any

from lightning_ebm.registry import analyses, choice, datasets, distortions, memories
from lightning_ebm.settings import Settings, setting

PRECISIONS = {"float32": 32, "float16": 16, "int8": 8, "int4": 4}
"""Precision of a state between writing and reading -> bits of a value."""
DTYPES = ("float32", "float16", "int8", "int4")
"""How the file of a pretrained memory may store parameters."""
MAX_SEED = 2**32 - 1  # NumPy's bound


@dataclass(frozen=True)
class EpisodesConfig(Settings):
    """How episodes are made."""

    patterns_per_episode: int = setting(64, at_least=1)
    """N, patterns stored in each episode."""
    classes: int = setting(0, at_least=0)
    """Draw all patterns of an episode from this many classes (alphabets, scripts, object categories): correlated
    episodes; 0: from the whole split."""
    with_replacement: bool = False
    """Whether a pattern may occur more than once in an episode."""
    batch: int = setting(4, at_least=1, at_most=2**16)
    """Episodes per step, over all devices."""
    seed: int = setting(0, at_least=0)
    """Seed of all episodes."""
    val: int = setting(32, at_least=1)
    """Episodes per validation."""
    test: int = setting(200, at_least=1)
    """Episodes of the final evaluation."""
    workers: int = setting(0, at_least=0)
    """Number of data-loading workers; 0 loads in the main process."""
    train_patterns_per_episode: list[int] = setting([], at_least=1)
    """Range [low, high] from which N is drawn for each training step, the same in all of its episodes; empty: always
    `patterns_per_episode`. Validation and test episodes always have `patterns_per_episode`."""
    curriculum: int = setting(0, at_least=0)
    """Steps over which the upper end of `train_patterns_per_episode` rises linearly from low to high; 0 starts with
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
    """Steps of the optimiser; 0 leaves the memory at its initialisation."""
    max_seconds: float = setting(0.0, at_least=0)
    """Time budget in seconds, without validation; 0: none. If the time runs out before the steps, the schedule
    (`pretrain_steps`, `cooldown_fraction`) follows the share of the time that is used. The result then depends on the
    machine."""
    learning_rate: float = setting(0.01, at_least=0)
    """Learning rate of AdamW."""
    weight_decay: float = setting(1e-6, at_least=0)
    """Weight decay of AdamW."""
    clip: float = setting(1.0, at_least=0)
    """Bound on the global norm of the meta-gradient; 0: none."""
    warmup_steps: int = setting(50, at_least=0)
    """Steps over which the learning rate rises linearly to its full value."""
    cooldown_fraction: float = setting(0.5, at_least=0, at_most=1)
    """Share of the steps, at the end, over which the learning rate falls linearly to zero."""
    ema_decay: float = setting(0.0, at_least=0, below=1)
    """Decay of an exponential moving average of the parameters; 0: none. The average is validated, saved and tested."""
    episodes_per_backward: int = setting(0, at_least=0)
    """Episodes per backward pass on each device, with gradients accumulated over a step: the same gradients in less
    memory and slightly more time; 0: all at once."""
    start_from: str = setting("", path=True)
    """Parameters of the same memory with which training begins: a checkpoint (….ckpt), or a pretrained memory by name
    or path (….safetensors). It may have fewer read steps, which begin with their initial decay, and fewer write
    steps or no gradient term, which begin at their initial rates. Empty: fresh parameters."""
    pretrain_steps: int = setting(0, at_least=0)
    """Number of first steps that minimise `pretrain_objective` instead of the meta-loss, or the most of them where
    `pretrain_until` may end them earlier; 0: none."""
    pretrain_objective: str = setting("auxiliary", one_of=("auxiliary", "keys", "recall", "alignment"))
    """auxiliary: the memory's objective on single patterns, such as autoencoding, whose steps are many times cheaper;
    keys, recall or alignment: for an EBMM, objectives that start the memory of an energy net (`ebmm.objectives`). Then
    the read step size is searched and, after keys, which do not train it, the write rate too."""
    pretrain_learning_rate: float = setting(0.0, at_least=0)
    """Learning rate at the start of pretraining, which falls linearly to `learning_rate`; 0: `learning_rate`."""
    pretrain_until: float = setting(0.0, at_least=0, at_most=1)
    """Share of queries whose own pattern is found (`val/write_top1`) at which pretraining ends before `pretrain_steps`;
    0: it takes all of them. Begun too early, the meta-loss undoes what an objective that starts a memory has built."""
    auxiliary_weight: float = setting(0.0, at_least=0)
    """Weight of `pretrain_objective` in the remaining steps, added to the meta-loss; 0: none."""
    inner_rate_factor: float = setting(1.0, at_least=0)
    """Learning rate of an EBMM's write rates and read step sizes, as a multiple of `learning_rate`."""
    gradient_term_from: int = setting(0, at_least=0)
    """Step from which writing uses its gradient term (memory.writing.gradient_term=true); 0: from the start. The term
    corrects errors of recall, costs a third derivative, and is useless before anything is recalled."""
    mask: bool = False
    """Whether the memory gets the mask of corrupted values in training."""
    state_precision: str = setting("float32", one_of=PRECISIONS)
    """Precision of the state between writing and reading in training: float32, float16, int8, int4. Gradients pass
    straight through the rounding."""
    validate_every: int = setting(500, at_least=1)
    """Steps between validations, each with a checkpoint."""
    log_images: bool = True
    """Whether each validation saves a picture of patterns, queries and read steps."""


@dataclass(frozen=True)
class TrainerConfig(Settings):
    """Where training, and then testing, runs; the names are those of `pytorch_lightning.Trainer`."""

    accelerator: str = setting("auto", one_of=("auto", "cpu", "gpu", "cuda", "mps"))
    """Kind of device; auto uses a GPU if there is one."""
    devices: int = setting(1, at_least=1)
    """Processes on each machine, one per device."""
    num_nodes: int = setting(1, at_least=1)
    """Machines."""
    precision: str = setting("32-true", one_of=("32-true", "64-true", "bf16-mixed", "bf16-true", "16-mixed"))
    """Arithmetic, such as 32-true or bf16-mixed."""
    matmul_precision: str = setting("highest", one_of=("highest", "high", "medium"))
    """Of float32 matrix products and convolutions on a GPU: highest (float32), high (TensorFloat-32) or medium
    (products in bfloat16), as in `torch.set_float32_matmul_precision`."""
    threads: int = setting(0, at_least=0, at_most=1024)
    """Threads per process on a CPU; 0: torch's default."""
    compile: str = setting("false", one_of=("true", "false", "auto"))
    """Whether updates are compiled by `torch.compile`, and on a GPU launched as CUDA graphs; auto: on a GPU, and on a
    CPU for 2,000 updates or more. Compiled updates round differently."""
    timeout: float = setting(1800.0, at_least=1)
    """Seconds that a process waits for the others before it fails."""


@dataclass(frozen=True)
class WandbConfig(Settings):
    """Logging to Weights & Biases. The run's folder is complete without it."""

    mode: str = setting("auto", one_of=("auto", "disabled", "offline", "online"))
    """disabled, offline (logged to the run's folder, for `wandb sync`), online, or auto: online if an agent of a W&B
    sweep started the run, otherwise disabled."""
    project: str = "lightning-ebm"
    """Name of the project."""
    entity: str = ""
    """User or team; empty: the user's default."""
    group: str = ""
    """Group of the run; empty: the name of its comparison, if it belongs to one."""
    tags: list[str] = setting([])
    """Tags of the run."""


@dataclass(frozen=True)
class CompareConfig(Settings):
    """What `compare` puts in its table."""

    rows: dict[str, Any] = setting({})
    """Label of each row -> its changes to the configuration. A row with `sizes:` (label -> changes) becomes one row per
    size."""
    vary: dict[str, Any] = setting({})
    """Variations of the task, such as data or distortion: axis -> label -> changes; one table per combination."""
    seeds: list[int] = setting([], at_least=0, at_most=MAX_SEED)
    """Seeds with which every row is trained; empty: `seed`."""
    patterns_per_episode: list[int] = setting([], at_least=1)
    """Numbers of patterns in test episodes, one column each; empty: `episodes.patterns_per_episode`."""
    mask: str = setting("unknown", one_of=("unknown", "known", "both"))
    """Whether memories get the mask of corrupted values in the test: unknown, known, or both in turn."""
    precisions: list[str] = setting(["float32"], one_of=PRECISIONS)
    """Precisions of the state between writing and reading: float32, float16, int8, int4."""
    gallery: int = setting(8, at_least=0)
    """Patterns of the first test episode shown in the report; 0: none."""
    paper_results: str = setting("", path=True)
    """Numbers of a paper, for comparison: figure3-omniglot, figure3-cifar, table1, or a CSV file; empty: none."""
    jobs: int = setting(1, at_least=0)
    """Parallel experiments, each in its own process; 1: one after the other in this process; 0: one per GPU or, without
    GPUs, per core; with SLURM, all."""
    executor: str = setting("local", one_of=("local", "slurm"))
    """Where experiments run: local, or slurm: each experiment is a SLURM job, submitted through submitit."""
    slurm: dict[str, Any] = setting({})
    """Settings of sbatch for these jobs, under submitit's names: {partition: gpu, time: 240, gpus_per_node: 1}; time in
    minutes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.precisions:
            raise ValueError(f"precisions must be some of {', '.join(PRECISIONS)}, got []")
        for key in ("seeds", "patterns_per_episode", "precisions"):
            if len(set(values := getattr(self, key))) < len(values):
                raise ValueError(f"{key} must not hold a value twice, got {values}")


@dataclass(frozen=True)
class RunConfig(Settings):
    """The whole configuration of a run."""

    name: str = "run"
    """Begins the name of the run's folder, within `output`."""
    recipe: str = ""
    """Packaged set of rates, steps and schedules, which the other keys of the file or command line override: paper, or
    empty."""
    output: str = setting("runs", path=True)
    """Folder of the run folders."""
    resume: str = setting("auto", one_of=("auto", "never"))
    """`auto` resumes from the last checkpoint of the same configuration; `never` refuses to."""
    seed: int = setting(0, at_least=0, at_most=MAX_SEED)
    """Seed of the parameters; `episodes.seed` is that of the episodes."""
    checkpoint: str = setting("", path=True)
    """Checkpoint that `evaluate` loads; empty: the best one of the same configuration."""
    memory: Any = choice(memories, "ebmm")
    """The memory, by name, with its settings."""
    data: Any = choice(datasets, "glyphs")
    """The data set, by name, with its settings."""
    distortion: Any = choice(distortions, "block")
    """How queries are corrupted, by name, with its settings."""
    test_distortion: Any = choice(distortions, "")
    """How queries of test episodes are corrupted; empty: by `distortion`."""
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
    """The analysis that `analyse` runs, by name, with its settings."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name or os.path.isabs(self.name) or ".." in self.name.split("/"):
            raise ValueError(f"name must be the name of a folder within output, got {self.name!r}")


NOT_TRAINING = (
    *("recipe", "output", "resume", "checkpoint", "compare", "analysis", "trainer", "wandb", "test_distortion"),
    *("episodes.test", "episodes.workers", "training.episodes_per_backward", "training.log_images", "data.download"),
)
"""Keys that do not affect what is learned: runs that differ only in these resume one another."""

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
"""Former key -> new key, both dotted, for the error that a former key gives."""
