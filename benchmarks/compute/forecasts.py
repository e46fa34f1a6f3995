"""How well the ends of learning curves are forecast from their beginnings: the model against the last value.

On each task some genomes are trained in full, and most for a ninth or a third of the steps, as in a search. The ends
of the latter are forecast. The last value is the rule of successive halving; the power law y = a - b / t^c is fitted to
each curve by itself.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.optimize import curve_fit
from scipy.stats import norm, spearmanr

from benchmarks.compute.curve_tasks import Curve, CurveTask
from evo.strategies.curve_model import CurveModel
from evo.strategies.encoding import Encoder, Vectors
from evo.strategies.gaussian_process import Warp

WHOLE, BEGUN = 8, 32
"""Genomes that are trained in full, and those whose ends are forecast."""
FACTOR = 1.5
"""Between two points of a curve."""
METHODS = ("last value", "power law", "curve model")


@dataclass(frozen=True)
class Forecast:
    """How well one method forecast the ends of one task on one seed.

    Attributes:
        task: Its name.
        seed: Of the genomes and the noise.
        share: One divided by this share of the steps was seen.
        method: One of `METHODS`.
        order: Spearman's rank correlation of forecasts and true ends.
        order_of_best: The same among the best fifth of the ends.
        regret: Of the genome with the best forecast; 0 is the best of these genomes, 1 the median.
        likelihood: The mean logarithm of the density of the warped ends; NaN of a method without uncertainty.
    """

    task: str
    seed: int
    share: int
    method: str
    order: float
    order_of_best: float
    regret: float
    likelihood: float = math.nan


def points_until(most: int, last: int) -> list[int]:
    """Return the steps at which a curve is measured, the last one included: from a twentieth on, a factor apart."""
    steps, step = [], float(last)
    while step >= max(1.0, most / 20):
        steps.append(round(step))
        step /= FACTOR
    return sorted(set(steps)) or [last]


def forecasts(task: CurveTask, seed: int, share: int) -> Iterator[Forecast]:
    """Forecast the ends of a task's curves by each method."""
    rng = random.Random(f"{task.name}:{seed}:forecasts")
    genomes = [task.space.sample(rng) for _ in range(WHOLE + BEGUN)]
    curves = [task.curve(genome, seed) for genome in genomes]
    until = max(2, round(task.most / share))
    ends = np.array([curve.values[-1] for curve in curves[WHOLE:]])
    last = np.array([curve.measured[until - 1] for curve in curves[WHOLE:]])
    law = np.array([power_law(curve, points_until(task.most, until), task.most) for curve in curves[WHOLE:]])
    vectors, groups = Encoder(task.space).encode(genomes), Encoder(task.space).groups
    mean, likelihood = modelled(vectors, groups, curves, until, task.most)
    for method, forecast in zip(METHODS, (last, law, mean), strict=True):
        best = np.argsort(-ends)[: max(4, BEGUN // 5)]
        middle = float(np.median(ends))
        regret = (ends.max() - ends[int(np.argmax(forecast))]) / max(1e-9, ends.max() - middle)
        orders = (spearman(forecast, ends), spearman(forecast[best], ends[best]))
        yield Forecast(
            task.name, seed, share, method, *orders, regret, likelihood if method == METHODS[-1] else math.nan
        )


def modelled(
    vectors: Vectors, groups: Sequence[int], curves: Sequence[Curve], until: int, most: int
) -> tuple[Vectors, float]:
    """Return the model's forecasts of the ends of the curves that were begun, warped, and their log-likelihood."""
    seen = [
        (number, step)
        for number in range(len(curves))
        for step in points_until(most, most if number < WHOLE else until)
    ]
    numbers, steps = np.transpose(seen)
    warp = Warp([curves[number].measured[step - 1] for number, step in seen])
    values = warp.forward([curves[number].measured[step - 1] for number, step in seen])
    model = CurveModel(vectors[numbers], steps, numbers, values, groups, most)
    mean, deviation = model.predict(vectors[WHOLE:], np.array([most]), np.arange(WHOLE, len(curves)))
    ends = warp.forward([curve.values[-1] for curve in curves[WHOLE:]])
    return mean[:, 0], float(norm.logpdf(ends, mean[:, 0], deviation[:, 0]).mean())


def power_law(curve: Curve, steps: Sequence[int], most: int) -> float:
    """Return the value at the last step of a power law through the points of one curve; the last value if none fits."""
    values = curve.measured[np.array(steps) - 1]

    def law(step: Vectors, end: float, height: float, rate: float) -> Vectors:
        return end - height * step**-rate

    try:
        with warnings.catch_warnings(action="ignore"):  # of a fit that says nothing about its own certainty
            found, _ = curve_fit(law, np.array(steps, float), values, (values[-1], 1.0, 0.5), maxfev=2000)
    except (RuntimeError, TypeError, ValueError):  # no fit, or too few points
        return float(values[-1])
    end = float(law(np.array([float(most)]), *found)[0])
    return end if math.isfinite(end) else float(values[-1])


def spearman(forecast: Vectors, ends: Vectors) -> float:
    """Return the rank correlation; 0 where all of one side are equal."""
    if np.ptp(forecast) == 0 or np.ptp(ends) == 0:
        return 0.0
    return float(spearmanr(forecast, ends).statistic)


def rows_of(tasks: Sequence[CurveTask], seeds: int, shares: Sequence[int]) -> list[dict[str, object]]:
    """Return a row for each task, seed, share and method."""
    return [
        asdict(one)
        for task in tasks
        for seed in range(seeds)
        for share in shares
        for one in forecasts(task, seed, share)
    ]
