"""The Gaussian process and what surrounds it: the warp of fitness, and the expected improvement."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from scipy.stats import norm

from evo.strategies.gaussian_process import GaussianProcess, Vectors, Warp, squared_distances
from evo.strategies.screening import log_expected_improvement

FITNESSES = st.lists(st.floats(-1e6, 1e6).map(lambda value: round(value, 9)), min_size=1, max_size=30)


def grid(count: int, low: float = 0.0, high: float = 1.0) -> Vectors:
    """Points in a square, (count², 2)."""
    places = np.linspace(low, high, count)
    return np.array([(x, y) for x in places for y in places])


def wave(vectors: Vectors) -> Vectors:
    values: Vectors = np.sin(4 * vectors[:, 0]) + vectors[:, 1] ** 2
    return values


# The process.


def test_it_interpolates_a_smooth_function() -> None:
    model = GaussianProcess(grid(5), wave(grid(5)), [0, 1])
    mean, deviation = model.predict(grid(9))
    assert np.abs(mean - wave(grid(9))).max() < 0.05
    assert np.abs(mean - wave(grid(9))).max() < 4 * deviation.max()


def test_it_is_less_sure_far_from_what_it_has_seen() -> None:
    model = GaussianProcess(grid(4), wave(grid(4)), [0, 1])
    _, near = model.predict(grid(4))
    _, far = model.predict(np.array([[3.0, 3.0]]))
    assert near.max() < 0.2 * far[0]


def test_what_has_no_effect_gets_the_longer_length() -> None:
    vectors = np.random.default_rng(0).random((40, 2))
    model = GaussianProcess(vectors, np.sin(6 * vectors[:, 0]), [0, 1])
    _, first, second, _ = model.hyperparameters
    assert second > first + 1


def test_columns_of_a_group_have_one_length() -> None:
    vectors = np.random.default_rng(0).random((20, 3))
    model = GaussianProcess(vectors, np.sin(6 * vectors[:, 0]), [0, 0, 1])
    assert len(model.hyperparameters) == 4
    swapped = GaussianProcess(vectors[:, [1, 0, 2]], np.sin(6 * vectors[:, 0]), [0, 0, 1])
    assert swapped.hyperparameters == pytest.approx(model.hyperparameters, abs=1e-3)


def test_the_gradient_of_the_posterior_is_its_derivative() -> None:
    vectors = np.random.default_rng(1).random((12, 3))
    model = GaussianProcess(vectors, wave(vectors), [0, 1, 1])
    distances = squared_distances(vectors, vectors, model._members)
    for seed in range(3):
        theta = np.random.default_rng(seed).normal(0.0, 0.7, 4) - [0, 0, 0, 3]
        _, gradient = model._negative_log_posterior(theta, distances)
        numeric = approx_fprime(theta, lambda place: model._negative_log_posterior(place, distances)[0], 1e-6)
        assert gradient == pytest.approx(numeric, rel=1e-3, abs=1e-3)


def test_the_posterior_is_that_of_the_textbook() -> None:
    vectors, values = grid(3), wave(grid(3))
    model = GaussianProcess(vectors, values, [0, 1])
    amplitude, *lengths, noise = np.exp(model.hyperparameters)

    def kernel(first: Vectors, second: Vectors) -> Vectors:
        r = np.sqrt((((first[:, None] - second[None]) ** 2) / np.array(lengths)).sum(-1))
        covariance: Vectors = amplitude * (1 + math.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-math.sqrt(5) * r)
        return covariance

    asked = np.array([[0.3, 0.8], [1.5, -0.2]])
    inverse = np.linalg.inv(kernel(vectors, vectors) + noise * np.eye(9))
    mean, deviation = model.predict(asked)
    assert mean == pytest.approx(kernel(asked, vectors) @ inverse @ values, rel=1e-4, abs=1e-4)
    variance = amplitude - np.diag(kernel(asked, vectors) @ inverse @ kernel(vectors, asked))
    assert deviation == pytest.approx(np.sqrt(variance), rel=1e-3)


@pytest.mark.parametrize("values", [[0.0], [0.0] * 6, [1.0, 1.0]], ids=str)
def test_one_point_and_constant_values_are_modelled(values: list[float]) -> None:
    vectors = np.random.default_rng(0).random((len(values), 2))
    model = GaussianProcess(vectors, np.array(values), [0, 1])
    mean, deviation = model.predict(grid(3))
    assert np.isfinite(mean).all()
    assert (deviation > 0).all()
    assert np.abs(mean).max() <= max(map(abs, values)) + 0.1


def test_the_same_place_twice_is_modelled() -> None:
    model = GaussianProcess(np.array([[0.5, 0.5]] * 3 + [[0.1, 0.9]]), np.array([1.0, 1.2, 0.8, -1.0]), [0, 1])
    mean, deviation = model.predict(np.array([[0.5, 0.5]]))
    assert mean[0] == pytest.approx(1.0, abs=0.2)
    assert np.isfinite(deviation).all()


def test_believing_predictions_keeps_the_mean_and_shrinks_the_deviation() -> None:
    vectors = np.random.default_rng(2).random((8, 2))
    model = GaussianProcess(vectors, wave(vectors), [0, 1])
    pending, elsewhere = np.array([[0.95, 0.05], [0.4, 0.9]]), grid(6)
    before, hyperparameters = [model.predict(places) for places in (pending, elsewhere)], model.hyperparameters
    model.believe(pending)
    after = [model.predict(places) for places in (pending, elsewhere)]
    assert after[0][0] == pytest.approx(before[0][0], abs=1e-3)
    assert after[1][0] == pytest.approx(before[1][0], abs=1e-3)
    assert (after[0][1] < before[0][1]).all()
    assert (after[1][1] <= before[1][1] + 1e-6).all()
    assert model.hyperparameters == hyperparameters


def test_a_slope_of_the_mean_holds_until_results_say_otherwise() -> None:
    vectors = grid(4) * 0.3
    flat = GaussianProcess(vectors, np.zeros(len(vectors)), [0, 1])
    rising = GaussianProcess(vectors, np.zeros(len(vectors)), [0, 1], slope=np.array([0.0, 2.0]))
    near, far = vectors[:1], np.array([[0.0, 30.0]])
    assert rising.predict(near)[0] == pytest.approx(flat.predict(near)[0], abs=0.1)
    assert flat.predict(far)[0] == pytest.approx(0.0, abs=0.1)
    assert rising.predict(far)[0] == pytest.approx(60.0, abs=3.0)


def test_a_slope_is_a_model_of_what_is_left_without_it() -> None:
    vectors, slope = grid(4), np.array([0.5, -1.0])
    plain = GaussianProcess(vectors, wave(vectors) - vectors @ slope, [0, 1])
    sloped = GaussianProcess(vectors, wave(vectors), [0, 1], slope=slope)
    others = grid(3) + 0.07
    for model in (plain, sloped):
        model.believe(others[:2])
    (left, uncertain), (found, deviations) = plain.predict(others), sloped.predict(others)
    np.testing.assert_allclose(found, left + others @ slope, atol=1e-9)
    np.testing.assert_allclose(deviations, uncertain, atol=1e-9)


def test_the_optimisation_goes_on_from_known_hyperparameters() -> None:
    vectors = np.random.default_rng(3).random((15, 2))
    first = GaussianProcess(vectors, wave(vectors), [0, 1])
    again = GaussianProcess(vectors, wave(vectors), [0, 1], first.hyperparameters)
    assert again.hyperparameters == pytest.approx(first.hyperparameters, abs=0.1)
    assert GaussianProcess(vectors, wave(vectors), [0, 1]).hyperparameters == first.hyperparameters
    of_another_space = GaussianProcess(vectors, wave(vectors), [0, 1], [0.0])
    assert of_another_space.hyperparameters == first.hyperparameters


# The warp.


@given(FITNESSES)
def test_the_warp_keeps_the_order_and_finds_back(fitness: list[float]) -> None:
    warp = Warp(fitness)
    values = warp.forward(fitness)
    assert np.isfinite(values).all()
    order = np.argsort(fitness, kind="stable")
    assert (np.diff(values[order]) >= -1e-9).all()
    size = max(map(abs, fitness)) + 1e-9
    for value, back in zip(fitness, map(warp.back, values), strict=True):
        assert back == pytest.approx(value, rel=1e-6, abs=1e-6 * size)


@given(FITNESSES, st.floats(-5, 5), st.floats(-5, 5))
def test_what_is_further_up_is_fitter(fitness: list[float], first: float, second: float) -> None:
    assume(first < second)
    warp = Warp(fitness)
    assert warp.back(first) <= warp.back(second)


def test_one_disaster_leaves_the_others_apart() -> None:
    fitness = [0.90, 0.91, 0.92, 0.93, -1e6]
    values = Warp(fitness).forward(fitness)
    assert values[3] - values[0] > 0.1


@pytest.mark.parametrize("fitness", [[0.5], [0.5, 0.5, 0.5], [-3e30] * 4])
def test_equal_fitness_is_zero(fitness: list[float]) -> None:
    assert Warp(fitness).forward(fitness) == pytest.approx(0.0)


@pytest.mark.parametrize("value", [-1e6, -60.0, 60.0, 1e6])
def test_far_values_have_a_finite_fitness(value: float) -> None:
    assert math.isfinite(Warp([0.1, 0.5, 0.6, -20.0]).back(value))


# Expected improvement.


def improvement(means: list[float], deviation: float = 1.0, best: float = 0.0) -> Vectors:
    return log_expected_improvement(np.array(means), np.full(len(means), deviation), best)


@given(st.floats(-4, 8), st.floats(0.01, 10), st.floats(-3, 3))
def test_it_is_the_logarithm_of_the_formula_where_that_is_accurate(z: float, deviation: float, best: float) -> None:
    [found] = improvement([best + z * deviation], deviation, best)
    assert found == pytest.approx(math.log(deviation * (norm.pdf(z) + z * norm.cdf(z))), rel=1e-6, abs=1e-6)


def test_it_rises_with_the_mean_everywhere() -> None:
    places = np.linspace(-60, 40, 20_001)
    found = improvement(list(places))
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()


def test_it_rises_with_the_deviation_below_the_best() -> None:
    deviations = np.geomspace(1e-3, 10, 500)
    found = log_expected_improvement(np.full(500, -1.0), deviations, 0.0)
    assert (np.diff(found) > 0).all()
