"""A search that ends with its best on a bound says which, unless that bound cannot be moved."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import evo
from evo.cli.result import print_result
from evo.evaluation import Evaluation
from evo.individual import Individual
from evo.record.run import Run
from evo.reports.bounds import at_bounds, bounds_text
from evo.reports.html import write_report
from tests.images import FACTS
from tests.reports.runs import written_by_hand

GENES: dict[str, Any] = {
    "hidden_layers": evo.Layers(depth=(1, 4), width=(16, 1024), log=True),
    "learning_rate": evo.Float(1e-5, 1e-2, log=True),
    "batch_size": evo.Integer(1, 512, log=True),
    "steps": evo.Integer(100, 4000, step=100),
    "dropout": evo.Float(0.0, 0.5),
    "momentum": evo.Float(0.0, 0.9, when={"optimiser": "sgd"}),
    "optimiser": evo.Categorical(["adam", "sgd"]),
    "cutout": evo.Integer(0, 32),
    "label_smoothing": evo.Float(0.05, 0.05),
    "weight_decay": evo.Float(0.0, 0.1),
}
INSIDE = {
    "hidden_layers": (100, 200),
    "learning_rate": 1e-3,
    "batch_size": 64,
    "steps": 1000,
    "dropout": 0.2,
    "momentum": 0.5,
    "optimiser": "sgd",
    "cutout": 8,
    "label_smoothing": 0.05,
    "weight_decay": 0.01,
}


def run_of(config: dict[str, Any], output: Path, space: evo.SearchSpace | None = None, **settings: Any) -> Run:
    space = space or evo.SearchSpace(GENES, name="mine", model="mlp", dataset="cifar10")
    named = {"objective": None, "model": space.model, "dataset": FACTS, "budget": 1, **settings}
    return written_by_hand([Individual(0, config)], [Evaluation(0, 0, 1, "complete", 0.5)], space, output, **named)


CASES: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "inside": ({}, []),
    "on a bound": ({"learning_rate": 1e-2}, [("learning_rate", "upper")]),
    "within a hundredth of its scale": ({"learning_rate": 1.05e-5}, [("learning_rate", "lower")]),
    "a little farther": ({"learning_rate": 1.1e-5}, []),
    "the last of a grid": ({"steps": 4000}, [("steps", "upper")]),
    "the first of a grid": ({"steps": 100}, [("steps", "lower")]),
    "no batch is smaller than one image": ({"batch_size": 1}, []),
    "batches may be larger": ({"batch_size": 512}, [("batch_size", "upper")]),
    "no rate is below 0": ({"dropout": 0.0, "weight_decay": 0.0, "momentum": 0.0}, []),
    "rates may be higher": (
        {"dropout": 0.5, "momentum": 0.9, "weight_decay": 0.1},
        [("dropout", "upper"), ("momentum", "upper"), ("weight_decay", "upper")],
    ),
    "no square is larger than the image": ({"cutout": 32}, []),
    "the deepest": ({"hidden_layers": (100, 100, 100, 100)}, [("depth of hidden_layers", "upper")]),
    "no network is shallower than one layer": ({"hidden_layers": (100,)}, []),
    "widths": (
        {"hidden_layers": (1024, 16)},
        [("a width of hidden_layers", "upper"), ("a width of hidden_layers", "lower")],
    ),
    "several layers of one width": ({"hidden_layers": (1024, 1024)}, [("a width of hidden_layers", "upper")]),
}


@pytest.mark.parametrize(("changes", "expected"), CASES.values(), ids=CASES)
def test_bounds_that_can_be_moved_are_named(
    changes: dict[str, Any], expected: list[tuple[str, str]], tmp_path: Path
) -> None:
    config = {**INSIDE, **changes}
    run = run_of(config, tmp_path / "run")
    assert [(entry.name, entry.side) for entry in at_bounds(run, config)] == expected
    assert bool(bounds_text(run)) == bool(expected)


@pytest.mark.parametrize("strategy", ["halving", "ga"])
def test_the_length_of_a_training_is_on_no_bound_where_the_strategy_decides_it(strategy: str, tmp_path: Path) -> None:
    """Every genome of `halving` has the most steps; only where steps are searched may more be better."""
    config = {**INSIDE, "steps": 4000, "dropout": 0.5}
    found = {entry.name for entry in at_bounds(run_of(config, tmp_path / "run", strategy=strategy), config)}
    assert found == {"dropout"} | ({"steps"} if strategy == "ga" else set())


def test_steps_that_free_steps_has_fixed_are_on_no_bound(tmp_path: Path) -> None:
    space = evo.SearchSpace(GENES, name="mine", model="mlp", dataset="cifar10").with_most_steps()
    assert at_bounds(run_of({**INSIDE, "steps": 4000}, tmp_path / "run", space, free_steps=True), INSIDE) == []


def test_the_text_names_value_and_bound_and_says_what_to_do(tmp_path: Path) -> None:
    one = bounds_text(run_of({**INSIDE, "learning_rate": 0.00995}, tmp_path / "one"))
    assert one == (
        "The best genome lies on a bound of the space: learning_rate 0.00995 (upper bound 0.01). "
        "Better ones may lie beyond: widen it."
    )
    space = evo.SearchSpace(GENES, name="mlp", model="mlp", dataset="cifar10")
    two = bounds_text(run_of({**INSIDE, "steps": 4000, "hidden_layers": (1024,)}, tmp_path / "two", space))
    assert two == (
        "The best genome lies on bounds of the space: a width of hidden_layers 1,024 (upper bound), steps 4,000 "
        "(upper bound). Better ones may lie beyond: widen them in its file (evo spaces --show mlp)."
    )


def test_of_what_no_rule_is_known_0_and_1_are_taken_for_limits() -> None:
    space = evo.SearchSpace(
        {
            "share": evo.Float(0.0, 1.0),
            "signed": evo.Float(-1.0, 2.0),
            "scale": evo.Float(1e-3, 1.0, log=True),
            "count": evo.Integer(1, 9),
            "two": evo.Integer(4, 5),
        }
    )
    highest = {"share": 1.0, "signed": 2.0, "scale": 1.0, "count": 9, "two": 5}
    lowest = {"share": 0.0, "signed": -1.0, "scale": 1e-3, "count": 1, "two": 4}
    for config, names in ((highest, ["signed", "scale", "count"]), (lowest, ["signed", "scale"])):
        run = evo.search(space, lambda given: 0.0, budget=1, population=1, initial=[config])
        assert [entry.name for entry in at_bounds(run, config)] == names


def test_the_terminal_and_the_report_say_it(tmp_path: Path) -> None:
    config = {**INSIDE, "steps": 4000}
    run = run_of(config, tmp_path / "run")
    text = "The best genome lies on a bound of the space: steps 4,000 (upper bound)."
    file = io.StringIO()
    print_result(run, Console(file=file, width=60))
    assert text in file.getvalue()
    assert text in write_report([run], tmp_path).read_text()
    inside = run_of(INSIDE, tmp_path / "inside")
    print_result(inside, Console(file=(file := io.StringIO()), width=60))
    assert "bound of the space" not in file.getvalue() + write_report([inside], tmp_path).read_text()
