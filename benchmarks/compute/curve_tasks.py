"""A task of this benchmark: genomes have learning curves, and their steps cost something.

Which half a task belongs to follows from its name, so it was fixed before anything was tuned. A strategy may only be
tuned on the tuning half; what is published comes from the reporting half.
"""

from __future__ import annotations

import hashlib
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from evo.individual import Genome, genome_key
from evo.space import SearchSpace

Half: TypeAlias = Literal["tuning", "reporting"]
HALVES: tuple[Half, ...] = ("tuning", "reporting")
Vector: TypeAlias = npt.NDArray[np.float64]

DRAWN = 20_000
"""Random genomes whose best full training counts as regret 0, and whose median one as regret 1."""


def half_of(name: str) -> Half:
    """Return the half of a task, by a hash of its name."""
    return "tuning" if hashlib.sha256(name.encode()).digest()[0] % 2 == 0 else "reporting"


@dataclass(frozen=True)
class Curve:
    """The learning curve of a genome.

    Attributes:
        values: What is really reached after each step, (steps,); higher is better.
        measured: The same with the noise of one training seed.
        costs: What the training has cost after each step, (steps,), above 0 and rising.
    """

    values: Vector
    measured: Vector
    costs: Vector


class CurveTask(ABC):
    """Genomes with learning curves.

    Args:
        name: Names its results, and decides its half.
        space: Without a gene for the steps.
        most: The steps of a full training.
        noise: The standard deviation of a measured value.
    """

    def __init__(self, name: str, space: SearchSpace, most: int, noise: float):
        self.name, self.space, self.most, self.noise = name, space, most, noise

    @abstractmethod
    def curves(self, genomes: Sequence[Genome], steps: Vector) -> tuple[Vector, Vector]:
        """Return values and costs after some steps, without noise, (genomes, steps) each."""

    @property
    def half(self) -> Half:
        """Where the task may be used."""
        return half_of(self.name)

    def curve(self, genome: Genome, seed: int) -> Curve:
        """Return the curve of a genome on a training seed."""
        values, costs = self.curves([genome], np.arange(1.0, self.most + 1))
        digest = hashlib.sha256(f"{self.name}:{seed}:{genome_key(genome)}".encode()).digest()
        noise = np.random.default_rng(list(digest)).normal(0.0, self.noise, self.most)
        return Curve(values[0], values[0] + noise, costs[0])

    @cached_property
    def scale(self) -> tuple[float, float, float]:
        """The best and the median value of random full trainings, and their mean cost: `1x` of a budget."""
        rng = random.Random(f"{self.name}:scale")
        ends, costs = [], []
        for _ in range(0, DRAWN, 500):
            values, cost = self.curves([self.space.sample(rng) for _ in range(500)], np.array([float(self.most)]))
            ends.append(values[:, 0])
            costs.append(cost[:, 0])
        every = np.concatenate(ends)
        return float(every.max()), float(np.median(every)), float(np.concatenate(costs).mean())

    def regret(self, value: float) -> float:
        """Return how far a value is from the best: 0 is the best, 1 the median of random full trainings."""
        best, middle, _ = self.scale
        return (best - value) / (best - middle)
