"""In a notebook a run shows itself as a table and gives its figures, and changes nothing of the notebook's."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser

import pytest

import evo
from evo.record.run import Run
from tests.command import environment


class Cells(HTMLParser):
    """Collects the texts of a table's cells, and the tags."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attributes: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if self.tags and data.strip():
            self.texts.setdefault(self.tags[-1], []).append(data.strip())


def search(name: str = "hostile <script>alert(1)</script>") -> Run:
    space = evo.SearchSpace({"x": evo.Float(0.0, 1.0), "kind": evo.Categorical(["<img src=x>", "plain"])}, name=name)
    return evo.search(space, lambda config, seed: config["x"], budget=12, population=4, strategy="ga", finalists=1)


def test_a_run_shows_its_hall_of_fame_under_a_caption() -> None:
    run = search()
    parser = Cells()
    parser.feed(run._repr_html_())
    assert parser.tags[:2] == ["table", "caption"]
    assert "script" not in parser.tags
    assert "img" not in parser.tags
    [caption] = parser.texts["caption"]
    assert caption.startswith("hostile <script>alert(1)</script>, best genomes: ga, 12 evaluations")
    assert f"winner: individual {run.winner}" in caption
    columns = list(run.hall_of_fame.columns)
    assert parser.texts["th"] == columns
    assert parser.texts["td"][columns.index("individual")] == str(run.hall_of_fame["individual"][0])


def test_a_run_without_any_result_shows_an_empty_table() -> None:
    space = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})
    run = evo.search(space, lambda config: float("nan"), budget=2, population=2, strategy="random")
    assert "2 evaluations, 2 failed, no winner named" in run._repr_html_()


def test_figures_come_by_name_and_the_notebooks_backend_stays() -> None:
    program = (
        "import matplotlib; matplotlib.use('svg')\n"
        "import evo\n"
        "space = evo.SearchSpace({'x': evo.Float(0.0, 1.0)}, name='line')\n"
        "run = evo.search(space, lambda config: config['x'], budget=8, population=4, strategy='ga')\n"
        "figures = run.plot()\n"
        "assert all(isinstance(figure, matplotlib.figure.Figure) for figure in figures.values()), figures\n"
        "print(matplotlib.get_backend(), *figures)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), check=False
    )
    assert finished.returncode == 0, finished.stderr
    backend, *names = finished.stdout.split()
    assert backend == "svg"
    assert {"progress", "genes"} <= set(names)


@pytest.mark.parametrize("name", ["progress", "genes"])
def test_a_figure_can_be_changed_before_it_is_saved(name: str) -> None:
    figure = search("plain").plot()[name]
    figure.axes[0].set_title("mine")
    assert figure.axes[0].get_title() == "mine"
