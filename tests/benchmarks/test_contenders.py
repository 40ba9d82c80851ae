"""All contenders compute the same loss and meta-gradients as `EBMM.meta_loss`."""

import os
from dataclasses import replace

import pytest

from benchmarks.contenders import CONTENDERS, load
from benchmarks.process import Process
from benchmarks.run import computed, difference
from benchmarks.worker import Worker
from tests.benchmarks.tiny import TINY

# compilation dominates, and its optimisations change nothing that is tested here
FLAGS = ("backend_optimization_level=0", "llvm_disable_expensive_passes=true", "disable_hlo_passes=fusion")
os.environ.setdefault("XLA_FLAGS", " ".join(f"--xla_{flag}" for flag in FLAGS))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
PACKAGES = {"higher": "higher", "torchopt": "torchopt", "jax_unrolled": "jax", "jax_scan": "jax"}
LOOPS = ("ours_by_episode", "autograd_loop", "higher", "torchopt")


def result(name, case):
    if name.startswith("jax"):  # in a process of its own: JAX starts threads, and other tests fork
        with Process(name, 1, 300) as process:
            return computed(process, case, "float64", "cpu")
    worker = Worker(name)
    worker.prepare(case, "float64", "cpu")
    return worker.result()


def check(name, case):
    pytest.importorskip(PACKAGES.get(name, "torch"))
    ours, theirs = result("ours", case), result(name, case)
    assert difference(theirs, ours) < 1e-9
    assert any(abs(gradient).max() > 1e-3 for key, gradient in ours.gradients.items() if "learned_rates" in key)


@pytest.mark.parametrize("gradient_term", [True, False])
@pytest.mark.parametrize("case", TINY)
@pytest.mark.parametrize("name", LOOPS)
def test_loops_agree_with_ours(name, case, gradient_term):
    check(name, replace(TINY[case], gradient_term=gradient_term))


@pytest.mark.parametrize("gradient_term", [True, False])
@pytest.mark.parametrize(("name", "case"), [("jax_unrolled", "mlp"), ("jax_scan", "mlp"), ("jax_scan", "gated_rnn")])
def test_jax_agrees_with_ours(name, case, gradient_term):
    check(name, replace(TINY[case], gradient_term=gradient_term))  # the two differ in their loops only


@pytest.mark.parametrize(("gradient_term", "strides"), [(True, (1,)), (False, (1, 2))])
def test_jax_agrees_with_ours_on_images(gradient_term, strides):
    # scanned only, and no more bottlenecks than each setting needs: such energies compile slowly
    case = TINY["resnet_conv"]
    case = replace(case, gradient_term=gradient_term, read_steps=1, sizes={**case.sizes, "strides": strides})
    check("jax_scan", case)


def test_operations_are_counted():
    """Those of a case that can be counted by hand: 2 · 3 · 12 · 8 is one product with the first layer."""
    case = replace(TINY["mlp"], gradient_term=False)
    counts = {}
    for name in ("ours", "autograd_loop"):
        contender = load(name)
        contender.prepare(case, "float32", "cpu")
        counts[name] = contender.flops()
        contender.prepare(replace(case, episodes=2 * case.episodes), "float32", "cpu")
        assert contender.flops() == pytest.approx(2 * counts[name], rel=0.01)
    first_layer = 2 * case.items * 12 * 8 * case.episodes
    assert counts["ours"] >= 8 * first_layer  # below, four in reading, and as many backward
    # the loop runs the first layer in every write step, there is nothing else that ours does less often
    assert counts["ours"] < counts["autograd_loop"]


def test_every_contender_is_named_once():
    assert len(set(CONTENDERS.values())) == len(CONTENDERS)
