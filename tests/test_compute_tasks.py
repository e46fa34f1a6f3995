"""The tasks of the benchmark of compute: curves whose cost rises, with the character that their suite promises."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from benchmarks.compute.curve_tasks import half_of
from benchmarks.compute.forecasts import METHODS, forecasts
from benchmarks.compute.lcbench import LCBench, datasets
from benchmarks.compute.suites import STEPS, SUITES, Costs, Crossing, Generated, Plateau, generated_tasks
from evo.errors import ConfigurationError

EVERY_STEP = np.arange(1.0, STEPS + 1)
LCBENCH = Path(__file__).resolve().parents[2] / "shared" / "data" / "lcbench"


def drawn(task: Generated, count: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    rng = random.Random(0)
    return task.curves([task.space.sample(rng) for _ in range(count)], EVERY_STEP)


@pytest.mark.parametrize("task", generated_tasks()[::4], ids=lambda task: task.name)
def test_curves_are_between_nothing_and_everything_and_cost_more_with_every_step(task: Generated) -> None:
    values, costs = drawn(task, 200)
    assert (values >= 0.099).all()
    assert (values <= 1).all()
    assert (np.diff(costs, axis=1) > 0).all()
    best, middle, once = task.scale
    assert best > middle
    assert once == pytest.approx(costs[:, -1].mean(), rel=0.3)
    assert (task.regret(best), task.regret(middle)) == (0, 1)


def test_every_suite_has_tasks_in_both_halves_and_a_name_decides_which() -> None:
    for suite in SUITES:
        assert {task.half for task in generated_tasks() if isinstance(task, suite)} == {"tuning", "reporting"}
    assert (half_of("plateau-0"), half_of("crossing-0")) == ("tuning", "reporting")


def test_on_a_plateau_few_genomes_learn_and_fewer_than_one_in_a_hundred_learns_all() -> None:
    for number in range(8):
        ends = drawn(Plateau(number), 5000)[0][:, -1]
        assert np.median(ends) == pytest.approx(0.1)
        assert 0 < (ends > 0.6).mean() < 0.015


def test_where_curves_cross_the_first_leaders_are_not_the_last() -> None:
    values, _ = drawn(Crossing(0))
    early = np.argsort(-values[:, 5])[:100]
    assert values[early, -1].mean() < np.sort(values[:, -1])[-100:].mean() - 0.02


def test_a_step_of_the_largest_network_costs_a_hundred_times_that_of_the_smallest() -> None:
    task = Costs(0)
    genome = task.space.sample(random.Random(0))
    _, costs = task.curves([genome | {"x0": 0.0}, genome | {"x0": 1.0}], EVERY_STEP)
    assert costs[1, -1] / costs[0, -1] == pytest.approx(100)


def test_noise_belongs_to_the_training_seed_and_the_genome() -> None:
    task = Plateau(1)
    genome = task.space.sample(random.Random(0))
    first, again, other = (task.curve(genome, seed) for seed in (0, 0, 1))
    assert (first.measured == again.measured).all()
    assert (first.measured != other.measured).any()
    assert (first.values == other.values).all()


def test_data_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has no LCBench data"):
        datasets(tmp_path)


@pytest.mark.skipif(not LCBENCH.is_dir(), reason="the LCBench data are not part of evo")
def test_lcbench_has_34_datasets_whose_accuracies_are_percentages() -> None:
    pytest.importorskip("onnxruntime")
    names = datasets(LCBENCH)
    assert len(names) == 34
    task = LCBench(LCBENCH, "3945")
    curve = task.curve(task.space.sample(random.Random(0)), 0)
    assert curve.values.min() >= 0
    assert 10 < curve.values.max() <= 100
    assert (np.diff(curve.costs) > 0).all()


def test_ends_are_forecast_by_every_method_and_the_model_knows_how_curves_cross() -> None:
    rows = [row for number in range(4) for row in forecasts(Crossing(number), 0, 9)]
    assert {row.method for row in rows} == set(METHODS)
    order = {method: np.mean([row.order for row in rows if row.method == method]) for method in METHODS}
    assert order["curve model"] > order["last value"] + 0.2
