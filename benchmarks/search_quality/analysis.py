"""What follows from the rows of the search quality benchmark: curves, intervals, evaluations to a target, comparisons.

Pure functions of `Curves`: for every task an array of shape (methods, seeds, N) whose entry (m, s, n - 1) is the
normalised regret of the genome that method m recommends after n trainings of the run of the s-th seed: 0 is the best
known, 1 about a random draw. Seeds are paired: run s of every method saw the same noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from evo.reports.statistics import DRAWS, TOLERANCE, Array, Estimate, interval, won

Curves: TypeAlias = Mapping[str, Array]


@dataclass(frozen=True)
class Comparison:
    """A method, A, against another, B, at a number of trainings.

    Attributes:
        first: A's name.
        second: B's name.
        at: Trainings at which B is looked at.
        better: Probability that A's recommended genome is better than B's in a paired run; ties count half.
        evaluations: Trainings after which A's mean regret over the tasks is that of B.
        evaluations_median: Median over the tasks of the same task by task; no task's scale weighs in.
        by_task: (better, evaluations) on each task.
    """

    first: str
    second: str
    at: int
    better: Estimate
    evaluations: Estimate
    evaluations_median: Estimate
    by_task: Mapping[str, tuple[float, float]]


def regret_curve(row: Mapping[str, Any], length: int) -> Array:
    """Return a run's normalised regret after 1 … `length` trainings; a run that ended earlier keeps its last value."""
    numbers = [number for number, _ in row["true"]]
    curve: Array = _regrets(row)[np.searchsorted(numbers, np.arange(1, length + 1), side="right") - 1]
    return curve


def regret_curve_by_steps(row: Mapping[str, Any], length: int) -> Array:
    """Return a run's normalised regret after the steps of 1 … `length` full trainings.

    Before the first training has ended, its own regret counts: there is nothing else to recommend yet.
    """
    finished = np.searchsorted(np.cumsum(row["steps"]), np.arange(1, length + 1) * row["full_steps"], side="right")
    numbers = [number for number, _ in row["true"]]
    curve: Array = _regrets(row)[np.maximum(np.searchsorted(numbers, finished, side="right") - 1, 0)]
    return curve


def paired_curves(
    rows: Iterable[Mapping[str, Any]], length: int, curve: Callable[[Mapping[str, Any], int], Array] = regret_curve
) -> tuple[list[str], dict[str, Array]]:
    """Return the methods, and their curves on the tasks that all of them have and the seeds that all have there.

    Args:
        rows: One per run.
        length: Trainings.
        curve: `regret_curve` or `regret_curve_by_steps`.
    """
    runs: dict[str, dict[str, dict[int, Array]]] = {}
    for row in rows:
        runs.setdefault(row["task"], {}).setdefault(row["method"], {})[row["seed"]] = curve(row, length)
    methods = list(dict.fromkeys(method for by_method in runs.values() for method in by_method))
    curves = {}
    for task, by_method in runs.items():
        seeds = sorted(set.intersection(*(set(by_method.get(method, ())) for method in methods)))
        if seeds:
            curves[task] = np.stack([np.stack([by_method[method][seed] for seed in seeds]) for method in methods])
    return methods, curves


def levels(arrays: Iterable[Array]) -> Array:
    """Return the mean over tasks of the mean over seeds, shape (methods, N): every task weighs the same."""
    mean: Array = np.mean([runs.mean(axis=1) for runs in arrays], axis=0)
    return mean


def evaluations_to(level: Array, at: int) -> Array:
    """Return after how many trainings each method is for the first time where each other one is at `at`.

    Args:
        level: Regret, shape (methods, N).
        at: Trainings.

    Returns:
        Shape (methods, methods): entry (a, b) belongs to a's curve and b's level; infinite where it is not reached.
    """
    reached = level[:, None, :] <= level[None, :, at - 1, None] + TOLERANCE
    return np.where(reached.any(axis=-1), reached.argmax(axis=-1) + 1.0, math.inf)


def shares_better(runs: Array, at: int) -> Array:
    """Return the share of paired runs of one task in which a method has less regret than another; ties count half.

    Args:
        runs: Shape (methods, seeds, N).
        at: Trainings.

    Returns:
        Shape (methods, methods): entry (a, b) is the share in which a is better than b.
    """
    values = runs[:, :, at - 1]
    difference = values[:, None, :] - values[None, :, :]
    share: Array = np.mean(won(-difference), axis=-1)
    return share


def resampled(arrays: Sequence[Array], generator: np.random.Generator) -> list[Array]:
    """Return a bootstrap sample: tasks are drawn with replacement, then seeds in each; alike for all methods.

    A task that is drawn twice counts twice, each time with newly drawn seeds.
    """
    samples = []
    for place in generator.integers(len(arrays), size=len(arrays)):
        count = arrays[place].shape[1]
        samples.append(arrays[place][:, generator.integers(count, size=count)])
    return samples


def level_estimates(curves: Curves, at: Sequence[int], *, draws: int = DRAWS, seed: int = 0) -> list[list[Estimate]]:
    """Return each method's mean regret after some numbers of trainings, with intervals over tasks and seeds.

    Args:
        curves: Of all methods.
        at: Numbers of trainings.
        draws: Bootstrap samples.
        seed: Of the bootstrap.
    """
    generator = np.random.default_rng(seed)
    arrays, places = list(curves.values()), np.array(at) - 1
    value = levels(arrays)[:, places]
    low, high = interval(np.stack([levels(resampled(arrays, generator))[:, places] for _ in range(draws)]))
    return [
        [Estimate(*map(float, figures)) for figures in zip(*own, strict=True)]
        for own in zip(value, low, high, strict=True)
    ]


def band(runs: Array, *, draws: int = DRAWS, seed: int = 0) -> tuple[Array, Array, Array]:
    """Return mean, low and high, each (N,), of one method's runs on one task, (seeds, N): a bootstrap over seeds."""
    generator = np.random.default_rng(seed)
    means = np.stack([runs[generator.integers(len(runs), size=len(runs))].mean(axis=0) for _ in range(draws)])
    return runs.mean(axis=0), *interval(means)


def _statistics(arrays: Sequence[Array], at: int) -> Array:
    """Return P(better), evaluations of the mean level and their median over tasks, shape (3, methods, methods)."""
    better = np.mean([shares_better(runs, at) for runs in arrays], axis=0)
    by_task = [evaluations_to(runs.mean(axis=1), at) for runs in arrays]
    # The upper median: a mean with an infinite number would say nothing.
    median = np.sort(by_task, axis=0)[len(by_task) // 2]
    return np.stack([better, evaluations_to(levels(arrays), at), median])


def comparisons(
    methods: Sequence[str], curves: Curves, at: int, *, draws: int = DRAWS, seed: int = 0
) -> list[Comparison]:
    """Compare every method with every other one.

    Args:
        methods: Names, in the order of the curves' first axis.
        curves: Of all methods.
        at: Trainings at which they are compared.
        draws: Bootstrap samples: tasks, and seeds inside each, are drawn with replacement.
        seed: Of the bootstrap.
    """
    generator = np.random.default_rng(seed)
    arrays = list(curves.values())
    value = _statistics(arrays, at)
    low, high = interval(np.stack([_statistics(resampled(arrays, generator), at) for _ in range(draws)]))
    by_task = {task: (shares_better(runs, at), evaluations_to(runs.mean(axis=1), at)) for task, runs in curves.items()}

    def estimate(part: int, a: int, b: int) -> Estimate:
        return Estimate(*(float(figures[part, a, b]) for figures in (value, low, high)))

    return [
        Comparison(
            first,
            second,
            at,
            better=estimate(0, a, b),
            evaluations=estimate(1, a, b),
            evaluations_median=estimate(2, a, b),
            by_task={task: (float(better[a, b]), float(number[a, b])) for task, (better, number) in by_task.items()},
        )
        for a, first in enumerate(methods)
        for b, second in enumerate(methods)
        if a != b
    ]


def _regrets(row: Mapping[str, Any]) -> Array:
    best, reference = row["scale"]
    values = np.array([value for _, value in row["true"]], dtype=float)
    regrets: Array = (best - values) / (best - reference)
    return regrets
