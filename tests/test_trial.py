"""A trial checks what is reported, keeps the curve, and pauses the training where it is to pause."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import evo
from evo.errors import ConfigurationError
from evo.evaluation import CurvePoint
from evo.trial import POINTS, Infeasible, Pause, Trial, TrialError, is_kept


def test_a_trial_says_where_it_is() -> None:
    trial = Trial(9, steps=6)
    trial.report(2, 0.5)
    assert repr(trial) == "Trial(max_steps=9, steps=6, start=0, reported=2)"


@given(most=st.integers(1, 100_000), every=st.integers(1, 500))
def test_at_most_200_points_are_kept_and_the_last_one(most: int, every: int) -> None:
    kept = [step for step in range(every, most + 1, every) if is_kept(step, step - every, most)]
    assert len(kept) <= POINTS
    if most <= POINTS:
        assert kept == list(range(every, most + 1, every))


@given(st.lists(st.integers(1, 5_000), unique=True, min_size=1, max_size=60), st.data())
def test_a_curve_is_the_same_wherever_the_training_was_interrupted(steps: list[int], data: st.DataObject) -> None:
    steps.sort()
    whole = Trial(5_000)
    for step in steps:
        whole.report(step, 1 / step)
    place = data.draw(st.integers(0, len(steps)))
    first = Trial(5_000)
    for step in steps[:place]:
        first.report(step, 1 / step)
    start = steps[place - 1] if place else 0
    again = data.draw(st.integers(0, place))  # a training that continues may repeat what is known
    second = Trial(5_000, start=start, known=first.curve)
    for step in steps[again:]:
        second.report(step, 1 / step)
    assert second.curve == whole.curve
    assert second.value == whole.value


def test_the_first_report_at_or_beyond_the_step_pauses_and_so_does_every_later_one() -> None:
    trial = Trial(10, steps=4)
    trial.report(3, 0.5)
    assert not trial.paused
    for step in (5, 6):
        with pytest.raises(Pause):
            trial.report(step, 0.6)
    assert trial.paused
    assert [point.step for point in trial.curve] == [3, 5]


def test_the_last_step_of_a_full_training_does_not_pause() -> None:
    trial = Trial(3)
    for step in (1, 2, 3):
        trial.report(step, 0.5)
    assert not trial.paused


def test_a_pause_passes_what_catches_exceptions() -> None:
    trial = Trial(3, steps=1)

    def careless() -> None:
        try:
            trial.report(1, 0.5)
        except Exception:
            pytest.fail("except Exception has caught a pause")

    with pytest.raises(Pause):
        careless()


def test_a_search_that_is_stopped_pauses_a_training_wherever_it_is() -> None:
    asked = iter([False, True])
    trial = Trial(10, is_asked_to_stop=lambda: next(asked))
    trial.report(1, 0.5)
    with pytest.raises(Pause):
        trial.report(2, 0.5)
    assert trial.stopped
    assert trial.curve[-1].step == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((0, 0.5), "step: must be a whole number of at least 1, got 0; count steps from 1"),
        ((-1, 0.5), "got -1"),
        ((1.5, 0.5), "got 1.5"),
        ((True, 0.5), "got True"),
        ((2, 0.5), "step 2 follows step 2; steps must grow"),
        ((1, 0.5), "step 1 follows step 2; steps must grow"),
        ((3, math.nan), "step 3: value is nan, expected a finite number"),
        ((3, "0.5"), "step 3: value is '0.5', expected a number"),
        ((3, None), "step 3: value is None, expected a number"),
        ((3, np.array([0.5])), "expected one number"),
        ((3, 0.5, 1.0), "step 3: cost 1 is less than the 2 before"),
        ((3, 0.5, math.inf), "step 3: cost is inf"),
    ],
)
def test_what_cannot_be_reported_is_named(arguments: tuple[Any, ...], reason: str) -> None:
    trial = Trial(10)
    trial.report(2, 0.5, cost=2.0)
    with pytest.raises(TrialError) as refused:
        trial.report(*arguments)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("measures", "reason"),
    [
        ({"loss": math.inf}, "loss is inf"),
        ({"status": 1.0}, '"status" cannot be the name of a measure'),
        ({"two words": 1.0}, "must be a word of letters, digits and _"),
    ],
)
def test_measures_are_numbers_with_names_of_their_own(measures: dict[str, Any], reason: str) -> None:
    with pytest.raises(TrialError) as refused:
        Trial(10).report(1, 0.5, **measures)
    assert reason in str(refused.value)


def test_numbers_of_other_libraries_are_numbers() -> None:
    trial = Trial(10)
    trial.report(np.int64(1), torch.tensor(0.25), cost=np.float32(2), loss=torch.tensor(0.5, requires_grad=True))
    assert trial.curve == (CurvePoint(1, {"fitness": 0.25, "cost": 2.0, "loss": 0.5}),)


def test_a_trial_is_over_when_its_objective_has_returned() -> None:
    trial = Trial(10)
    trial.close()
    with pytest.raises(TrialError, match="the objective has returned, and its trial is over"):
        trial.report(1, 0.5)


def test_a_trial_made_by_hand_calls_an_objective_outside_a_search() -> None:
    def objective(config: dict[str, Any], seed: int, trial: evo.Trial) -> float:
        (trial.folder / "state").write_text("1")
        for step in range(1, trial.steps + 1):
            trial.report(step, step * config["x"])
        return trial.steps * float(config["x"])

    trial = evo.Trial(3)
    assert objective({"x": 2}, 1, trial) == 6
    assert [point.values["fitness"] for point in trial.curve] == [2, 4, 6]
    assert (trial.folder / "state").is_file()


def test_the_folder_of_a_trial_can_be_given(tmp_path: Path) -> None:
    assert Trial(3, folder=tmp_path / "new").folder.is_dir()


@pytest.mark.parametrize("steps", [(0,), (3, 4), (3, 0), (2.5,)])
def test_numbers_of_steps_are_checked(steps: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigurationError, match="steps: must be"):
        Trial(*steps)


def test_an_infeasible_configuration_says_why_and_how_far() -> None:
    problem = Infeasible("too large", violation=np.float64(2))
    for other in (problem, copy.copy(problem), pickle.loads(pickle.dumps(problem))):
        assert (str(other), other.violation) == ("too large", 2.0)
    assert Infeasible("no").violation is None
    for wrong in (0, -1.0, math.nan, "far"):
        with pytest.raises(ValueError, match="violation:"):
            Infeasible("no", violation=wrong)  # type: ignore[arg-type]  # the point
