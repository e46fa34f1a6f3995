from __future__ import annotations

import re
from pathlib import Path

import pytest

import evo
from evo.reports.figures import figures_of
from evo.reports.html import write_report
from evo.run import Run


@pytest.fixture(scope="module")
def run(uninterrupted: Path) -> Run:
    return evo.load(uninterrupted)


def objective_run(output: Path, text: str = "plain") -> Run:
    space = evo.SearchSpace(
        {
            "word": evo.Categorical([text, "other"]),
            "use": evo.Boolean(),
            "rate": evo.Float(1e-3, 1.0, log=True, when={"use": True}),
        }
    )
    return evo.search(space, objective=lambda config: config.get("rate", 0.0), budget=12, population=4, output=output)


def test_the_report_asks_for_nothing_outside_its_file(run: Run, tmp_path: Path) -> None:
    page = write_report([run], tmp_path).read_text()
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert "<script" not in page
    assert "default-src 'none'" in page


def test_the_report_shows_every_individual_and_the_winner(run: Run, tmp_path: Path) -> None:
    page = write_report([run], tmp_path).read_text()
    evaluations = page.split("<h3>All evaluations</h3>")[1]
    assert evaluations.count("<tr>") == 1 + len(run.table)
    for layers in run.table["hidden_layers"]:
        assert f"<td>{layers}</td>" in evaluations
    best = evo.load(run.path or "").best
    assert f'<td class="number">{best.id}</td>' in page.split("<figure>")[0]


def test_figures_come_as_png_and_svg(run: Run, tmp_path: Path) -> None:
    write_report([run], tmp_path)
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {f"{name}.{kind}" for name in ("progress", "genes", "curves") for kind in ("png", "svg")}


def test_every_axis_says_what_it_shows(run: Run) -> None:
    for figure in figures_of([run]).values():
        shown = [axes for axes in figure.axes if axes.axison]
        assert all(axes.get_xlabel() for axes in shown)
        assert shown[0].get_ylabel()


def test_the_line_of_the_best_so_far_is_the_running_maximum(run: Run) -> None:
    line = figures_of([run])["progress"].axes[0].lines[0]
    assert list(line.get_ydata()) == list(run.table["fitness"].astype(float).cummax())


def test_several_runs_have_their_own_figures_and_one_legend(run: Run, tmp_path: Path) -> None:
    other = objective_run(tmp_path / "other")
    figures = figures_of([run, other])
    assert {"progress", "genes-1", "genes-2", "curves-1"} == set(figures)
    legend = figures["progress"].axes[0].get_legend()
    assert legend is not None
    assert len(legend.get_texts()) == 2


def test_markup_in_a_run_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    page = write_report([objective_run(tmp_path / "run", hostile)], tmp_path).read_text()
    assert hostile not in page
    assert "&lt;script&gt;" in page


def test_a_run_whose_every_training_failed_still_has_a_report(tmp_path: Path) -> None:
    space = evo.SearchSpace({"x": evo.Float(0, 1)})

    def objective(config: dict[str, float]) -> float:
        raise ValueError("no")

    with pytest.raises(evo.SearchError):
        evo.search(space, objective=objective, budget=5, output=tmp_path / "run")
    page = write_report([evo.load(tmp_path / "run")], tmp_path).read_text()
    assert "ValueError: no" in page
