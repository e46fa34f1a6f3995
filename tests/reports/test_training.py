"""The figures of trainings show the mean over the seeds and their range, with what was measured and how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

import evo
from evo.errors import RunError
from evo.evaluation import CurvePoint, Evaluation
from evo.individual import Genome, Individual
from evo.loop.listed import space_of
from evo.record.run import Run
from evo.record.settings import LISTED, Settings
from evo.reports.style import scientific
from evo.reports.training import changes_with_mode, training_figures, write_training, write_training_page
from tests.images import FACTS

NETWORK: Genome = {"hidden_layers": (16, 8), "learning_rate": 1e-3, "batch_size": 64, "steps": 30}


def listed_run(
    path: Path | None = None,
    genomes: tuple[Genome, ...] = (NETWORK,),
    *,
    training: dict[str, Any] | None = None,
    proposed: int | None = None,
    **settings: Any,
) -> Run:
    space = space_of(
        genomes, name="train", model="mlp", dataset="digits", training={"evaluate_every": 10, **(training or {})}
    )
    values: dict[str, Any] = {
        "space": space.to_dict(),
        "space_name": space.name,
        "strategy": LISTED,
        "seed": 0,
        "population": len(genomes),
        "generations": None,
        "budget": None,
        "time_budget": None,
        "finalists": 0,
        "model": "mlp",
        "dataset": FACTS,
        "initial": list(genomes),
    }
    run = Run.create(Settings(**values | settings), path)
    for number, genome in enumerate(genomes[:proposed]):
        run.record_proposal(Individual(number, genome, operator=LISTED))
    return run


def point(step: int, accuracy: float, loss: float = 1.0, **more: float) -> CurvePoint:
    values = {"train_loss": loss, "train_accuracy": accuracy, "validation_accuracy": accuracy / 2, "loss": 2 * loss}
    return CurvePoint(step, values | more)


def record(run: Run, individual: int, replicate: int, *curve: CurvePoint, status: Any = "complete") -> None:
    fitness = 0.5 if status == "complete" else None
    run.record(Evaluation(individual, replicate, 1, status, fitness, curve=curve))


def lines(axes: Axes) -> dict[str, list[float]]:
    return {str(line.get_label()): [float(value) for value in np.asarray(line.get_ydata())] for line in axes.lines}


def band(axes: Axes, place: int) -> tuple[list[float], list[float]]:
    """Return the lowest and the highest value of a band at each step."""
    collection = axes.collections[place]
    assert isinstance(collection, PolyCollection)
    vertices = np.asarray(collection.get_paths()[0].vertices)
    steps = sorted(set(vertices[:, 0]))
    columns = [vertices[vertices[:, 0] == step, 1] for step in steps]
    return [float(column.min()) for column in columns], [float(column.max()) for column in columns]


@pytest.fixture
def two_seeds() -> Run:
    run = listed_run(seeds=2)
    record(run, 0, 0, point(10, 0.25), point(20, 0.5, loss=0.5))
    record(run, 0, 1, point(10, 0.75), point(20, 1.0, loss=0.25))
    return run


def test_lines_are_the_mean_over_the_seeds_and_bands_their_range(two_seeds: Run) -> None:
    figures = training_figures(two_seeds)
    assert list(figures) == ["accuracy", "loss"]
    [axes] = figures["accuracy"].axes
    assert lines(axes) == {"train: mean of the minibatches": [0.5, 0.75], "validation": [0.25, 0.375]}
    assert list(np.asarray(axes.lines[0].get_xdata())) == [10, 20]
    assert band(axes, 0) == ([0.25, 0.5], [0.75, 1.0])
    [axes] = figures["loss"].axes
    assert lines(axes) == {"train: mean of the minibatches": [1.0, 0.375], "validation": [2.0, 0.75]}


def test_axes_and_title_say_what_is_shown_and_how_it_was_trained(two_seeds: Run) -> None:
    for kind, label in {"accuracy": "accuracy (fraction)", "loss": "cross-entropy (nats)"}.items():
        [axes] = training_figures(two_seeds)[kind].axes
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("optimiser steps", label)
        assert axes.get_title(loc="left") == (
            "mlp (hidden_layers 16,8)\n"
            "Adam, learning rate 1e-3, batch size 64, image folder, JPEG; mean and range of 2 seeds"
        )


def test_one_seed_has_no_band() -> None:
    run = listed_run()
    record(run, 0, 0, point(10, 0.25))
    [axes] = training_figures(run)["accuracy"].axes
    assert not axes.collections
    assert axes.get_title(loc="left").endswith("; one seed")


def test_lines_differ_without_their_colours(two_seeds: Run) -> None:
    [axes] = training_figures(two_seeds)["accuracy"].axes
    looks = {(line.get_linestyle(), line.get_marker()) for line in axes.lines}
    assert len(looks) == len(axes.lines) == 2


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_where_the_modes_differ_both_are_shown(dropout: float) -> None:
    run = listed_run(None, (NETWORK | {"dropout": dropout},), training={"training_mode": "whole"})
    measured = {"minibatch_accuracy": 0.125, "minibatch_loss": 4.0, "training_mode_accuracy": 0.75}
    record(run, 0, 0, point(10, 0.5, **measured, training_mode_loss=8.0))
    expected = {
        0.0: {"train: last minibatch": [0.125], "validation": [0.75]},
        0.5: {
            "train: last minibatch": [0.125],
            "validation: training mode, as in 2019": [0.75],
            "validation: evaluation mode": [0.25],
        },
    }
    figures = training_figures(run)
    assert lines(figures["accuracy"].axes[0]) == expected[dropout]
    assert list(lines(figures["loss"].axes[0]).values()) == {0.0: [[4.0], [8.0]], 0.5: [[4.0], [8.0], [2.0]]}[dropout]


def test_a_run_that_was_measured_on_the_test_set_says_so() -> None:
    run = listed_run(fitness="test")
    record(run, 0, 0, CurvePoint(10, {"train_accuracy": 0.5, "test_accuracy": 0.25, "loss": 1.0}))
    assert lines(training_figures(run)["accuracy"].axes[0])["test"] == [0.25]


@pytest.mark.parametrize(("lowest", "scale"), [(0.011, "linear"), (0.009, "log"), (0.0, "linear")])
def test_a_loss_over_more_than_two_decades_has_a_logarithmic_axis(lowest: float, scale: str) -> None:
    run = listed_run()
    record(
        run, 0, 0, *(CurvePoint(step, {"train_loss": loss, "loss": 1.0}) for step, loss in ((10, 1.0), (20, lowest)))
    )
    assert training_figures(run)["loss"].axes[0].get_yscale() == scale


def test_a_loss_of_zero_is_no_obstacle_to_a_logarithmic_axis(tmp_path: Path) -> None:
    run = listed_run(tmp_path / "run", seeds=2)
    for replicate in range(2):
        record(run, 0, replicate, point(10, 0.5, loss=1.0), point(20, 1.0, loss=1e-4), point(30, 1.0, loss=0.0))
    run.close()
    assert training_figures(run)["loss"].axes[0].get_yscale() == "log"
    write_training(run)


def test_every_configuration_has_a_panel_of_its_own() -> None:
    run = listed_run(None, (NETWORK, NETWORK | {"hidden_layers": (4,)}, NETWORK | {"hidden_layers": (5,)}))
    record(run, 0, 0, point(10, 0.5))
    record(run, 2, 0, point(10, 0.25))
    shown = [axes for axes in training_figures(run)["accuracy"].axes if axes.axison]
    assert [axes.get_title(loc="left").partition("\n")[0] for axes in shown] == [
        "#0: mlp (hidden_layers 16,8)",
        "#2: mlp (hidden_layers 5)",
    ]


def test_only_complete_trainings_count_while_there_is_one() -> None:
    run = listed_run(seeds=2)
    record(run, 0, 0, point(10, 0.5), status="diverged")
    [axes] = training_figures(run)["accuracy"].axes
    assert axes.get_title(loc="left").replace("\n", " ").endswith("one seed; none complete (diverged)")
    record(run, 0, 1, point(10, 0.25))
    [axes] = training_figures(run)["accuracy"].axes
    assert lines(axes)["train: mean of the minibatches"] == [0.25]


@pytest.mark.parametrize("proposed", [0, 1])
def test_a_run_without_a_curve_has_no_figures(proposed: int) -> None:
    run = listed_run(proposed=proposed)
    assert training_figures(run) == {}


def test_figures_are_written_as_png_and_svg(tmp_path: Path) -> None:
    run = listed_run(tmp_path / "run")
    record(run, 0, 0, point(10, 0.5))
    run.close()
    folder = write_training(evo.load(tmp_path / "run"))
    assert folder == tmp_path / "run" / "figures"
    assert {path.name for path in folder.iterdir()} == {"accuracy.png", "accuracy.svg", "loss.png", "loss.svg"}


@pytest.mark.parametrize("status", [None, "failed"])
def test_the_page_of_a_run_without_a_complete_training_says_so(status: str | None, tmp_path: Path) -> None:
    run = listed_run(tmp_path / "run", (NETWORK, NETWORK | {"hidden_layers": (4,)}))
    if status is not None:
        record(run, 0, 0, status=status)
    run.write_tables()
    page = write_training_page(run, tmp_path).read_text()
    assert "No training is complete yet." in page
    assert "Which classes are confused is not known" not in page
    record(run, 1, 0, point(10, 0.5))
    page = write_training_page(run, tmp_path).read_text()
    assert "No training is complete yet." not in page
    assert page.count("Which classes are confused is not known") == 1, "of the complete one"
    run.close()


def test_a_run_in_memory_has_nowhere_to_write_to(two_seeds: Run) -> None:
    with pytest.raises(RunError, match="in memory"):
        write_training(two_seeds)


def test_a_dollar_in_a_name_is_no_formula(tmp_path: Path) -> None:
    run = listed_run(tmp_path / "run", dataset=FACTS | {"variant": "$\\frac$"})
    record(run, 0, 0, point(10, 0.5))
    run.close()
    write_training(run)


@pytest.mark.parametrize(
    ("model", "genome", "expected"),
    [
        ("mlp", {"dropout": 0.0, "batch_norm": False}, False),
        ("mlp", {}, False),
        ("mlp", {"batch_norm": True}, True),
        ("mlp", {"dropout": 0.1}, True),
        ("numpy_mlp", {}, False),
        ("cnn", {}, True),
        ("cnn", {"batch_norm": False}, False),
        ("somebodys.package:model", {}, True),
    ],
)
def test_dropout_and_batch_norm_change_with_the_mode(model: str, genome: Genome, expected: bool) -> None:
    assert changes_with_mode(listed_run(model=model), genome) is expected


def test_rates_are_written_as_in_the_report() -> None:
    assert [scientific(rate) for rate in (0.000168436712547, 2e-3, 5.720839146360543e-05, 0.1, 1.0)] == [
        *("1.68e-4", "2e-3", "5.72e-5", "1e-1", "1e0")
    ]
