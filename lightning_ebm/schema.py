"""The schema of a configuration: every key, its type, its default and its bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lightning_ebm.registry import analyses, choice, datasets, distortions, memories


@dataclass
class EpisodesConfig:
    """How episodes are made.

    Attributes:
        items: N, patterns stored in each episode.
        classes: all patterns of an episode come from this many classes (alphabets, scripts, kinds of object), drawn for
            it: correlated episodes; 0: from the whole split.
        repeats: whether a pattern may occur more than once in an episode.
        batch: episodes of one update, over all devices.
        seed: seed of all episodes; another one gives other episodes.
        val: episodes of each validation.
        test: episodes of the final evaluation.
        workers: processes that assemble episodes beside training; 0 makes them in training's own.
        train_items: range [low, high] that N is drawn from for each update, the same in all of its episodes; empty:
            always `items`. Validation and test episodes have `items` in any case.
        curriculum: updates over which the upper end of `train_items` rises linearly from low to high; 0 starts
            with the whole range.
    """

    items: int = 64
    classes: int = 0
    repeats: bool = False
    batch: int = 4
    seed: int = 0
    val: int = 32
    test: int = 200
    workers: int = 0
    train_items: list[int] = field(default_factory=list)
    curriculum: int = 0


@dataclass
class TrainingConfig:
    """How a memory is meta-trained. The EBMM paper's settings (section 4) are those of recipe=paper.

    Attributes:
        updates: steps of the optimiser; 0 leaves the memory as it was initialised.
        seconds: budget of seconds for these steps, validations not counted; 0 for none. Where they run out before the
            updates do, the schedule (`pretrain`, `cooldown`) goes by the share of them that is spent. What is learned
            then depends on the machine.
        rate: learning rate of AdamW.
        weight_decay: weight decay of AdamW.
        clip: bound on the global norm of the meta-gradient; 0 for none.
        warmup: updates over which the rate rises linearly to its full value.
        cooldown: share of the updates, at the end, over which it falls linearly to zero.
        average: decay of an exponential moving average of the parameters, from 0 (none) to below 1, which is then
            what is validated, saved and tested.
        chunk: episodes of an update that each device holds in memory together, while the gradients of all are added
            up: the same gradients in less memory and somewhat more time; 0 for all of them.
        pretrain: the first of the updates, which minimise another objective instead of the meta-loss. 0: none.
        pretrain_objective: auxiliary, the memory's objective of single patterns, such as autoencoding them, whose
            updates are many times cheaper; or, for an EBMM, keys or alignment, which start the memory of an energy net
            (`lightning_ebm.ebmm.objectives`). After one of these two, write rate and read step size are searched.
        pretrain_rate: learning rate at which those begin, to fall linearly to `rate`; 0: `rate`.
        inner_rate_factor: learning rate of an EBMM's write rates and read step sizes, as a multiple of all others'.
        gradient_term_from: updates before writing takes in its gradient term (memory.writing.gradient_term=true), which
            corrects what is recalled, costs a third derivative, and is useless before anything is recalled. 0: none.
        auxiliary: weight of the same objective beside the meta-loss in the other updates; 0: none.
        mask: whether the memory is told, while training, which values were distorted.
        state_precision: how the state is kept between writing and reading while training: float32, float16, int8,
            int4. Rounding passes gradients on as if it were not there.
        validate_every: updates between validations (and checkpoints).
        pictures: whether each validation saves a picture of pattern, query and every read step.
    """

    updates: int = 4000
    seconds: float = 0.0
    rate: float = 0.01
    weight_decay: float = 1e-6
    clip: float = 1.0
    warmup: int = 50
    cooldown: float = 0.5
    average: float = 0.0
    chunk: int = 0
    pretrain: int = 0
    pretrain_objective: str = "auxiliary"
    pretrain_rate: float = 0.0
    inner_rate_factor: float = 1.0
    gradient_term_from: int = 0
    auxiliary: float = 0.0
    mask: bool = False
    state_precision: str = "float32"
    validate_every: int = 500
    pictures: bool = True


@dataclass
class TrainerConfig:
    """Where training, and then testing, runs; the names are those of `pytorch_lightning.Trainer`.

    Attributes:
        accelerator: cpu, gpu or auto.
        devices: processes on this machine, one a device.
        num_nodes: machines.
        precision: arithmetic, such as 32-true or bf16-mixed.
        matmul_precision: of float32 matrix products and convolutions on a GPU: highest (float32), high
            (TensorFloat-32) or medium (products in bfloat16), as in `torch.set_float32_matmul_precision`.
        threads: threads of each process on a CPU; 0 leaves torch's choice.
        timeout: seconds that a process waits for the others before it gives them up for lost.
    """

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    precision: str = "32-true"
    matmul_precision: str = "highest"
    threads: int = 0
    timeout: float = 1800.0


@dataclass
class WandbConfig:
    """Weights & Biases; what a run keeps in its folder is complete without.

    Attributes:
        mode: disabled, offline (kept in the run's folder, for `wandb sync`), online, or auto: online where an agent of
            a W&B sweep has started the run, and disabled otherwise.
        project: name of the project.
        entity: user or team; empty: the user's default.
        group: what runs are grouped by; empty: the name of the comparison that they belong to, if they do.
        tags: words.
    """

    mode: str = "auto"
    project: str = "lightning-ebm"
    entity: str = ""
    group: str = ""
    tags: list[str] = field(default_factory=list)


@dataclass
class CompareConfig:
    """What `compare` puts in its table.

    Attributes:
        rows: a label for each row, and what it changes in the rest of the configuration. With `sizes:` (label ->
            changes) in it, a row becomes one for each size.
        vary: axes of the task, such as data or distortion: axis -> label -> changes; a table for each combination.
        seeds: seeds that every row is trained with; empty: `seed`.
        items: numbers of patterns to test with, one column each; empty: `episodes.items` only.
        mask: whether memories are told which values were distorted: unknown, known, or both in turn.
        precisions: how the state is kept between writing and reading: float32, float16, int8, int4.
        gallery: patterns of the first test episode that are shown in the report; 0 for none.
        published: a paper's numbers, laid over: figure3-omniglot, figure3-cifar, table1, or a CSV file; empty: none.
        jobs: cells that run at a time, each in a process of its own; 1: here, one after the other; 0: one for
            each GPU or, without, each core.
    """

    rows: dict[str, Any] = field(default_factory=dict)
    vary: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
    items: list[int] = field(default_factory=list)
    mask: str = "unknown"
    precisions: list[str] = field(default_factory=lambda: ["float32"])
    gallery: int = 8
    published: str = ""
    jobs: int = 1


@dataclass
class RunConfig:
    """Everything a run depends on.

    Attributes:
        name: begins the name of the run's folder.
        recipe: a packaged set of rates, steps and schedules that lies under the file's or command line's other
            keys: paper, or none.
        output: folder that run folders are made in.
        resume: auto goes on from the last checkpoint of the same configuration; never refuses to.
        seed: seed of parameters (episodes have their own, `episodes.seed`).
        checkpoint: what `evaluate` loads; empty: the best checkpoint of the same configuration.
        memory: the memory, by name, with its settings.
        data: the data set, by name, with its settings.
        distortion: how queries are made, by name, with its settings.
        test_distortion: how those of test episodes are made; empty: as all others.
        episodes: size and number of episodes.
        training: the optimiser.
        trainer: devices.
        wandb: Weights & Biases.
        compare: rows and columns of the comparison.
        analysis: the question that `analyse` asks of the rows, by name, with its settings.
    """

    name: str = "run"
    recipe: str = ""
    output: str = "runs"
    resume: str = "auto"
    seed: int = 0
    checkpoint: str = ""
    memory: Any = choice(memories, "ebmm")
    data: Any = choice(datasets, "glyphs")
    distortion: Any = choice(distortions, "noise_block")
    test_distortion: Any = choice(distortions, "")
    episodes: EpisodesConfig = field(default_factory=EpisodesConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)
    compare: CompareConfig = field(default_factory=CompareConfig)
    analysis: Any = choice(analyses, "capacity")


PRECISIONS = {"float32": 32, "float16": 16, "int8": 8, "int4": 4}
"""How a state may be kept between writing and reading, and the bits of each of its values."""

ALLOWED = {
    "resume": ("auto", "never"),
    "wandb.mode": ("auto", "disabled", "offline", "online"),
    "compare.mask": ("unknown", "known", "both"),
    "training.pretrain_objective": ("auxiliary", "keys", "alignment"),
    "training.state_precision": tuple(PRECISIONS),
    "trainer.accelerator": ("auto", "cpu", "gpu", "cuda", "mps"),
    "trainer.matmul_precision": ("highest", "high", "medium"),
    "trainer.precision": ("32-true", "64-true", "bf16-mixed", "bf16-true", "16-mixed"),
}
AT_LEAST: dict[str, float] = {
    "episodes.items": 1, "episodes.batch": 1, "episodes.seed": 0, "episodes.val": 1, "episodes.test": 1,
    "episodes.workers": 0, "episodes.curriculum": 0, "episodes.classes": 0, "training.updates": 0,
    "training.seconds": 0, "training.rate": 0, "training.weight_decay": 0, "training.clip": 0, "training.warmup": 0,
    "training.cooldown": 0, "training.average": 0, "training.chunk": 0,
    "training.pretrain": 0, "training.pretrain_rate": 0, "training.auxiliary": 0, "training.inner_rate_factor": 0,
    "training.gradient_term_from": 0,
    "training.validate_every": 1, "trainer.devices": 1, "trainer.num_nodes": 1, "trainer.threads": 0,
    "trainer.timeout": 1, "compare.gallery": 0, "compare.jobs": 0, "seed": 0,
}  # fmt: skip
AT_MOST: dict[str, float] = {"training.cooldown": 1, "training.average": 0.99999}

NOT_TRAINING = (
    *("recipe", "output", "resume", "checkpoint", "compare", "analysis", "trainer", "wandb", "test_distortion"),
    *("episodes.test", "episodes.workers", "training.chunk", "training.pictures"),
)
"""Keys that leave what is learned unchanged: runs that differ in them only continue one another."""
