"""docs/own_trainer.md as it stands but for its size: our modules in a user's own Trainer, callback and logger."""

import csv
import re
from pathlib import Path

import pytest
import torch

import lightning_ebm as lebm
from lightning_ebm.config import ConfigError, resolve
from lightning_ebm.schema import TrainingConfig
from lightning_ebm.training.checkpoints import load
from lightning_ebm.training.module import MetaTraining
from lightning_ebm.training.trainer import build, fit

PAGE = (Path(__file__).parent.parent / "docs" / "own_trainer.md").read_text(encoding="utf-8")
SMALLER = {
    "max_steps=200, warmup_steps=20": "max_steps=6, warmup_steps=1",
    "limit_train_batches=50": "limit_train_batches=3, log_every_n_steps=1, enable_progress_bar=False",
    "batch=4, val=16, test=32": "batch=2, val=4, test=4",
    'precision="bf16-mixed"': 'precision="PRECISION"',
}


def script(precision="bf16-mixed"):
    code, _ = re.findall(r"```python[^\n]*\n(.*?)```", PAGE, re.DOTALL)
    for old, new in SMALLER.items():
        assert code.count(old) == 1, old
        code = code.replace(old, new)
    return code.replace("PRECISION", precision)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("own"))
        found: dict = {"folder": Path.cwd()}
        exec(script(), found)
        yield found


def test_it_trains_for_two_epochs_of_three_batches_and_logs(names):
    assert names["trainer"].global_step == 6
    assert names["trainer"].current_epoch == 2
    with (names["folder"] / "logs" / "mine" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    rates = [float(row["write_rate"]) for row in rows if row["write_rate"]]
    assert len(set(rates)) == 6  # the user's callback, at every step; the rates are learned
    assert sum(bool(row["val/error"]) for row in rows) == 2


def test_the_position_counts_batches_whose_gradients_are_accumulated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    code = script().replace("limit_train_batches=3", "limit_train_batches=4, accumulate_grad_batches=2")
    exec(code.partition("trainer.test")[0], names)
    assert names["trainer"].global_step == 6
    assert names["data"].state_dict() == {"position": 6 * 2 * 2}  # updates, batches of each, episodes of each batch


def test_the_test_is_that_of_the_whole_test_split(names):
    """Computed again without Lightning: the memory is that of the last step."""
    (found,) = names["trainer"].test(names["module"], datamodule=names["data"], verbose=False)
    batches = list(names["data"].test_dataloader())
    memory = names["memory"].float().eval()
    wrong = total = 0
    with torch.autocast("cpu", torch.bfloat16):
        for episode in batches:
            answer = memory.read(memory.write(episode.patterns), episode.queries)[-1].detach()
            wrong += int(((answer > 0.5) != (episode.patterns > 0.5)).sum())
            total += episode.patterns.shape[0] * episode.patterns.shape[1]
    assert total == 4 * 8
    assert found["test/error"] == pytest.approx(wrong / total, rel=1e-6)


def test_a_checkpoint_loads_with_its_parameters(names):
    path = Path(names["best"].best_model_path)
    assert path.name == "best.ckpt"
    saved = torch.load(path, weights_only=True)["state_dict"]
    other = MetaTraining.load_from_checkpoint(
        path, memory=type(names["memory"])(fresh(names)), spec=names["glyphs"].spec, config=names["settings"]
    )
    assert saved.keys() == other.state_dict().keys()
    for key, value in other.state_dict().items():
        assert torch.equal(value, saved[key])


def test_a_checkpoint_of_a_run_loads_by_its_path_alone(tmp_path):
    """And reads as the memory that `lightning-ebm` restores; the gradient term is on from update 4 of 6."""
    rates = {"gradient_term": True, "gradient_rate": 0.01, "per_step": True, "steps": 2}
    run = lebm.train("debug", {
        "output": str(tmp_path), "data": {"name": "bits", "size": 12}, "distortion": {"name": "pixels", "amount": 4},
        "memory": {"name": "ebmm", "energy": {"name": "gated_rnn", "hidden": 8, "written_units": 3}, "writing": rates},
        "training": {"max_steps": 6, "validate_every": 2, "gradient_term_from": 4, "log_images": False},
        "trainer": {"accelerator": "cpu"},
    })  # fmt: skip
    state = torch.random.get_rng_state()
    module = MetaTraining.load_from_checkpoint(run.folder / "checkpoints" / "last.ckpt")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert module.config == run.config.training
    assert module.spec == run.data.source.spec
    assert module.hparams["config"]["seed"] == 0  # and is kept in checkpoints of further training
    restored = build(run.config).memory
    load(restored, run.folder / "checkpoints" / "last.ckpt")
    episode = next(iter(run.data.test_dataloader()))
    expected = restored.read(restored.write(episode.patterns), episode.queries)
    torch.testing.assert_close(module.memory.read(module.memory.write(episode.patterns), episode.queries), expected)
    assert module.memory.writing.rates()[0, 0, 2] > 0


def test_what_a_checkpoint_does_not_say_must_be_given(names, tmp_path, monkeypatch):
    path = names["best"].best_model_path
    with pytest.raises(
        ConfigError, match=r"best\.ckpt does not say how its module is built .*: give memory, spec, con"
    ):
        MetaTraining.load_from_checkpoint(path)
    saved = torch.load(path, weights_only=True)
    saved["hyper_parameters"]["config"] = {"memory": {"name": "hostile:Memory"}, "training": {}}
    torch.save(saved, tmp_path / "hostile.ckpt")
    (tmp_path / "hostile.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"'hostile:Memory' could lead to an import"):
        MetaTraining.load_from_checkpoint(tmp_path / "hostile.ckpt")
    memory = type(names["memory"])(fresh(names))
    module = MetaTraining.load_from_checkpoint(tmp_path / "hostile.ckpt", memory=memory)
    assert (module.spec, module.config) == (names["glyphs"].spec, TrainingConfig())


def fresh(names):
    return lebm.Reconstruction(names["glyphs"].spec, lebm.ReconstructionConfig(keys=31))


def test_in_float32_it_makes_the_updates_of_our_own_trainer(tmp_path, monkeypatch):
    """The same episodes, seed and schedule give the same parameters as `lightning-ebm train`."""
    monkeypatch.chdir(tmp_path)
    theirs: dict = {}
    exec(script("32-true"), theirs)
    run = build(resolve({
        "output": str(tmp_path), "data": "glyphs", "distortion": "block",
        "episodes": {"patterns_per_episode": 8, "batch": 2, "val": 4, "test": 4},
        "memory": {"name": "ebmm", "energy": {"name": "reconstruction", "keys": 31}},
        "training": {"max_steps": 6, "warmup_steps": 1, "validate_every": 3, "log_images": False},
        "trainer": {"accelerator": "cpu"},
    }))  # fmt: skip
    fit(run, None)
    pairs = dict(theirs["memory"].named_parameters())
    for name, parameter in run.memory.named_parameters():
        torch.testing.assert_close(parameter, pairs[name], rtol=1e-5, atol=1e-6)
