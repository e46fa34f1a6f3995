"""The model of learning curves: of full trainings it is the Gaussian process, and it forecasts ends from beginnings."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.stats import spearmanr

from evo.strategies.curve_model import CurveModel
from evo.strategies.gaussian_process import GaussianProcess, members_of, squared_distances

MOST = 60
GROUPS = [0, 1, 2]


def curves_of(places: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return curves of genomes, (genomes, steps): the ends differ, and so does the speed."""
    ends = -((places[:, 0] - 0.3) ** 2) * 4 - (places[:, 1] - 0.6) ** 2
    speed = 2 + 6 * places[:, 2]
    return ends[:, None] - 2 * np.exp(-speed[:, None] * steps[None] / MOST)


def seen(places: np.ndarray, until: list[int], noise: float = 0.02) -> tuple[np.ndarray, ...]:
    """Return points of curves, each up to a step of its own: vectors, steps, curves, values."""
    steps = np.array([6, 9, 13, 20, 30, 40, 60])
    rng = np.random.default_rng(1)
    every = curves_of(places, steps) + rng.normal(0, noise, (len(places), len(steps)))
    which = [
        (curve, place) for curve in range(len(places)) for place in range(len(steps)) if steps[place] <= until[curve]
    ]
    curve, place = np.transpose(which)
    return places[curve], steps[place], curve, every[curve, place]


def test_of_full_trainings_it_is_the_gaussian_process() -> None:
    places = np.random.default_rng(0).random((20, 3))
    values = curves_of(places, np.array([MOST]))[:, 0]
    model = GaussianProcess(places, values, GROUPS)
    amplitude, *lengths, noise = model.hyperparameters
    # Its noise is the sum of the noise here and the deviation of a curve.
    half = noise - np.log(2)
    shared, own = [amplitude / 2, 0.3, 0.0, -0.2, 0.1, 0.0], [half / 2, 0.1, 0.0, 0.1, 0.2, 0.0]
    start = [*shared, *lengths, *own, 0.0, 0.0, half]
    numbers = np.arange(20)
    curves = CurveModel(places, np.full(20, MOST), numbers, values, GROUPS, MOST, start, fitted=False)
    others = np.random.default_rng(2).random((9, 3))
    expected, deviation = model.predict(others)
    mean, own = curves.predict(others, np.array([MOST]))
    assert mean[:, 0] == pytest.approx(expected, abs=1e-6)
    assert own[:, 0] ** 2 == pytest.approx(deviation**2 + np.exp(half), rel=1e-6)


def test_it_forecasts_the_order_of_the_ends_from_a_tenth_of_the_steps() -> None:
    places = np.random.default_rng(3).random((40, 3))
    until = [MOST] * 10 + [6] * 30
    vectors, steps, curves, values = seen(places, until)
    model = CurveModel(vectors, steps, curves, values, GROUPS, MOST)
    mean, deviation = model.predict(places[10:], np.array([MOST]), np.arange(10, 40))
    ends = curves_of(places[10:], np.array([MOST]))[:, 0]
    last = values[steps == 6][10:]
    assert spearmanr(mean[:, 0], ends).statistic > max(0.95, spearmanr(last, ends).statistic)
    assert np.mean(np.abs(mean[:, 0] - ends) < 2 * deviation[:, 0]) > 0.8


def test_a_point_of_a_curve_says_more_of_that_curve_than_of_others() -> None:
    places = np.random.default_rng(4).random((12, 3))
    model = CurveModel(*seen(places, [20] * 12), GROUPS, MOST)
    _, known = model.predict(places, np.array([MOST]), np.arange(12))
    _, new = model.predict(places, np.array([MOST]))
    assert (known < new).all()


def test_a_believed_point_changes_no_forecast_but_their_certainty() -> None:
    places = np.random.default_rng(5).random((12, 3))
    model = CurveModel(*seen(places, [20] * 12), GROUPS, MOST)
    at = np.array([MOST])
    before, uncertain = model.predict(places, at, np.arange(12))
    model.believe(places[:2], np.array([40, 60]), np.array([0, 1]))
    after, certain = model.predict(places, at, np.arange(12))
    assert after == pytest.approx(before, abs=1e-6)
    assert (certain[:2] < uncertain[:2]).all()


def test_the_gradient_of_the_posterior_is_right() -> None:
    places = np.random.default_rng(6).random((8, 3))
    vectors, steps, curves, values = seen(places, [20] * 8)
    model = CurveModel(vectors, steps, curves, values, GROUPS, MOST, fitted=False)
    same = (curves[:, None] == curves).astype(float)
    parts = squared_distances(vectors, vectors, members_of(GROUPS)), same

    def value(theta: np.ndarray) -> float:
        return model._negative_log_posterior(theta, *parts)[0]

    def gradient(theta: np.ndarray) -> np.ndarray:
        return model._negative_log_posterior(theta, *parts)[1]

    theta = np.array(model.hyperparameters) + np.linspace(-0.3, 0.3, len(model.hyperparameters))
    assert check_grad(value, gradient, theta) < 1e-3 * np.linalg.norm(gradient(theta))
