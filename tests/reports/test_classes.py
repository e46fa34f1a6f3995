"""What the report says of the classes is what confusion.csv says, whatever their number and their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from evo.confusion import Confusion
from evo.evaluation import CurvePoint, Evaluation
from evo.individual import Individual
from evo.record.run import Run
from evo.reports.classes import Classes, classes_of, matrix_figure, sentence
from evo.reports.html import write_report
from evo.reports.search_data import SearchData
from evo.reports.style import BLUE, ORANGE, save_figure, styled
from evo.reports.training import write_training_page
from tests.images import FACTS
from tests.reports.test_html import table
from tests.reports.test_training import listed_run

ANIMALS = ["cat", "dog", "frog"]
FIRST: Confusion = ((0, 0, 8), (0, 1, 2), (1, 0, 3), (1, 1, 7), (2, 2, 5))
SECOND: Confusion = ((0, 0, 9), (0, 2, 1), (1, 0, 4), (1, 1, 6), (2, 2, 5))


def measured_run(output: Path, names: list[str], *counts: Confusion, **settings: Any) -> Run:
    """Return a search of one genome that was tested with these counts, one per training."""
    run = listed_run(output, dataset={**FACTS, "classes": names}, strategy="ga", population=4, finalists=1, **settings)
    run.record(Evaluation(0, 0, 1, "complete", 0.5, validation_accuracy=0.5, curve=(CurvePoint(10, {"loss": 1.0}),)))
    run.record_generation(0, [0])
    run.record_finalists([0])
    for place in range(len(counts)):
        run.record(Evaluation(0, 101 + place, 1, "complete", 0.5, validation_accuracy=0.5, phase="finalist"))
    run.record_winner(0)
    for place, counted in enumerate(counts):
        test = Evaluation(0, 101 + place, 1, "complete", test_accuracy=0.5, phase="finalist", confusion=counted)
        run.record_test(test)
    run.write_tables()
    run.close()
    return run


def classes(run: Run) -> Classes:
    found = classes_of(SearchData(run.name, run), 0)
    assert found is not None
    return found


@pytest.fixture
def animals(tmp_path: Path) -> Run:
    return measured_run(tmp_path / "run", ANIMALS, FIRST, SECOND)


def many(count: int) -> Confusion:
    wrong = ((label, (label + 1) % count, 1 + label) for label in range(count))
    return tuple(sorted([*((label, label, 2 * count) for label in range(count)), *wrong]))


def test_the_trainings_of_the_winner_are_added_up(animals: Run) -> None:
    found = classes(animals)
    assert (found.part, found.names, found.trainings) == ("test", ANIMALS, 2)
    np.testing.assert_allclose(found.shares, [[17 / 20, 2 / 20, 1 / 20], [7 / 20, 13 / 20, 0], [0, 0, 1]])
    expected = [("dog", 10, 13 / 20, "cat", 7 / 20), ("cat", 10, 17 / 20, "dog", 2 / 20), ("frog", 5, 1.0, None, None)]
    rows = found.accuracy.astype(object).where(found.accuracy.notna(), None)
    assert list(rows.itertuples(index=False, name=None)) == expected, "the worst class comes first"
    pairs = [("dog", "cat", 7, 7 / 20), ("cat", "dog", 2, 2 / 20), ("cat", "frog", 1, 1 / 20)]
    assert list(found.confused.itertuples(index=False, name=None)) == pairs


def test_the_sentence_says_what_is_confused_most(animals: Run) -> None:
    assert sentence(classes(animals)) == (
        "On the test set, over 2 trainings: from 65.0 % of the images of “dog” to 100.0 % of the images of “frog” are "
        "classified correctly. Of 50 answers 10 are wrong. Most often it takes “dog” for “cat” (35.0 % of its images), "
        "“cat” for “dog” (10.0 % of its images) and “cat” for “frog” (5.0 % of its images)."
    )


def test_where_nothing_is_wrong_it_says_so(tmp_path: Path) -> None:
    found = classes(measured_run(tmp_path / "run", ANIMALS, ((0, 0, 3), (2, 2, 1))))
    assert sentence(found).endswith("No image is misclassified.")
    assert list(found.accuracy["class"]) == ["cat", "frog"], "a class without images has no accuracy"
    assert matrix_figure(found) is not None


def test_numbers_in_the_page_come_from_the_csv_file(animals: Run, tmp_path: Path) -> None:
    page = write_report([animals], tmp_path / "page").read_text()
    file = pd.read_csv(animals.folder / "confusion.csv")
    assert sentence(classes(animals)) in page
    for row in table(page, "Accuracy of each class"):
        own = file[file["class"] == row["class"]]
        right = own.loc[own["predicted"] == row["class"], "images"].sum()
        assert float(row["accuracy"]) == pytest.approx(right / own["images"].sum(), abs=1e-4)
        assert int(row["images"]) == own["images"].sum() / 2
    assert (tmp_path / "page" / "figures" / "confusion.svg").exists()


def matrix(figure: Figure | None) -> QuadMesh:
    assert figure is not None
    [mesh] = [part for part in figure.axes[0].collections if isinstance(part, QuadMesh)]
    return mesh


def test_right_is_blue_and_wrong_is_orange_the_stronger_the_more(animals: Run) -> None:
    figure = styled(matrix_figure)(classes(animals))
    assert figure is not None
    colours = np.asarray(matrix(figure).get_array()).reshape(3, 3, 4)
    for row in range(3):
        for column in range(3):
            share = classes(animals).shares[row, column]
            assert (colours[row, column, 3] > 0) == (share > 0)
            if share:
                assert tuple(colours[row, column, :3]) == pytest.approx(to_rgb(BLUE if row == column else ORANGE))
    assert colours[2, 2, 3] > colours[0, 0, 3] > colours[1, 1, 3]
    assert colours[1, 0, 3] > colours[0, 1, 3] > colours[0, 2, 3]
    [axes] = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ANIMALS
    assert sorted(text.get_text() for text in axes.texts) == sorted(["85", "10", "5.0", "35", "65", "100"])
    assert axes.yaxis_inverted(), "the first class is at the top"


@pytest.mark.parametrize("count", [2, 10, 15, 16, 100, 101])
def test_any_number_of_classes_can_be_shown(count: int, tmp_path: Path) -> None:
    run = measured_run(tmp_path / "run", [f"class ${number}$" for number in range(count)], many(count))
    page = write_report([run], tmp_path).read_text()
    assert len(table(page, "Accuracy of each class")) == count
    figure = styled(matrix_figure)(classes(run))
    assert (figure is None) == (count > 100), "more cannot be read"
    if figure is not None:
        assert bool(figure.axes[0].texts) == (count <= 15)
        save_figure(figure, tmp_path / "figure")
    if count > 15:
        pairs = table(page, "Classes that are confused most")
        assert [row["class"] for row in pairs] == [f"class ${number}$" for number in range(count - 1, -1, -1)][:20]


def test_long_names_are_cut_in_the_figure_and_whole_in_the_table(tmp_path: Path) -> None:
    names = [f"{'a long name ' * 5}{number}" for number in range(3)]
    run = measured_run(tmp_path / "run", names, FIRST)
    page = write_report([run], tmp_path).read_text()
    assert {row["class"] for row in table(page, "Accuracy of each class")} == set(names)
    figure = matrix_figure(classes(run))
    assert figure is not None
    assert max(len(text.get_text()) for text in figure.axes[0].get_xticklabels()) <= 22


def test_an_output_that_is_no_class_has_a_column(tmp_path: Path) -> None:
    run = measured_run(tmp_path / "run", ANIMALS, (*FIRST[:-1], (2, 5, 1)))
    found = classes(run)
    assert found.shares.shape == (3, 4)
    assert found.confused["predicted"].tolist()[-1] == "output 5"
    figure = matrix_figure(found)
    assert figure is not None
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == [*ANIMALS, "output 5"]


def test_where_nothing_was_counted_the_page_says_why(tmp_path: Path) -> None:
    run = measured_run(tmp_path / "run", ANIMALS)
    page = write_report([run], tmp_path).read_text()
    assert "Which classes are confused is not known: it is counted when finalists are tested" in page
    assert not (tmp_path / "figures" / "confusion.svg").exists()


def test_the_page_of_trainings_shows_them_too(tmp_path: Path) -> None:
    run = listed_run(tmp_path / "run", dataset={**FACTS, "classes": ANIMALS}, seeds=2)
    for replicate, counts in enumerate((FIRST, SECOND)):
        run.record(Evaluation(0, replicate, 1, "complete", 0.5, confusion=counts))
    run.close()
    page = write_training_page(run, tmp_path).read_text()
    assert "On the validation set, over 2 trainings: from 65.0 %" in page
    assert (tmp_path / "figures" / "confusion.png").exists()
    assert [row["class"] for row in table(page, "Accuracy of each class")] == ["dog", "cat", "frog"]


def test_of_several_networks_each_has_its_own_matrix(tmp_path: Path) -> None:
    other = {"hidden_layers": (4,), "learning_rate": 1e-3, "batch_size": 64, "steps": 30}
    genomes = (dict(listed_run().individuals[0].genome), other)
    run = listed_run(tmp_path / "run", genomes, dataset={**FACTS, "classes": ANIMALS})
    for number in range(2):
        run.record(Evaluation(number, 0, 1, "complete", 0.5, confusion=FIRST))
    run.close()
    write_training_page(run, tmp_path)
    assert {path.name for path in (tmp_path / "figures").glob("confusion*.svg")} == {
        "confusion-0.svg",
        "confusion-1.svg",
    }


def test_individuals_other_than_the_winner_do_not_count(tmp_path: Path) -> None:
    run = listed_run(None, (dict(listed_run().individuals[0].genome),), dataset={**FACTS, "classes": ANIMALS})
    run.record(Evaluation(0, 0, 1, "complete", 0.5, confusion=FIRST))
    run.record_proposal(Individual(1, run.individuals[0].genome, operator="listed"))
    assert classes_of(SearchData("run", run), 1) is None
