"""The one LightningModule: meta-trains any memory that has parameters."""

import time
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from lightning_ebm.config import ConfigError, build
from lightning_ebm.data.episodes import Episode
from lightning_ebm.ebmm.memory import EBMM
from lightning_ebm.ebmm.objectives import OBJECTIVES, UncalledLayerError, start_loss
from lightning_ebm.ebmm.rate_search import STEPS, WRITE_RATES, grid_errors, set_best, step_unit
from lightning_ebm.memory import AssociativeMemory, PatternSpec, State, as_is, is_trainable, reading_error
from lightning_ebm.metrics import RecallError
from lightning_ebm.pretrained import built, refuse_imports
from lightning_ebm.quantization import straight_through
from lightning_ebm.schema import TrainingConfig
from lightning_ebm.signals import reason
from lightning_ebm.training.checkpoints import read_checkpoint
from lightning_ebm.training.diagnosis import PATIENCE, diagnose, has_started
from lightning_ebm.training.gradient_accumulation import Loss, chunked


class NonFiniteLossError(RuntimeError):
    """The meta-loss became NaN or infinite."""


class MetaTraining(pl.LightningModule):
    """Minimises a memory's `meta_loss` over episodes with AdamW.

    Logs `train/loss` (the meta-loss), and on validation episodes `val/error` and `val/error_corrupted` (error of
    the last read step on all and on corrupted values, in the units of the tables: wrong bits, or squared error,
    per pattern), with `train/seconds`, the seconds spent on updates until then. For an EBMM, validation also logs what
    `diagnosis.diagnose` finds, and a run whose memory does not start says so once.

    Args:
        memory: what is trained.
        spec: kind of the patterns, which decides the error's unit.
        config: optimiser and schedule.
        record: the resolved run configuration as plain values, kept in checkpoints for `load_from_checkpoint`.

    Raises:
        ConfigError: if a setting needs an EBMM, or its gradient term, and the memory has none.
    """

    def __init__(
        self, memory: AssociativeMemory, spec: PatternSpec, config: TrainingConfig, record: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        # plain values only: a dataclass here would make a checkpoint that weights_only loading refuses
        kept = {"config": record or {}, "shape": list(spec.shape), "binary": spec.binary}
        self.save_hyperparameters(kept, logger=False)  # the run's folder and W&B have the configuration already
        self.memory, self.spec, self.config = memory, spec, config
        self.check()
        precision, objective = config.state_precision, config.pretrain_objective
        self.keep = as_is if precision == "float32" else partial(straight_through, precision=precision)
        # by name, so that `Compilation` can put compiled ones in their place
        self.losses: dict[str, Loss] = {"meta_loss": partial(memory.meta_loss, keep=self.keep)}
        if config.pretrain_steps or config.auxiliary_weight:
            self.losses[objective] = memory.auxiliary_loss
            if objective in OBJECTIVES:
                self.losses[objective] = partial(start_loss, OBJECTIVES[objective], self.ebmm, config.mask)  # type: ignore[arg-type]
        self.seconds = 0.0
        self.updated = self.said_not_started = False  # whether this start has made an update, and has warned
        self.parameters_set = False  # whether this update has begun from parameters that were not learned
        self.meta_loss_since = config.pretrain_steps
        self.errors = nn.ModuleDict(
            {
                split: nn.ModuleDict({"error": RecallError(spec), "error_corrupted": RecallError(spec, corrupted=True)})
                for split in ("val", "test")
            }
        )
        if self.ebmm and config.gradient_term_from:
            self.ebmm.writing.hold_back_gradient_term()

    def check(self) -> None:
        """Refuses settings that need an EBMM, or one with a gradient term, where the memory is not."""
        config, neutral = self.config, TrainingConfig()
        if config.pretrain_until and not (config.pretrain_steps and config.pretrain_objective in OBJECTIVES):
            raise ConfigError(
                "training.pretrain_until needs training.pretrain_steps above 0 and a training.pretrain_objective of"
                f" {', '.join(OBJECTIVES)}"
            )
        if self.ebmm and config.gradient_term_from and not self.ebmm.writing.gradient_term:
            raise ConfigError("training.gradient_term_from needs memory.writing.gradient_term=true")
        for key in ("pretrain_objective", "pretrain_until", "inner_rate_factor", "gradient_term_from"):
            if not self.ebmm and getattr(config, key) != getattr(neutral, key):
                raise ConfigError(f"training.{key} must be {getattr(neutral, key)} for a memory that is not an EBMM")

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path, *arguments: Any, **given: Any) -> Self:  # type: ignore[override]
        """The module of a checkpoint, with its parameters. Nothing is unpickled, and no module is imported.

        Args:
            checkpoint_path: the file.
            arguments: as Lightning's method has them, like `given`.
            given: `memory`, `spec` and `config` are built from the configuration that the checkpoint holds, where they
                are not given. A checkpoint of your own trainer holds one if the module got it as `record`.

        Raises:
            ConfigError: if the file is missing or damaged, or what is not given cannot be built: a memory with a class
                of your own (`package.module:Class`) must be given.
        """
        stored = read_checkpoint(Path(checkpoint_path)).get("hyper_parameters", {})
        try:
            record = stored.get("config", {})
            found = {"record": record, **given}
            if "spec" not in found:
                found["spec"] = PatternSpec(tuple(stored["shape"]), stored["binary"])
            if "config" not in found:
                found["config"] = build(TrainingConfig, record["training"], "training")
            if "memory" not in found:
                refuse_imports(record["memory"], "memory")
                found["memory"] = built(record["memory"], found["spec"])
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, MemoryError) as error:
            raise ConfigError(
                f"{checkpoint_path} does not say how its module is built ({reason(error)}): give memory, spec, config"
            ) from error
        return super().load_from_checkpoint(checkpoint_path, *arguments, **found)

    @property
    def ebmm(self) -> EBMM | None:
        """The memory, if it is an EBMM."""
        return self.memory if isinstance(self.memory, EBMM) else None

    def training_step(self, batch: Episode, batch_index: int) -> Tensor:
        """The loss of a batch of episodes; see `meta_loss`.

        Raises:
            ValueError: if it depends on no parameter.
            NonFiniteLossError: if it is NaN or infinite.
        """
        loss = self.meta_loss(batch.patterns, batch.queries, batch.mask)
        if not loss.requires_grad:
            kind = type(self.memory).__name__
            raise ValueError(f"{kind}: the loss depends on no parameter; is it written or read without gradients?")
        if not loss.isfinite():
            raise NonFiniteLossError(
                f"the meta-loss became {loss.item()} at update {self.global_step}; the last checkpoint is kept."
                f" A lower training.learning_rate (now {self.config.learning_rate}) or training.clip (now"
                f" {self.config.clip}) may help"
            )
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def meta_loss(self, patterns: Tensor, queries: Tensor, corrupted: Tensor) -> Tensor:
        """The memory's, of states that are kept as configured, with or, at first, replaced by `pretrain_loss`."""
        if self.global_step < self.meta_loss_since:
            return self.pretrain_loss(patterns, queries, corrupted)
        loss = self.loss_of("meta_loss", patterns, queries, corrupted if self.config.mask else None)
        if self.config.auxiliary_weight:
            loss = loss + self.config.auxiliary_weight * self.pretrain_loss(patterns, queries, corrupted)
        return loss

    def loss_of(self, name: str, patterns: Tensor, *more: Tensor | None) -> Tensor:
        """One of the losses of a batch, with as many episodes in memory at once as configured.

        The objective of single patterns may compare those of all episodes, so it takes all at once; it unrolls nothing.
        """
        loss, chunk = self.losses[name], self.config.episodes_per_backward
        if not chunk or name not in ("meta_loss", *OBJECTIVES):
            return loss(patterns, *more)
        return chunked(loss, [one for one in self.memory.parameters() if one.requires_grad], chunk, patterns, *more)

    def pretrain_loss(self, patterns: Tensor, queries: Tensor, corrupted: Tensor) -> Tensor:
        """`training.pretrain_objective`: the memory's objective of single patterns, or one that starts an EBMM.

        A ConfigError if the memory or its energy has none.
        """
        name = self.config.pretrain_objective
        try:
            return self.loss_of(name, patterns, queries, corrupted)
        except NotImplementedError as error:
            key = "training.pretrain_steps and training.auxiliary_weight must be 0 for this memory"
            raise ConfigError(f"{key}: {error}") from None
        except UncalledLayerError as error:
            raise ConfigError(f"training.pretrain_objective={name}: {error}") from None

    def recall(self, split: str, batch: Episode) -> tuple[State, Tensor]:
        """Writes and reads the episodes of a batch; logs the errors of the last read step under the name of the split.

        Returns:
            The state, and the trajectory (steps, episodes, items, *shape).
        """
        state = self.keep(self.memory.write(batch.patterns))
        trajectory = self.memory.read(state, batch.queries, batch.mask if self.config.mask else None)
        for name, metric in self.errors[split].items():  # type: ignore[operator]
            metric.update(trajectory[-1], batch.patterns, batch.mask)
            self.log(f"{split}/{name}", metric, prog_bar=True)
        return state, trajectory

    def validation_step(self, batch: Episode, batch_index: int) -> Tensor:
        """Logs the errors, and what tells whether an EBMM remembers. Returns the trajectory, which callbacks show."""
        state, trajectory = self.recall("val", batch)
        if self.ebmm:
            mask = batch.mask if self.config.mask else None
            found = diagnose(self.ebmm, self.spec, state, batch.patterns, batch.queries, mask, batch.mask)
            shared: Any = {"batch_size": len(batch.patterns), "sync_dist": True}
            self.log_dict({f"val/{name}": value for name, value in found.items()}, **shared)
            self.log("val/items", float(batch.patterns.shape[1]), **shared, logger=False)
        return trajectory

    def test_step(self, batch: Episode, batch_index: int) -> None:
        """Logs the errors of test episodes, `test/error` and `test/error_corrupted`, for `Trainer.test`."""
        self.recall("test", batch)

    def on_validation_epoch_end(self) -> None:
        """Logs the seconds of training with the errors, and ends pretraining where it has reached what it is for.

        It is decided here, before the checkpoint of this validation is saved, which must hold it.
        """
        self.log("train/seconds", self.seconds, sync_dist=True)
        if self.config.pretrain_until and self.found() >= self.config.pretrain_until:
            self.meta_loss_since = min(self.meta_loss_since, self.global_step)

    def found(self) -> float:
        """The share of queries whose own pattern was found in the last validation; 1 before the first."""
        return float(self.trainer.callback_metrics.get("val/write_top1", 1.0))

    def on_validation_end(self) -> None:
        """Warns, once, if the memory has not started; counted from where it is trained to remember."""
        updates = self.global_step - self.meta_loss_since
        if not self.ebmm or self.said_not_started or updates < PATIENCE:
            return
        values = {key.removeprefix("val/"): float(value) for key, value in self.trainer.callback_metrics.items()}
        if not has_started(values["error"], values["error_prior"], values["write_top1"], values["items"]):
            self.said_not_started = True
            rank_zero_warn(
                f"after {updates} updates of the meta-loss the memory has not started: its error is"
                f" {values['error']:.4g}, that of the prior state {values['error_prior']:.4g}. More"
                " training.pretrain_steps with training.pretrain_objective=keys or recall may start it; see"
                " docs/own_energy.md"
            )

    def position(self, update: int) -> float:
        """Where the schedule stands after `update` updates, in updates: further, where seconds run out faster."""
        budget = self.config.max_seconds
        return max(update, self.seconds / budget * self.config.max_steps) if budget else update

    def on_train_batch_start(self, batch: Episode, batch_index: int) -> None:
        """Starts the clock of this update, and changes what is minimised where the schedule says so.

        The meta-loss begins with an optimiser that knows nothing of the objective before it:
        Adam's running squares of the auxiliary loss's gradients would make its first steps up to thirty times too long.
        """
        self.started, self.parameters_set = time.perf_counter(), False
        config, update, state = self.config, self.global_step, self.optimizers().optimizer.state  # type: ignore[union-attr]
        if self.position(update) >= config.pretrain_steps:
            self.meta_loss_since = min(self.meta_loss_since, update)
        if config.pretrain_steps and update == self.meta_loss_since:
            state.clear()
            self.set_learning_rate(update)  # the scheduler did so before it was known that the meta-loss begins
            if self.found() < config.pretrain_until:
                rank_zero_warn(
                    f"pretraining ends with {self.found():.0%} of the own patterns found, training.pretrain_until="
                    f"{config.pretrain_until}: the meta-loss may undo such a memory; more training.pretrain_steps help"
                )
            if config.pretrain_objective != "auxiliary":
                self.search_rates(batch)
                self.parameters_set = True
        if self.ebmm and config.gradient_term_from:
            if update == config.gradient_term_from:
                self.ebmm.writing.add_gradient_term()
                state.pop(self.ebmm.writing.learned_rates, None)
                self.parameters_set = True
            self.ebmm.writing.gradient_term = update >= config.gradient_term_from

    def set_learning_rate(self, update: int) -> None:
        """Sets the learning rate of this update, as the schedule has it now."""
        schedule: Any = self.lr_schedulers()
        if schedule is None:  # an optimiser of a subclass's own
            return
        groups = schedule.optimizer.param_groups
        for group, base, share in zip(groups, schedule.base_lrs, schedule.lr_lambdas, strict=True):
            group["lr"] = base * share(update)

    def search_rates(self, batch: Episode) -> None:
        """Finds an EBMM's read step size, and a write rate if none was trained, on the episodes of all processes.

        Each process searches on all of them, so that what is found does not depend on how they are shared out.
        """
        assert self.ebmm
        patterns, queries, corrupted = (self.of_all_processes(part) for part in batch)
        mask = corrupted if self.config.mask else None
        unit = float(step_unit(self.ebmm, patterns, queries, mask))
        step_sizes = [unit * step for step in STEPS]
        write_rates = WRITE_RATES if self.config.pretrain_objective == "keys" else ()  # the others train them
        errors = grid_errors(self.ebmm, patterns, queries, mask, write_rates, step_sizes)
        set_best(self.ebmm, errors, float(reading_error(queries, patterns)), write_rates, step_sizes)

    def of_all_processes(self, part: Tensor) -> Tensor:
        """A part of this step's episodes (episodes, ...), in the order in which a single process would have them."""
        if self.trainer.world_size == 1:
            return part
        gathered: Any = self.all_gather(part)  # (processes, episodes, ...); each takes every `processes`-th of them
        return gathered.transpose(0, 1).flatten(0, 1)

    def on_train_batch_end(self, outputs: Any, batch: Episode, batch_index: int) -> None:
        """Stops it, and training when the seconds are spent. Validation does not count as training."""
        self.updated = True
        self.seconds += time.perf_counter() - self.started
        if self.config.max_seconds:
            self.seconds = self.trainer.strategy.broadcast(self.seconds)  # all processes go by the first one's clock
            self.trainer.should_stop = self.seconds >= self.config.max_seconds

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the seconds spent on updates, over all restarts, and since which update the meta-loss is minimised."""
        checkpoint["training_seconds"], checkpoint["meta_loss_since"] = self.seconds, self.meta_loss_since

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continues with them, and with the gradient term where training has added it."""
        self.seconds, self.meta_loss_since = checkpoint["training_seconds"], checkpoint["meta_loss_since"]
        if self.ebmm and self.config.gradient_term_from:
            self.ebmm.writing.gradient_term = checkpoint["global_step"] >= self.config.gradient_term_from

    def configure_optimizers(self) -> Any:
        """AdamW, warmed up for each loss; the rate of the first falls to that of the second, then to zero."""
        config = self.config
        if not is_trainable(self.memory):
            raise ConfigError(f"{type(self.memory).__name__} has no parameters to train")
        first = (config.pretrain_steps and config.pretrain_learning_rate) or config.learning_rate
        highest = max(first, config.learning_rate)
        groups: list[dict[str, Any]] = [{"params": list(self.memory.parameters())}]
        if self.ebmm and config.inner_rate_factor != 1:
            inner = [*self.ebmm.writing.parameters(), *self.ebmm.reading.parameters()]
            others = [parameter for parameter in self.memory.parameters() if all(parameter is not one for one in inner)]
            groups = [{"params": others}, {"params": inner, "lr": highest * config.inner_rate_factor}]
        optimizer = torch.optim.AdamW(groups, highest, weight_decay=config.weight_decay)

        def share(update: int) -> float:
            position = self.position(update)
            coding = update < self.meta_loss_since
            since = update if coding else update - self.meta_loss_since
            rising = (since + 1) / config.warmup_steps if config.warmup_steps else 1.0
            falling = max(0.0, config.max_steps - position) / max(1.0, config.cooldown_fraction * config.max_steps)
            left = 1 - position / config.pretrain_steps if coding else 0.0
            rate = config.learning_rate + left * (first - config.learning_rate)
            return rate / highest * min(1.0, rising, falling if config.cooldown_fraction else 1.0) if highest else 0.0

        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, share), "interval": "step"}}
