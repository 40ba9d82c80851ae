import dataclasses

import pytest

from lightning_ebm.cli import console, main
from lightning_ebm.reporting.report import read_findings, write_index, write_report
from lightning_ebm.reporting.table import Table
from tests.experiments import fakes
from tests.reporting.test_report import Page
from tests.test_cli import DEBUG

pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # a memory diverged


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """What a tiny analysis left beside other things."""
    output = tmp_path_factory.mktemp("output")
    assert main(["analyse", DEBUG, f"output={output}", "analysis=read_trajectory", "memory=EBMM"]) == 0
    for other in ("analysis-debug-large-path", "analysis-debug-unknown", "analysis-other-path", "analysis-debug-basin"):
        (output / other).mkdir()
    return read_findings(output, "debug")


def test_the_analyses_of_one_config_are_found(findings):
    (finding,) = findings
    assert finding.folder.name == "analysis-debug-read_trajectory" and finding.table.title == "Along the read path"
    assert [column.head for column in finding.table.columns[:2]] == ["memory", "step"]
    assert [cell.text for cell in finding.table.rows[0].cells[:2]] == ["EBMM", "query"]
    assert finding.command.startswith("lightning-ebm") and "#ffffff" in finding.figure


def test_a_damaged_analysis_is_named_and_left_out(tmp_path):
    for name, content in (("read_trajectory", '{"title": '), ("basin", '{"title": "a"}')):
        (tmp_path / f"analysis-debug-{name}").mkdir()
        (tmp_path / f"analysis-debug-{name}" / "about.json").write_text(content)
    cut = tmp_path / "analysis-debug-capacity"  # a kill came while its table was written again
    cut.mkdir()
    (cut / "about.json").write_text('{"title": "a", "caption": "b", "command": "c", "light": ""}')
    (cut / "table.csv").write_text("memory,stored,error\nEBMM,4")
    with pytest.warns(UserWarning, match=r"analysis-debug-read_trajectory cannot be read") as warned:
        assert read_findings(tmp_path, "debug") == []
    assert len(warned) == 3


def test_they_are_sections_of_the_report(findings, tmp_path):
    html = write_report(fakes.comparison(fakes.sizes()), tmp_path, findings).read_text(encoding="utf-8")
    page = Page(html)
    assert "Along the read path" in page.texts["h2"]
    head, first, *_ = page.tables[1]
    assert [text for _, text in head] == [column.head for column in findings[0].table.columns]
    assert [value for value, _ in first][:2] == ["EBMM", "query"]
    assert float(str(first[2][0])) == findings[0].table.rows[0].cells[2].value
    assert "analysis-debug-read_trajectory/table.csv" in html and html.count("Enlarge figure") == 2


def test_several_variations_have_a_page_that_lists_them(findings, tmp_path):
    comparison = dataclasses.replace(fakes.comparison(fakes.sizes()), failed={"Storkey": "no"})
    report = write_report(comparison, tmp_path / "a-b", others="../index.html")
    page = Page(write_index({"a <b>": comparison}, ["c"], tmp_path, findings).read_text(encoding="utf-8"))
    links = [str(link["href"]) for link in page.all("a")]
    assert "a-b/report.html" in links and (tmp_path / "a-b/report.html").exists()
    assert page.texts["a"].startswith("Reports") and "a <b>" in page.texts["a"] and "c" in page.texts["dt"]
    assert "Nothing was finished." in page.texts["dd"] and "Not finished: Storkey." in page.texts["dd"]
    assert "Along the read path" in page.texts["h2"]
    back = [str(link["href"]) for link in Page(report.read_text(encoding="utf-8")).all("a")]
    assert back[0] == "../index.html"


def test_compare_with_variations_writes_all_pages_before_it_prints(tmp_path, capsys, monkeypatch):
    vary = "compare.vary={task: {plain: {}, half: {distortion: half}}}"

    def closed(*objects, **_):
        if any(isinstance(one, Table) for one in objects):
            raise OSError("the terminal is closed")

    monkeypatch.setattr(console, "print", closed)
    assert main(["compare", DEBUG, f"output={tmp_path}", "memory=Hopfield", vary]) == 1
    assert (tmp_path / "compare-debug/plain/report.html").exists() and (tmp_path / "compare-debug/cells.csv").exists()
    monkeypatch.undo()
    assert main(["compare", DEBUG, f"output={tmp_path}", "memory=Hopfield", vary]) == 0
    assert "compare-debug/index.html" in capsys.readouterr().out.replace("\n", "")
    links = [str(link["href"]) for link in Page((tmp_path / "compare-debug/index.html").read_text()).all("a")]
    assert {"plain/report.html", "half/report.html"} <= set(links)
    assert all((tmp_path / "compare-debug" / link).exists() for link in links if not link.startswith("#"))


@pytest.mark.slow
def test_an_analysis_tells_variations_and_seeds_apart(tmp_path, capsys):
    """One memory, two tasks, two seeds: four lines, none in the place of another."""
    vary = "compare.vary={task: {plain: {}, half: {distortion: half}}}"
    options = [f"output={tmp_path}", "memory=Hopfield", vary, "compare.seeds=[0,1]", "analysis=read_trajectory"]
    assert main(["analyse", DEBUG, *options]) == 0
    (table,) = tmp_path.glob("analysis-*/table.csv")
    first = {line.split('"')[1] for line in table.read_text(encoding="utf-8").splitlines()[1:]}
    (row,) = {name.split(", plain")[0] for name in first if ", plain" in name}
    assert first == {f"{row}, {task}, seed {seed}" for task in ("plain", "half") for seed in (0, 1)}
