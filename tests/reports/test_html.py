from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

import evo
from evo.errors import StorageError
from evo.evaluation import Evaluation
from evo.individual import Individual
from evo.record.run import Run
from evo.reports import html
from evo.reports.figures import PLOTS, figures_of
from evo.reports.html import write_report
from evo.reports.page import table_of
from evo.reports.progress_figures import curves_figure
from evo.reports.search_data import SearchData
from tests.reports.runs import line_of, written_by_hand

pytestmark = pytest.mark.usefixtures("quick_models")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SECTIONS = [
    "Summary",
    "Progress",
    "Genes",
    "Importance of the genes",
    "Best genomes",
    "Training recipe",
    "Classes",
    "Where the winner comes from",
    "Operators",
    "Cost and failures",
    "Workers",
    "All evaluations",
]
OF_TRAININGS = ("Training recipe", "Classes")
"""Sections that a search of an objective does not have."""


@pytest.fixture(scope="module")
def run(uninterrupted: Path) -> Run:
    return evo.load(uninterrupted)


@pytest.fixture(scope="module")
def report(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([run], tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(report: Path) -> str:
    return report.read_text()


@pytest.fixture(scope="module")
def figures(run: Run) -> dict[str, Figure]:
    return figures_of(run)


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the figures, which take most of the time."""
    monkeypatch.setattr(html, "figures_of_search", lambda data: iter(()))


def objective_run(output: Path, text: str = "plain", budget: int = 12) -> Run:
    space = evo.SearchSpace(
        {
            "word": evo.Categorical([text, "other"]),
            "use": evo.Boolean(),
            "rate": evo.Float(1e-3, 1.0, log=True, when={"use": True}),
        }
    )
    return evo.search(
        space, objective=lambda config: config.get("rate", 0.0), budget=budget, population=4, output=output
    )


class Tables(HTMLParser):
    """Reads the tables of a page by their labels, and the ids and links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.ids: list[str] = []
        self.links: list[str] = []
        self._label, self._cell = "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag == "a":
            self.links.append(str(found["href"]))
        if found.get("role") == "region":
            self._label = str(found["aria-label"])
        if tag == "table":
            self.tables[self._label] = []
        if tag == "tr":
            self.tables[self._label].append([])
        self._cell = tag in ("td", "th")
        if self._cell:
            self.tables[self._label][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.tables[self._label][-1][-1] += data


def table(page: str, label: str) -> list[dict[str, str]]:
    heading, *rows = Tables(page).tables[label]
    return [dict(zip(heading, row, strict=True)) for row in rows]


def test_the_page_asks_for_nothing_outside_its_file(page: str) -> None:
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "default-src 'none'" in page
    assert "unsafe" not in page
    assert "@import" not in page
    assert "url(" not in page


def test_the_browser_obeys_the_one_script_and_the_one_style_of_the_page_alone(page: str) -> None:
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        [text] = re.findall(f"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy.replace("&#39;", "'")
    assert not re.search(r"<[^>]+ (?:style|on\w+)=", page)


def test_there_is_every_section_and_a_link_to_each(page: str) -> None:
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", page) == SECTIONS
    found = Tables(page)
    assert found.links == [f"#{name}" for name in found.ids]
    assert len(set(found.ids)) == len(found.ids)


def test_every_figure_has_a_section_to_stand_in() -> None:
    assert {plot.heading for plot in PLOTS.values()} <= {*SECTIONS, "Pareto front"}


def test_every_individual_is_shown_as_the_csv_file_has_it(run: Run, page: str) -> None:
    assert run.path is not None
    rows = pd.read_csv(run.path / "evaluations.csv")
    shown = table(page, "All evaluations")
    assert [row["individual"] for row in shown] == [str(number) for number in rows["individual"]]
    assert [row["hidden_layers"] for row in shown] == [str(text) for text in rows["hidden_layers"]]
    assert [float(row["fitness"]) for row in shown] == pytest.approx(list(rows["fitness"]), rel=1e-3)


def test_the_summary_has_the_winners_numbers_from_the_csv_files(run: Run, page: str) -> None:
    assert run.path is not None
    finalists = pd.read_csv(run.path / "finalists.csv")
    winner = finalists[finalists["winner"]]
    cards = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)<", page.split('class="cards"')[1].split("</dl>")[0]))
    assert cards["best genome"] == f"#{winner['individual'].iloc[0]}"
    assert float(cards["on new seeds"]) == pytest.approx(winner["fitness"].mean(), abs=1e-4)
    assert float(cards["test accuracy"]) == pytest.approx(winner["test_accuracy"].mean(), abs=1e-4)
    search_rows = pd.read_csv(run.path / "evaluations.csv")
    assert int(cards["evaluations"]) == len(search_rows)
    assert float(cards["cost of the search"].split()[0]) == pytest.approx(search_rows["seconds"].sum(), abs=0.051)


def test_figures_come_as_png_and_svg_and_are_in_the_page(report: Path, page: str) -> None:
    tmp_path = report.parent
    names = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert {f"{name}.{kind}" for name in names for kind in ("png", "svg")} == {
        path.name for path in (tmp_path / "figures").iterdir()
    }
    assert {"progress", "generations", "genes", "genes-over-time", "parallel", "curves", "cost"} <= names
    assert page.count("<img ") == len(names)
    assert page.count(' alt="') == len(names)


def test_figures_have_no_background_and_text_that_is_light_in_the_dark(page: str) -> None:
    for data in re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page):
        svg = base64.b64decode(data).decode()
        assert "prefers-color-scheme:dark" in svg
        assert "fill: currentColor" in svg
        assert "fill: #fffffe" not in svg
        assert "#26262a" not in svg.split("</style>", 1)[1]


def test_the_same_run_has_the_same_report(run: Run, report: Path, tmp_path: Path) -> None:
    def without_the_minute(path: Path) -> str:  # which an unfinished run has
        return re.sub(r"[-\d]+ \d\d:\d\d UTC", "", path.read_text())

    assert without_the_minute(write_report([run], tmp_path)) == without_the_minute(report)


def test_every_axis_says_what_it_shows(figures: dict[str, Figure]) -> None:
    for name, figure in figures.items():
        shown = [axes for axes in figure.axes if axes.axison and axes.get_label() != "<colorbar>"]
        assert any(axes.get_xlabel() for axes in shown) or name == "parallel"
        assert all(axes.get_ylabel() or axes.get_title(loc="left") or name != "progress" for axes in shown)


def test_the_line_of_the_best_so_far_is_the_running_maximum(run: Run, figures: dict[str, Figure]) -> None:
    line = figures["progress"].axes[0].lines[0]
    assert run.path is not None
    rows = pd.read_csv(run.path / "evaluations.csv")
    assert list(line.get_ydata()) == list(rows.loc[rows["replicate"] == 0, "fitness"].cummax())


@pytest.mark.slow
def test_several_runs_have_figures_of_their_own(run: Run, tmp_path: Path) -> None:
    write_report([run, objective_run(tmp_path / "other")], tmp_path)
    names = {path.stem for path in (tmp_path / "figures").glob("*.svg")}
    assert {"progress", "genes-1", "genes-2", "curves-1"} <= names
    assert "curves-2" not in names


@pytest.mark.usefixtures("no_figures")
def test_several_runs_stand_side_by_side(run: Run, tmp_path: Path) -> None:
    other = objective_run(tmp_path / "other")
    page = write_report([run, other], tmp_path).read_text()
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", page) == ["Side by side", run.name, "other"]
    rows = table(page, "Runs side by side")
    assert [row["run"] for row in rows] == [run.name, "other"]
    assert [int(row["evaluations"]) for row in rows] == [len(run.table), len(other.table)]


def test_markup_in_a_run_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    hostile = "</style><script>alert(1)</script>"
    page = write_report([objective_run(tmp_path / "run", hostile)], tmp_path).read_text()
    assert hostile not in page
    assert "alert(1)" not in page.replace("&lt;/style&gt;&lt;script&gt;alert(1)", "")
    svgs = [base64.b64decode(data).decode() for data in re.findall(r"svg\+xml;base64,([^\"]+)\"", page)]
    assert svgs
    assert not any("<script" in svg for svg in svgs)


def test_a_run_whose_every_training_failed_still_has_a_report(tmp_path: Path) -> None:
    space = evo.SearchSpace({"x": evo.Float(0, 1)})

    def objective(config: dict[str, float]) -> float:
        raise ValueError("no")

    with pytest.raises(evo.SearchError):
        evo.search(space, objective=objective, budget=5, output=tmp_path / "run")
    page = write_report([evo.load(tmp_path / "run")], tmp_path).read_text()
    [row] = table(page, "Failures")
    assert row["reason"] == "ValueError: no"
    assert "No evaluation is complete yet." in page


def test_a_run_that_has_evaluated_nothing_has_a_report(tmp_path: Path) -> None:
    space = evo.SearchSpace({"x": evo.Float(0, 1), "layers": evo.Layers(depth=(1, 2), width=(4, 8))})
    run = written_by_hand([Individual(0, {"x": 0.5, "layers": (4,)})], [], space, tmp_path / "run")
    page = write_report([run], tmp_path).read_text()
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", page) == [name for name in SECTIONS if name not in OF_TRAININGS]
    assert table(page, "All evaluations") == []


@pytest.mark.parametrize("values", [(0.5,), (-1e300, 1e300, 0.0), (1e-300, 1e-300)])
def test_few_and_extreme_results_can_be_drawn(values: tuple[float, ...], tmp_path: Path) -> None:
    space = evo.SearchSpace({"x": evo.Integer(1, 9, log=True)})
    individuals = [Individual(n, {"x": n + 1}) for n in range(len(values))]
    evaluations = [Evaluation(n, 0, n, "complete", value, seconds=1.0) for n, value in enumerate(values)]
    page = write_report([written_by_hand(individuals, evaluations, space, tmp_path / "run")], tmp_path).read_text()
    assert len(table(page, "All evaluations")) == len(values)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("strategy", ["surrogate", "halving", "pareto"])
def test_races_rungs_and_fronts_are_shown(strategy: str, tmp_path: Path) -> None:
    space: Any = {"x": evo.Float(0, 1), "steps": evo.Integer(1, 9)}
    objectives = {"fitness": "maximise", "seconds": "minimise"} if strategy == "pareto" else None
    run = evo.search(
        evo.SearchSpace(space),
        objective=lambda config, seed: config["x"] * config["steps"] + seed % 7 / 100,
        strategy=strategy,
        budget=20,
        population=5,
        finalists=0,
        output=tmp_path / "run",
        objectives=objectives,
    )
    page = write_report([run], tmp_path).read_text()
    rows = table(page, "All evaluations")
    assert ("replicate" in rows[0]) == (strategy == "surrogate")
    assert ("rung" in rows[0]) == (strategy == "halving")
    assert ("Pareto front" in page) == (strategy == "pareto")
    if strategy == "pareto":
        file = pd.read_csv(tmp_path / "run" / "evaluations.csv")
        front = {
            str(mine.individual)
            for mine in file.itertuples()
            if not any(
                other.fitness >= mine.fitness
                and other.seconds <= mine.seconds
                and (other.fitness, other.seconds) != (mine.fitness, mine.seconds)
                for other in file.itertuples()
            )
        }
        assert {row["individual"] for row in table(page, "Pareto front")} == front


@pytest.mark.usefixtures("no_figures")
def test_a_long_line_is_cut_and_says_so(tmp_path: Path) -> None:
    page = write_report([line_of(90, tmp_path / "run")], tmp_path).read_text()
    rows = table(page, "Lineage of the winner")
    assert [row["individual"] for row in rows] == [str(number) for number in range(60, 90)]
    assert rows[-1]["changes"] == "x: 88 → 89"
    assert "The 60 earlier ones are not shown." in page


@pytest.mark.usefixtures("no_figures")
def test_a_page_of_very_many_evaluations_has_the_best_and_says_where_the_rest_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = line_of(90, tmp_path / "run")
    whole = write_report([run], tmp_path).read_text()
    assert len(table(whole, "All evaluations")) == 90
    monkeypatch.setattr(html, "ROWS", 40)
    page = write_report([run], tmp_path).read_text()
    shown = [float(row["fitness"]) for row in table(page, "The best evaluations")]
    best = pd.read_csv(tmp_path / "run" / "evaluations.csv")["fitness"].sort_values(ascending=False)
    assert shown == pytest.approx(list(best.head(40)), rel=1e-3)
    assert "The best 40 of 90 evaluations; all are in evaluations.csv" in page


@pytest.mark.usefixtures("no_figures")
def test_a_report_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    run = line_of(5, tmp_path / "run")
    (tmp_path / "figures").write_text("a file")
    with pytest.raises(StorageError, match=r"figures: cannot be made: File exists; it must be a folder"):
        write_report([run], tmp_path)
    assert (tmp_path / "figures").read_text() == "a file"
    assert not (tmp_path / "report.html").exists()


@pytest.mark.usefixtures("no_figures")
def test_the_comparison_of_the_runs_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    made = html.comparison_table
    monkeypatch.setattr(html, "comparison_table", lambda runs: calls.append(runs) or made(runs))
    write_report([line_of(5, tmp_path / name) for name in ("one", "two")], tmp_path)
    assert len(calls) == 1


@pytest.mark.usefixtures("no_figures")
def test_a_search_on_the_test_set_is_warned_of(tmp_path: Path) -> None:
    space = evo.SearchSpace({"x": evo.Integer(0, 9)})
    run = written_by_hand(
        [Individual(0, {"x": 1})], [Evaluation(0, 0, 0, "complete", 0.5)], space, tmp_path / "run", fitness="test"
    )
    page = write_report([run], tmp_path).read_text()
    assert 'class="warning"' in page
    assert "no longer judges them" in page
    run.settings.fitness = "validation"
    assert 'class="warning"' not in write_report([run], tmp_path).read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser_tables_have_buttons_and_commands_can_be_copied(report: Path, page: str, tmp_path: Path) -> None:
    options = ["--headless", "--no-sandbox", f"--user-data-dir={tmp_path}", "--dump-dom"]
    command = [str(CHROMIUM), *options, report.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    headings = page.count("<th scope")
    assert headings > 50
    assert shown.count('aria-sort="none"><button type="button">') == headings
    commands = page.count('class="command"')
    assert shown.count('<button type="button" aria-label="Copy the genome of #') == commands > 1


@pytest.mark.usefixtures("no_figures")
def test_what_the_page_calls_a_genome_as_json_is_json(tmp_path: Path) -> None:
    run = objective_run(tmp_path / "run")
    page = write_report([run], tmp_path).read_text()
    first = re.findall(r'class="command"[^>]*><code>(.*?)</code>', page)[0].replace("&#34;", '"')
    assert json.loads(first) == run.best.config


def test_the_curves_of_an_objective_show_what_it_reported(tmp_path: Path) -> None:
    def objective(config: dict[str, Any], seed: int, trial: evo.Trial) -> float:
        for step in range(1, 6):
            trial.report(step, 50 + step, loss=1 / step)
        return 55.0

    space = evo.SearchSpace({"x": evo.Float(0, 1)}, name="reporting")
    run = evo.search(space, objective, max_steps=5, budget=3, finalists=0, output=tmp_path / "run")
    figure = curves_figure(SearchData("run", run))
    assert figure is not None
    left, right = figure.axes
    assert (left.get_ylabel(), right.get_ylabel()) == ("fitness", "loss")
    assert [list(line.get_ydata()) for line in left.lines] == [[51, 52, 53, 54, 55]] * 3
    assert right.lines[0].get_ydata()[-1] == 0.2


def test_a_table_of_a_page_has_no_empty_columns() -> None:
    table = table_of(pd.DataFrame({"a": [1, 2], "b": [None, math.nan], "c": ["", "x"], "d": ["", ""]}), "a table")
    assert list(table.headings) == ["a", "c"]
