"""A run's folder after whatever happened to it: moved, in use, cut off, or damaged."""

import errno
import os
import shutil
import threading
import warnings

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_ebm import launcher
from lightning_ebm.cli import main
from lightning_ebm.config import ConfigError
from lightning_ebm.data.episodes import DataError
from lightning_ebm.experiments.experiment import Experiment, run_experiment, run_experiments
from lightning_ebm.reporting.figures.curves import read_curve
from lightning_ebm.signals import Exit
from lightning_ebm.training import trainer as training
from lightning_ebm.training.checkpoints import load, newest, read_checkpoint, write
from lightning_ebm.training.module import MetaTraining, NonFiniteLossError
from lightning_ebm.training.preemption import TrainingFailureError
from tests.marks import fast
from tests.test_files import Other
from tests.training.tiny import DEBUG, TINY, assert_same_state, config, cut_at, last, metrics, trained

SHORT = ("training.max_steps=6", "training.validate_every=2", "trainer.threads=1")
KANERVA = ("memory={name: kanerva, slots: 4, address_dim: 4, objective: elbo}", *SHORT)


def best_step(folder):
    return read_checkpoint(folder / "checkpoints" / "best.ckpt")["global_step"]


@pytest.mark.parametrize("way", fast(["moved", "best lost"], ["moved", "linked", "relative", "best lost"]))
def test_the_best_so_far_stays_wherever_the_folder_lies(tmp_path, monkeypatch, way):
    """Validation errors are 1, 2, 3: the first checkpoint is the best, and training stops after it."""
    monkeypatch.setattr(
        MetaTraining, "validation_step", lambda self, *_: self.log("val/error", self.global_step / 2, batch_size=1)
    )
    monkeypatch.chdir(tmp_path)
    cut_at(3, config(tmp_path / "old", *SHORT))
    (old,) = (tmp_path / "old").glob("debug-*")
    assert str(tmp_path) not in str(last(old)["callbacks"])
    output = tmp_path / "new"
    if way in ("moved", "best lost"):
        (tmp_path / "old").rename(output)
    if way == "linked":
        output.symlink_to(tmp_path / "old")
    if way == "relative":
        output = "old"
    run = training.build(config(output, *SHORT))
    if way == "best lost":
        (run.folder / "checkpoints" / "best.ckpt").unlink()
        with pytest.warns(UserWarning, match=r"best\.ckpt is missing or damaged; the next validation's"):
            training.train(run)
    else:
        training.train(run)
    assert last(run.folder)["global_step"] == 6
    assert best_step(run.folder) == (4 if way == "best lost" else 2)


def test_a_memory_that_draws_while_training_resumes_bit_for_bit(tmp_path):
    whole = training.build(config(tmp_path / "whole", *KANERVA))
    drawn = torch.get_rng_state()
    training.train(whole)
    assert not torch.equal(torch.get_rng_state(), drawn)
    cut_at(3, config(tmp_path / "cut", *KANERVA))
    cut = trained(config(tmp_path / "cut", *KANERVA))
    assert_same_state(last(whole.folder), last(cut.folder))
    assert metrics(cut.folder) == metrics(whole.folder)


def test_a_second_process_waits_and_never_two_train(tmp_path):
    """The same command twice at once: one trains, the other says whom it waits for, and finds all done."""
    output = tmp_path / "runs"
    children = []
    for number in range(2):
        if not (child := os.fork()):
            code = 1
            try:
                with (tmp_path / f"{number}.txt").open("w") as file:
                    os.dup2(file.fileno(), 1)
                code = main(["train", str(DEBUG), f"output={output}", *TINY, *SHORT])
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    (folder,) = output.glob("debug-*")
    said = [(tmp_path / f"{number}.txt").read_text() for number in range(2)]
    waited = [any(f"{folder} is in use by process {other}" in said[i] for other in children) for i in range(2)]
    assert sum(waited) <= 1  # none, if one had ended before the other came
    assert len(list(yaml.safe_load_all((folder / "provenance.yaml").read_text()))) == 1
    assert [path.name for path in (folder / "metrics").iterdir()] == ["version_0"]
    assert last(folder)["global_step"] == 6


def test_training_waits_for_who_is_in_the_folder(tmp_path, capsys):
    run = training.build(config(tmp_path, *SHORT))
    other = Other(run.folder / "lock")
    timer = threading.Timer(0.5, other.leave.set)
    timer.start()
    training.train(run)
    assert f"{run.folder} is in use by process {other.pid} on " in capsys.readouterr().out
    assert last(run.folder)["global_step"] == 6
    other.process.join()


def test_of_a_launched_group_none_goes_on_where_another_process_trains(tmp_path, monkeypatch, capsys):
    """The first would wait while the others go on: in a comparison, they would train different memories together."""
    grid = [Experiment(f"seed {seed}", "", "", config(tmp_path, *SHORT, f"seed={seed}")) for seed in (0, 1)]
    folder = grid[0].folder
    other = Other(folder / "lock")
    for name in launcher.TORCHRUN.variables:
        monkeypatch.setenv(name, "2" if name == "WORLD_SIZE" else "0")
    monkeypatch.setattr(launcher, "here", launcher.here.__wrapped__)  # it is cached otherwise
    said = f"{folder} is in use by process {other.pid} on "
    assert main(["train", str(DEBUG), f"output={tmp_path}", *TINY, *SHORT]) == 1
    assert capsys.readouterr().out.strip().startswith(said)
    with pytest.raises(Exit) as refused:
        run_experiments(grid)
    assert refused.value.words.startswith(said)
    assert not grid[1].folder.exists()
    with monkeypatch.context() as patch:
        patch.setenv("RANK", "1")
        with training.held(folder):  # the first process's is that of all
            pass
    other.end()
    with training.held(folder):
        pass


def test_a_failure_before_the_first_update_is_told_from_a_checkpoint_that_cannot_be_resumed(tmp_path, monkeypatch):
    cut_at(3, config(tmp_path, *SHORT))
    for error, kind, message in (
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), TrainingFailureError, "the disk is full.* resumes from it"),
        (KeyError("state"), ConfigError, r"cannot resume from the checkpoint .*last\.ckpt: KeyError: 'state'"),
    ):

        def fails(*_, error=error):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(MetaTraining, "on_fit_start", fails)
            with pytest.raises(kind, match=message):
                trained(config(tmp_path, *SHORT))


def test_files_that_a_kill_cut_off_do_not_disturb(tmp_path):
    run = training.build(config(tmp_path, *SHORT))
    cut_at(5, run.config)
    (rows,) = run.folder.glob("metrics/*/metrics.csv")
    content = rows.read_bytes()
    rows.write_bytes(content[:-9])
    assert [update for update, *_ in read_curve(run.folder)] == [2]
    rows.write_bytes(content.replace(b",1,", b",\xff,"))
    for name in ("provenance.yaml", "progress"):
        (run.folder / name).write_text("a: b\nc")
    (run.folder / "config.yaml").write_bytes(b"")
    again = training.build(config(tmp_path, *SHORT))
    with pytest.warns(UserWarning, match=r"metrics\.csv is damaged"):
        read_curve(run.folder)
    training.train(again)
    assert (run.folder / "config.yaml").stat().st_size > 100
    assert (run.folder / "provenance.yaml").read_text().startswith("a: b\nc\n---\ncommand: ")
    rows.unlink()
    assert [update for update, *_ in read_curve(run.folder)] == [6]


@pytest.mark.parametrize("content", [b"", b"[{", b"{}", b'[{"role": ""}]', b"PK\x03\x04", b"\xff"])
def test_damaged_results_are_measured_anew(tmp_path, content):
    cell = Experiment("Hopfield", "", "", config(tmp_path, "memory=hopfield", "episodes.test=2"))
    run_experiment(cell, print)
    files = sorted(cell.folder.glob("results/*"))
    whole = [file.read_bytes() for file in files]
    assert cell.is_done() and len(files) == 2
    for file in files:
        file.write_bytes(content)
        with pytest.warns(UserWarning, match=f"{file.name} is damaged .* measured again"):
            run_experiment(cell, print)
        assert cell.is_done()
    assert files[1].read_bytes() == whole[1]  # the gallery; the results hold the time that they took
    assert len(cell.results()) == 2


PRECISIONS = ["32-true", "64-true", "bf16-mixed", "bf16-true", "16-mixed"]


@pytest.mark.parametrize("precision", fast(["bf16-mixed"], PRECISIONS))
def test_every_precision_trains_and_draws(tmp_path, precision):
    words = ("training.max_steps=2", "training.validate_every=1", "training.log_images=true", "trainer.threads=1")
    run = training.build(config(tmp_path, *words, f"trainer.precision={precision}"))
    best = training.train(run)
    assert best.exists()
    assert len(list((run.folder / "pictures").glob("*.png"))) == 2
    assert {parameter.dtype for parameter in run.memory.parameters()} == {torch.float32}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was stopped after four of six updates."""
    run = training.build(config(tmp_path_factory.mktemp("stopped"), *SHORT))
    cut_at(5, run.config)
    return run


FILES = [f"{name}.{end}" for name in ("last", "best") for end in ("ckpt", "previous.ckpt", "sha256")]


@st.composite
def damages(draw):
    """(file, what is done to it): one to three of the files in `checkpoints`."""
    some = []
    for file in draw(st.lists(st.sampled_from(FILES), min_size=1, max_size=3, unique=True)):
        kind = draw(st.sampled_from(["cut", "flip", "zero", "bytes", "swap", "hash anew", "remove"]))
        some.append((file, kind, draw(st.floats(0, 1)), draw(st.sampled_from(FILES)), draw(st.binary(max_size=40))))
    return some


def damage(folder, file, kind, place, other, content):
    path = folder / file
    if not path.exists():
        return
    data = bytearray(path.read_bytes())
    at = int(place * (len(data) - 1)) if data else 0
    if kind == "remove" and not file.endswith("sha256"):  # without it, a change of one bit is not seen
        path.unlink()
    elif kind == "swap" and (folder / other).exists():
        path.write_bytes((folder / other).read_bytes())
    elif kind == "cut":
        path.write_bytes(data[:at])
    elif kind == "bytes":
        path.write_bytes(content)
    elif kind == "zero":
        data[at : at + 200] = bytes(len(data[at : at + 200]))
        path.write_bytes(data)
    elif data:
        data[at] ^= 1
        path.write_bytes(data)


def same(one, other):
    return all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())


@settings(max_examples=80, derandomize=True, database=None, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(some=damages())
def test_damaged_files_are_refused_or_the_one_before_is_taken(stopped, tmp_path, some):
    folder = tmp_path / "checkpoints"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(stopped.folder / "checkpoints", folder)
    whole = {
        file: read_checkpoint(folder / file) for file in FILES if file.endswith("ckpt") and (folder / file).exists()
    }
    swapped = any(kind == "swap" for _, kind, *_ in some)
    for one in some:
        damage(folder, *one)
    for name, read in {
        "last": lambda: newest(folder / "last.ckpt"),
        "best": lambda: load(stopped.memory, folder / "best.ckpt"),
    }.items():
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                found = read()
            except ConfigError as error:
                assert str(folder / name) in str(error)
                assert "\n" not in str(error)
                continue
        path, saved = found if name == "last" and found else (None, None)
        if name == "best":
            saved = {"state_dict": {f"memory.{key}": value for key, value in stopped.memory.state_dict().items()}}
        if saved is None:  # neither is there
            assert not list(folder.glob("last*.ckpt"))
            continue
        assert [file for file, one in whole.items() if same(one, saved)]  # one that was written, never half of one
        is_newest = same(whole[f"{name}.ckpt"], saved)
        assert is_newest or warned or swapped or not (folder / f"{name}.ckpt").exists()
        assert path is None or path.exists()


PARTS = ["callbacks", "loops", "optimizer_states", "lr_schedulers", "state_dict", "EpisodeDataModule",
         "global_step", "epoch", "training_seconds", "meta_loss_since", "hyper_parameters"]  # fmt: skip
JUNK = [
    None, "text", -1, 10**30, 0.5, float("nan"), [], {}, [1], {"a": 1}, torch.zeros(3),
    torch.full((2, 2), float("nan")),
]  # fmt: skip


def replace(draw, value, depth):
    """A copy of nested values in which one, at most so deep, is replaced by junk or taken away."""
    if depth and isinstance(value, dict) and value:
        key = draw(st.sampled_from(list(value)))
        if draw(st.integers(0, 5)) == 0:
            return {name: one for name, one in value.items() if name != key}
        return value | {key: replace(draw, value[key], depth - 1)}
    if depth and isinstance(value, list | tuple) and value:
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], replace(draw, value[place], depth - 1), *value[place + 1 :]]
    return draw(st.sampled_from(JUNK))


@pytest.mark.slow
@settings(max_examples=int(os.environ.get("LIGHTNING_EBM_FUZZ", "12")), derandomize=True, database=None, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])  # fmt: skip
@given(data=st.data())
def test_wrong_values_in_a_checkpoint_with_the_right_hash_are_one_line(stopped, tmp_path, data):
    output = tmp_path / "runs"
    shutil.rmtree(output, ignore_errors=True)
    shutil.copytree(stopped.folder, output / stopped.folder.name)
    path = output / stopped.folder.name / "checkpoints" / "last.ckpt"
    part = data.draw(st.sampled_from(PARTS))
    saved = read_checkpoint(path)
    saved[part] = replace(data.draw, saved[part], data.draw(st.integers(0, 6)))
    path.with_name("last.previous.ckpt").unlink()
    path.unlink()
    torch.save(saved, tmp_path / "changed")
    write(path, (tmp_path / "changed").read_bytes())
    try:
        trained(config(output, *SHORT))
    except (ConfigError, DataError, NonFiniteLossError, TrainingFailureError) as error:
        assert str(error)
        assert str(path) in str(error) or isinstance(error, NonFiniteLossError)
    else:
        assert last(path.parent.parent)["global_step"] == 6
