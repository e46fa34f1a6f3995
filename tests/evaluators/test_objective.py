"""An objective is called as it was written, and whatever it returns or raises becomes an evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from evo.evaluators import ObjectiveSetup, Task, takes_seed
from evo.evaluators.base import StopRequest
from evo.individual import Evaluation

CONFIG = {"x": 2.0, "layers": (3, 4)}


def evaluate(objective: Callable[..., Any]) -> Evaluation:
    function, _ = ObjectiveSetup(objective).build(StopRequest())
    [evaluation] = function([Task(4, 101, 77, dict(CONFIG), phase="finalist")])
    return evaluation


def config_only(config: Any) -> float:
    return config["x"]  # type: ignore[no-any-return]


def with_seed(config: Any, seed: int) -> float:
    return seed


def with_keyword_seed(config: Any, *, seed: int) -> float:
    return seed


def with_default_seed(config: Any, seed: int = 1) -> float:
    return seed


def with_another_name(config: Any, draw: int) -> float:
    return draw


def with_other_defaults(config: Any, scale: float = 3.0) -> float:
    return scale


class Instance:
    def __call__(self, config: Any, seed: int) -> float:
        return seed


@pytest.mark.parametrize(
    ("objective", "seeded", "fitness"),
    [
        (config_only, False, 2.0),
        (with_seed, True, 77.0),
        (with_keyword_seed, True, 77.0),
        (with_default_seed, True, 77.0),
        (with_another_name, True, 77.0),
        (with_other_defaults, False, 3.0),
        (Instance(), True, 77.0),
    ],
)
def test_an_objective_is_called_as_it_was_written(objective: Callable[..., Any], seeded: bool, fitness: float) -> None:
    assert takes_seed(objective) is seeded
    evaluation = evaluate(objective)
    assert (evaluation.status, evaluation.fitness, evaluation.error) == ("complete", fitness, "")


def test_the_task_comes_back_with_the_result() -> None:
    evaluation = evaluate(config_only)
    assert (evaluation.individual, evaluation.replicate, evaluation.seed) == (4, 101, 77)
    assert evaluation.phase == "finalist"
    assert evaluation.started > 0
    assert evaluation.seconds >= 0


@pytest.mark.parametrize("value", [3, 0.5, np.float32(0.5), np.int64(3)])
def test_every_real_number_is_a_fitness(value: Any) -> None:
    fitness = evaluate(lambda config: value).fitness
    assert fitness == float(value)
    assert type(fitness) is float


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("0.9", "'0.9', expected a number"),
        (None, "None, expected a number"),
        (True, "True, expected a number"),
        (math.nan, "nan, expected a finite number"),
        (math.inf, "inf, expected a finite number"),
        (-math.inf, "-inf, expected a finite number"),
        (10**400, "OverflowError"),
        ([0.9], "[0.9], expected a number"),
    ],
)
def test_what_is_no_finite_number_has_failed_with_the_reason(value: Any, reason: str) -> None:
    evaluation = evaluate(lambda config: value)
    assert (evaluation.status, evaluation.fitness) == ("failed", None)
    assert reason in evaluation.error


def test_an_error_is_a_failed_evaluation_with_the_reason() -> None:
    def objective(config: Any) -> float:
        raise ZeroDivisionError("no data")

    evaluation = evaluate(objective)
    assert (evaluation.status, evaluation.error) == ("failed", "ZeroDivisionError: no data")


class Verbose:
    def __repr__(self) -> str:
        return "many\nlines\udcff"


def test_a_reason_is_one_line_that_can_be_written() -> None:
    def objective(config: Any) -> float:
        raise ZeroDivisionError("no\n\tdata\udcff")

    assert evaluate(objective).error == "ZeroDivisionError: no data?"
    assert evaluate(lambda config: Verbose()).error == "the objective returned many lines?, expected a number"


def test_a_lack_of_memory_is_a_state_of_its_own() -> None:
    def objective(config: Any) -> float:
        raise MemoryError

    assert evaluate(objective).status == "out_of_memory"


def test_an_interrupt_is_no_result() -> None:
    def objective(config: Any) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(objective)


def test_an_objective_may_change_its_configuration() -> None:
    task = Task(0, 0, 0, {"x": 2.0})
    function, _ = ObjectiveSetup(lambda config: config.pop("x")).build(StopRequest())
    [evaluation] = function([task])
    assert evaluation.fitness == 2.0
    assert task.config == {"x": 2.0}
