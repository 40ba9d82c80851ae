"""Each analysis on memories whose answers are known: the query itself, and Hebb's rule."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_ebm.cli import main
from lightning_ebm.config import ConfigError, read_file, resolve
from lightning_ebm.data.episodes import EpisodeDataset, Sampling
from lightning_ebm.experiments.analyses.basin import Basin
from lightning_ebm.experiments.analyses.capacity import Capacity
from lightning_ebm.experiments.analyses.correlated import Correlated
from lightning_ebm.experiments.analyses.energies import Energies, auroc
from lightning_ebm.experiments.analyses.error_map import ErrorMap
from lightning_ebm.experiments.analyses.incremental_writing import IncrementalWriting
from lightning_ebm.experiments.analyses.landscape import Landscape
from lightning_ebm.experiments.analyses.rate import Rate, bound
from lightning_ebm.experiments.analyses.read_trajectory import ReadTrajectory
from lightning_ebm.experiments.analyses.repetition import Repetition
from lightning_ebm.experiments.analyses.robustness import Robustness
from lightning_ebm.experiments.analyses.steps import Steps, with_write_steps
from lightning_ebm.experiments.analyses.transfer import Transfer
from lightning_ebm.experiments.analysis import analyse
from lightning_ebm.experiments.experiment import test_loader as loader
from lightning_ebm.experiments.measure import measure
from lightning_ebm.registry import Choice, analyses, datasets, distortions
from lightning_ebm.training.trainer import Run, build
from tests.marks import fast
from tests.tables import rows_of

ROOT = Path(__file__).parents[3]
QUERY = "lightning_ebm.experiments.controls:QueryItself"
MIXTURE = {"name": "ebmm", "energy": {"name": "mixture", "slots": 4}, "writing": {"steps": 3, "write_rate": 0.3}}


def bits_run(memory, patterns=4, test=8, **changes) -> Run:
    """A memory on 32 random bits, 8 of them re-drawn; eight test episodes of four patterns."""
    plain = {
        "memory": memory,
        "data": {"name": "bits", "size": 32},
        "distortion": {"name": "pixels", "amount": 8},
        "episodes": {"patterns_per_episode": patterns, "test": test},
    }
    return build(resolve({**plain, **changes}))


def column(answer, head):
    return [row[list(answer.columns).index(head)] for row in answer.rows]


def chosen(registry, name, **settings):
    return Choice(name, registry.load(name).config(**settings))


def test_hopfields_error_is_that_of_a_comparison_and_grows():
    answer = Capacity([16, 2]).result({"Hopfield": bits_run("hopfield")})
    few, many = (next(row for row in answer.rows if row[2] == items) for items in (2, 16))
    assert few[3] == 0 and few[6] == 1  # two patterns of 32 bits are recalled exactly
    assert many[3] > 2 and many[6] < 0.5
    assert many[4] <= many[3] <= many[5]
    (axes,) = answer.figure.axes
    (line,) = axes.get_lines()
    np.testing.assert_allclose(line.get_xydata(), [[2, few[3]], [16, many[3]]])


def test_the_command_writes_table_and_figure_of_capacity(tmp_path, capsys):
    analysis = ["analysis=capacity", "analysis.patterns_per_episode=[2,3]"]
    assert main(["analyse", "configs/debug.yaml", f"output={tmp_path}", "memory=hopfield", *analysis]) == 0
    assert "More patterns than trained on" in capsys.readouterr().out
    folder = tmp_path / "analysis-debug-capacity"
    rows = rows_of(folder / "table.csv")
    assert [(row["memory"], row["trained on"], row["stored"]) for row in rows] == [("Hopfield", "4", n) for n in "23"]
    assert "lightning-ebm" in (folder / "table.md").read_text()
    assert (folder / "figure.png").stat().st_size > 5000 and (folder / "about.json").exists()


def test_basin_of_the_query_itself_is_half_of_what_is_redrawn():
    run = bits_run(QUERY, patterns=8, test=100)
    answer = Basin([0.25, 1.0]).result({"query": run})
    assert column(answer, "error") == pytest.approx([0.25 * 32 / 2, 16], abs=0.3)


def test_correlated_episodes_hold_few_classes_only():
    run = build(resolve({**read_file(ROOT / "configs" / "debug.yaml"), "memory": QUERY}))
    answer = Correlated([0, 1]).result({"query": run})
    assert column(answer, "patterns") == ["of all classes", "of 1 class"]
    assert column(answer, "error") == pytest.approx([128, 128], abs=6)  # noise does not care
    few = EpisodeDataset(run.data.source, run.data.distortion, 4, "test", 0, Sampling(classes=1)).batch(range(4))
    torch.testing.assert_close(next(iter(loader(run, 4, classes=1))), few)
    with pytest.raises(ValueError, match="classes"):
        Correlated([1]).result({"query": bits_run(QUERY)})


def test_robustness_tests_with_what_is_asked_for():
    run = bits_run(QUERY, patterns=8, test=100)
    kinds = [chosen(distortions, "pixels", amount=4), chosen(distortions, "half", side="left", fill=0)]
    answer = Robustness(kinds).result({"query": run})
    assert column(answer, "error") == pytest.approx([2, 8], abs=0.2)
    assert column(answer, "tested with") == [str(kind) for kind in kinds]
    assert column(answer, "query") == column(answer, "error")
    assert len(Robustness([]).result({"query": run}).rows) == 7


def test_robustness_varies_one_setting_at_a_time():
    """Hebb's rule does not mind portions; what is not written is not recalled; known values stay."""
    compare = {"patterns_per_episode": [8, 2], "precisions": ["float32", "int4"], "mask": "both"}
    run = bits_run("hopfield", patterns=8, compare=compare)
    answer = Robustness([chosen(distortions, "pixels", amount=8)], portions=[4, 0]).result({"Hopfield": run})
    settings = [tuple(row[2:6]) for row in answer.rows]
    first, unwritten = (8, 1, "float32", "unknown"), (8, "nothing", "float32", "unknown")
    changed = [(8, 1, "float32", "known"), (8, 1, "int4", "unknown"), (2, 1, "float32", "unknown")]
    assert settings == [first, *changed, (8, 4, "float32", "unknown"), unwritten]
    error = dict(zip(settings, column(answer, "error"), strict=True))
    expected = measure(run.memory, loader(run), run.data.source.spec)
    assert error[first] == pytest.approx(np.mean(expected.error))
    assert error[8, 4, "float32", "unknown"] == pytest.approx(error[first])
    assert error[2, 1, "float32", "unknown"] < error[first] < error[unwritten]
    assert error[8, 1, "float32", "known"] < error[first]
    assert "mask is unknown" not in answer.caption


def test_robustness_to_portions_that_cannot_be_written_is_refused():
    at_once = {"at once": bits_run({"name": "hopfield", "rule": "pseudo_inverse"})}
    with pytest.raises(ValueError, match="none of these memories can add to a state"):
        Robustness([], portions=[2]).result(at_once)
    found = Robustness([], portions=[2]).result(at_once | {"Hebb": bits_run("hopfield")})
    assert set(column(found, "memory")) == {"Hebb"}
    with pytest.raises(ValueError, match=r"analysis\.portions must be at most 4, the patterns stored, got \[5\]"):
        Robustness([], portions=[5]).result(at_once)


def test_transfer_tests_on_other_data_beside_its_own():
    run = bits_run("hopfield")
    answer = Transfer([chosen(datasets, "bits", size=32)]).result({"Hopfield": run})
    own, own_unwritten, *_ = column(answer, "error")
    assert own == pytest.approx(np.mean(measure(run.memory, loader(run, 4), run.data.source.spec).error_corrupted))
    assert own_unwritten > own
    with pytest.raises(ValueError, match=r"analysis\.data: bits has patterns of"):
        Transfer([chosen(datasets, "bits", size=16)]).result({"Hopfield": run})
    with pytest.raises(ValueError, match=r"analysis\.data must name at least one data set"):
        Transfer().result({"Hopfield": run})


def test_transfer_tells_data_sets_of_one_name_apart():
    kinds = [chosen(datasets, "key_value", code_dim=16, vocabulary=tokens) for tokens in (32, 64)]
    answer = Transfer([*kinds, chosen(datasets, "bits", size=32)]).result({"Hopfield": bits_run("hopfield")})
    tested = [f"key_value (vocabulary {tokens}, code random, code_dim 16)" for tokens in (32, 64)]
    assert list(dict.fromkeys(column(answer, "tested on"))) == ["bits", *tested]


def test_hebbs_rule_does_not_mind_portions():
    answer = IncrementalWriting([1, 2, 4]).result({"Hopfield": bits_run("hopfield", patterns=8)})
    everything = [row[3] for row in answer.rows if row[2] == "all"]
    assert everything[0] > 0
    assert everything == pytest.approx([everything[0]] * 3)
    with pytest.raises(ValueError, match="none of these memories can add to a state"):
        IncrementalWriting([2]).result({"a": bits_run({"name": "hopfield", "rule": "pseudo_inverse"})})
    with pytest.raises(ValueError, match=r"analysis\.portions must be at most 4, the patterns stored, got \[8\]"):
        IncrementalWriting([8]).result({"Hopfield": bits_run("hopfield")})


def test_repeated_patterns_crowd_out_the_others_of_hebbs_rule():
    run = bits_run("hopfield", patterns=8, test=40)
    answer = Repetition([1, 4], 0.25).result({"Hopfield": run})
    error = {(row[1], row[2]): row[3] for row in answer.rows}
    assert error[4, "repeated"] < error[1, "repeated"]
    assert error[4, "once"] > error[1, "once"]
    with pytest.raises(ValueError, match=r"analysis\.share=0\.9 leaves none of 4 patterns that is stored once"):
        Repetition([1], 0.9).result({"Hopfield": bits_run("hopfield")})


def test_a_fixed_point_is_read_again_without_a_change():
    answer = Steps(3, [2]).result({"Hopfield": bits_run("hopfield", patterns=8)})
    assert column(answer, "kind of step") == ["read"] * 3
    errors = column(answer, "error")
    assert errors == [errors[0]] * 3


@pytest.mark.parametrize("per_step", [False, True])
def test_other_numbers_of_write_steps(per_step):
    run = bits_run({**MIXTURE, "writing": {"steps": 3, "write_rate": 0.3, "per_step": per_step}})
    patterns = torch.rand(2, 4, 32).round()
    rates = run.memory.writing.rates()
    torch.testing.assert_close(with_write_steps(run.memory, 5).writing.rates(), rates[[0, 1, 2, 2, 2]])
    same, original = (memory.write(patterns) for memory in (with_write_steps(run.memory, 3), run.memory))
    torch.testing.assert_close(same, original)
    assert not torch.equal(with_write_steps(run.memory, 1).write(patterns)["memory.weight"], original["memory.weight"])
    assert run.memory.writing.steps == 3
    assert [row[2] for row in Steps(1, [1, 4]).result({"m": run}).rows if row[1] == "write"] == [1, 4]


def test_auroc_is_the_share_of_pairs_in_order():
    random = np.random.default_rng(0)
    stored, others = random.integers(0, 5, 30).astype(float), random.integers(1, 7, 20).astype(float)
    pairs = [(s < o) + 0.5 * (s == o) for s in stored for o in others]
    assert auroc(stored, others) == pytest.approx(np.mean(pairs))


def test_stored_patterns_of_hebbs_rule_have_less_energy():
    answer = Energies().result({"Hopfield": bits_run("hopfield")})
    scores = dict(zip(column(answer, "patterns"), column(answer, "AUROC against stored"), strict=True))
    assert scores["stored"] == 0.5
    assert scores["unseen"] > 0.95 and scores["foreign"] > 0.95 and scores["corrupted"] > 0.8
    with pytest.raises(ValueError, match="none of these memories has an energy"):
        Energies().result({"query": bits_run(QUERY)})
    with pytest.warns(UserWarning, match="^query is skipped: not every memory has an energy$"):
        both = Energies().result({"Hopfield": bits_run("hopfield"), "query": bits_run(QUERY)})
    assert set(column(both, both.columns[0])) == {"Hopfield"}


def test_the_read_path_begins_at_the_query_and_ends_at_the_answer():
    run = bits_run("hopfield", episodes={"patterns_per_episode": 4, "test": 9})  # the second batch is of one episode
    answer = ReadTrajectory().result({"Hopfield": run, "query": bits_run(QUERY)})
    start, end, *others = answer.rows
    spec, episodes = run.data.source.spec, loader(run, 4)
    assert end[2] == pytest.approx(np.mean(measure(run.memory, episodes, spec).error_corrupted))
    assert start[2] > end[2] and start[3] > end[3]  # error and energy fall
    assert all(np.isnan(row[3]) for row in others)  # the query itself has no energy


def test_the_error_of_noise_is_where_the_noise_is():
    run = build(resolve({**read_file(ROOT / "configs" / "debug.yaml"), "memory": QUERY}))
    (row,) = ErrorMap().result({"query": run}).rows
    assert row[1] == pytest.approx(0.5, abs=0.03)  # random bits on binary pixels
    assert row[2:] == [0, 0]
    with pytest.raises(ValueError, match="needs images"):
        ErrorMap().result({"query": bits_run(QUERY)})


def test_writing_digs_a_minimum_at_the_pattern():
    answer = Landscape(0, 21).result({"Hopfield": bits_run("hopfield", patterns=2)})
    before, after = answer.rows
    assert before[4] == 0  # without weights there is no energy
    assert after[4] < -1
    assert abs(after[2]) < 0.7 and abs(after[3]) < 0.7
    assert len(answer.figure.axes) == 4  # two planes, two scales


def test_patterns_of_two_kinds_have_no_common_unit(tmp_path):
    bits, glyphs = {"data": {"name": "bits", "size": "32"}, "distortion": {"name": "pixels", "amount": "8"}}, {}
    task = {"output": str(tmp_path), "memory": "hopfield", "compare": {"vary": {"data": {"a": bits, "b": glyphs}}}}
    with pytest.raises(ConfigError, match=r"^compare\.vary: the patterns of an analysis must be of one shape and kind"):
        analyse(task, {"analysis": "basin"})
    assert not list(tmp_path.iterdir())


def test_rates_count_bits_and_their_bound_is_shannons():
    run = bits_run(MIXTURE)
    answer = Rate(["float32", "int8"]).result({"EBMM": run})
    assert column(answer, "bits per pattern") == [33 * 4 * 32 / 4, (33 * 4 * 8 + 2 * 32) / 4]
    rates = {round(errors / 8, 2): bits for bits, errors, *_ in bound(run)}  # 8 bits are corrupted
    assert rates[0.00] > 0.98 * 8
    entropy = -0.45 * np.log2(0.45) - 0.55 * np.log2(0.55)
    assert rates[0.45] == pytest.approx(8 * (1 - entropy))


def test_the_bound_of_rates_counts_the_corrupted_bits_of_every_episode_once():
    run = bits_run(
        "hopfield",
        distortion={"name": "pixels", "amount": [1, 32]},
        episodes={"patterns_per_episode": 4, "test": 9},  # the second batch is of one episode
    )
    counts = torch.cat([batch.mask.sum((2, 1)) / 4 for batch in loader(run, 4)])
    assert bound(run)[-1][1] == pytest.approx(0.45 * counts.mean().item())


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("basin", {"shares": [0.0]}, "shares must be above 0 and at most 1"),
        ("capacity", {"patterns_per_episode": []}, "patterns_per_episode must have at least 1 entries"),
        ("repetition", {"share": 1.0}, "share must be above 0 and below 1"),
        ("steps", {"readings": 0}, "readings must be at least 1"),
        ("rate", {"precisions": ["int2"]}, "precisions must be one of float32"),
    ],
)
def test_settings_are_checked(name, settings, message):
    with pytest.raises(ValueError, match=message):
        chosen(analyses, name, **settings)


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Where the memory that is analysed is trained once."""
    return tmp_path_factory.mktemp("runs")


WITH_ONE_MEMORY = sorted({*analyses.names()} - {"transfer", "capacity"})


@pytest.mark.parametrize("name", fast(["rate", "steps"], WITH_ONE_MEMORY))
def test_every_analysis_runs_from_the_command_line(name, output):
    words = ["configs/debug.yaml", f"output={output}", "memory=EBMM", f"analysis={name}"]
    assert main(["analyse", *words]) == 0
    folder = output / f"analysis-debug-{name}"
    assert rows_of(folder / "table.csv")
    assert (folder / "figure.png").stat().st_size > 5000
