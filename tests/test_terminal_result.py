"""A finished run ends with its best genome, what that is worth with its interval, what it cost, and what to do next."""

from __future__ import annotations

import io
import math
import re
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import evo
from evo.cli.result import busy_seconds, mean_text, print_result, print_trainings
from evo.errors import SearchError
from evo.record.run import Run
from tests.test_run import evaluation, individual, make_settings

T_975_OF_2 = 4.302652729911275
"""Student's t with two degrees of freedom, as in any table of it."""
FITNESS, TESTS = (0.70, 0.72, 0.77), (0.61, 0.66, 0.68)


@pytest.fixture
def finished(tmp_path: Path) -> Run:
    settings = make_settings(
        objective=None, model="mlp", dataset={"image_shape": [1, 8, 8], "classes": list("ab")}, finalists=1
    )
    run = Run.create(settings, tmp_path / "a run")
    for number, fitness in enumerate((0.2, 0.9, None, None, None, 0.4)):
        run.record_proposal(individual(number, x=number / 10))
        error = "" if fitness else ("the loss was nan" if number < 4 else "no memory")
        status: dict[str, Any] = {} if fitness else {"status": "diverged" if number < 4 else "out_of_memory"}
        run.record(evaluation_of(number, fitness, error=error, started=1000.0 + number, seconds=2.0, **status))
    run.record_generation(0, range(6))
    run.record_finalists([1])
    for place, fitness in enumerate(FITNESS):
        run.record(evaluation(1, fitness, 101 + place, seconds=2.0, started=2000.0 + 10 * place, phase="finalist"))
    run.record_winner(1)
    for place, accuracy in enumerate(TESTS):
        run.record_test(evaluation(1, None, 101 + place, test_accuracy=accuracy, loss=1.0))
    run.close()
    return run


def evaluation_of(number: int, fitness: float | None, **more: Any) -> Any:
    from dataclasses import replace

    status = more.pop("status", None)
    made = evaluation(number, fitness, **more)
    return replace(made, status=status) if status else made


def printed(show: Callable[[Run, Console], None], run: Run, width: int | None) -> str:
    """Return what is printed on a terminal of so many columns; off a terminal for None."""
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=width is not None, width=width or 200, color_system=None, highlight=False
    )
    show(run, console)
    return re.sub(r"\x1b\[[\d;]*m", "", file.getvalue())


@pytest.mark.parametrize("width", [40, 60, 80, 200, None])
def test_everything_is_said_at_every_width(finished: Run, width: int | None) -> None:
    text = printed(print_result, finished, width)
    box, _, rest = text.partition("Results:")
    assert ("╭" in box) == (width is not None)
    if width is not None:
        assert max(map(len, box.splitlines())) <= width
    flat = " ".join(box.replace("│", " ").split())
    half = T_975_OF_2 * statistics.stdev(TESTS) / math.sqrt(3)
    mean = statistics.fmean(TESTS)
    for wanted in (
        "Best of 6 trainings",
        "individual 1",
        "layers 3,4",
        "validation accuracy in the search 0.9000",
        "validation accuracy on new seeds 0.7300 [",
        f"test accuracy on new seeds {mean:.4f} [{mean - half:.4f}, {mean + half:.4f}] (n = 3)",
        "95 % interval of the mean over n seeds (Student's t)",
        "trainings 6 + 3 of the finalists",
        "time of training in all 18.0 s",
        "on the clock, while training 13.0 s",  # 1000 to 1007, then three times two
        "3 of them failed",
        "2 × diverged: the loss was nan",
        "1 × out_of_memory: no memory",
    ):
        assert wanted in flat, wanted
    folder = f"'{finished.path}'"
    for command in (f"compare {folder}", f"report {folder}", f"resume {folder} --budget 12", f"replay {folder} 1"):
        assert f"  evo {command}   #" in rest


def test_a_winner_that_was_not_measured_on_the_test_set_says_why(finished: Run) -> None:
    for test in finished.tests.values():
        test |= {"test_accuracy": None, "error": "the file does not bring the network back"}
    assert "none: the file does not bring the network back" in printed(print_result, finished, 200)


def test_an_objective_has_a_fitness_and_no_test() -> None:
    space = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})
    run = evo.search(space, lambda config: config["x"] - 7, budget=5, population=5)
    text = printed(print_result, run, None)
    assert "Best of 5 evaluations" in text
    assert re.search(r"fitness in the search +-6\.", text)
    assert "accuracy" not in text
    assert "interval" not in text
    assert "Next" not in text, "there is no folder to resume"


def test_a_search_of_several_objectives_says_how_many_genomes_none_beats() -> None:
    space = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})
    objectives = {"fitness": "maximise", "seconds": "minimise"}
    run = evo.search(space, lambda config: config["x"], strategy="pareto", objectives=objectives, budget=8)
    points = list(zip(run.table["fitness"], -run.table["seconds"], strict=True))
    front = [p for p in points if not any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in points)]
    genomes = f"{len(front)} genome{'' if len(front) == 1 else 's'}"
    assert f"{genomes}, of fitness against seconds" in printed(print_result, run, None)


def test_a_run_of_failures_has_no_result() -> None:
    run = Run.create(make_settings())
    run.record_proposal(individual(0))
    run.record(evaluation(0, None, error="no memory"))
    with pytest.raises(SearchError, match="1 × failed: no memory"):
        printed(print_result, run, None)


@pytest.mark.parametrize("width", [40, 80, None])
def test_listed_networks_have_an_interval_over_their_seeds(width: int | None) -> None:
    run = Run.create(make_settings(strategy="listed", seeds=3, finalists=0))
    run.record_proposal(individual(0))
    for replicate, fitness in enumerate(FITNESS):
        run.record(evaluation(0, fitness, replicate, seconds=1.0, started=1.0 + replicate))
    text = " ".join(printed(print_trainings, run, width).replace("│", " ").split())
    half = T_975_OF_2 * statistics.stdev(FITNESS) / math.sqrt(3)
    assert f"validation accuracy 0.7300 [{0.73 - half:.4f}, {0.73 + half:.4f}] (n = 3)" in text
    assert "x=0.5 layers=3,4" in text
    assert "on the clock, while training 3.0 s" in text


def test_a_single_value_has_no_interval() -> None:
    assert mean_text([0.5], (0.0, 1.0)) == "0.5000"


def test_the_clock_counts_neither_pauses_nor_anything_twice() -> None:
    times = [(10.0, 4.0), (11.0, 1.0), (13.0, 3.0), (100.0, 2.0)]
    evaluations = [evaluation(0, 0.5, started=started, seconds=seconds) for started, seconds in reversed(times)]
    assert busy_seconds(evaluations) == pytest.approx(6.0 + 2.0)
    assert busy_seconds([]) == 0.0


def test_the_clock_counts_every_part_of_a_training_that_was_paused_and_continued() -> None:
    run = Run.create(make_settings(finalists=0))
    for until, start, seconds, before in ((10, 100.0, 3.0, 0.0), (20, 500.0, 8.0, 3.0)):
        run.record_proposal(replace(individual(0), until=until))
        result = evaluation(0, 0.5, started=start, seconds=seconds, seconds_before=before)
        run.record(result if until == 20 else replace(result, status="partial", steps_trained=until))
    assert "on the clock, while training 8.0 s" in " ".join(printed(print_result, run, None).split())


def test_the_clock_counts_only_the_last_part_of_a_training_that_was_resumed() -> None:
    resumed = evaluation(0, 0.5, started=100.0, seconds=3600.0, seconds_before=3590.0)
    beside = evaluation(1, 0.5, started=105.0, seconds=7.0)
    assert busy_seconds([resumed, beside]) == pytest.approx(12.0)


@pytest.mark.parametrize(
    ("strategy", "points"), [("surrogate", 1), ("surrogate", 3), ("surrogate", 20), ("ga", 3), ("halving", 2)]
)
def test_a_space_in_which_nothing_new_is_left_says_so_and_proposes_no_larger_budget(
    tmp_path: Path, strategy: str, points: int
) -> None:
    genes: dict[str, Any] = {"x": evo.Integer(1, points)}
    if strategy == "halving":
        genes["steps"] = evo.Integer(100, 2000, step=100)  # more values than it has rungs
    run = evo.search(
        evo.SearchSpace(genes),
        lambda config: 0.1 * config["x"],
        strategy=strategy,
        budget=20,
        finalists=0,
        output=tmp_path / "run",
    )
    text = printed(print_result, run, None)
    assert "Nothing new is left to try in the search space." in text
    assert "evo report" in text
    assert "evo resume" not in text


def test_a_space_with_points_left_can_be_resumed(tmp_path: Path) -> None:
    space = evo.SearchSpace({"x": evo.Integer(1, 21)})
    run = evo.search(space, lambda config: 0.1 * config["x"], budget=20, finalists=0, output=tmp_path / "run")
    text = printed(print_result, run, None)
    assert "Nothing new" not in text
    assert "budget=40)" in text
