"""Generated tasks of six characters: what makes budgets of compute hard, one at a time.

Each suite has eight tasks, which differ in where the best genomes are and how strongly each gene matters. Values are
about 0 to 1. All numbers here were fixed before any strategy was tried on them.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from benchmarks.compute.curve_tasks import CurveTask, Vector
from evo.individual import Genome
from evo.space import SearchSpace
from evo.space.genes import Categorical, Float, Gene, Number

STEPS = 60
TASKS = 8
CHANCE = 0.1
"""What a network that has learned nothing reaches."""


class Generated(CurveTask):
    """A task of a suite; its constants are drawn from its name.

    Args:
        number: Of the task in its suite.
    """

    suite: ClassVar[str]
    dimension: ClassVar[int] = 6
    noise_of: ClassVar[float] = 0.005

    def __init__(self, number: int):
        name = f"{self.suite}-{number}"
        super().__init__(name, SearchSpace(self.genes(), name=name), STEPS, self.noise_of)
        rng = random.Random(name)
        self.optimum = np.array([rng.uniform(0.15, 0.85) for _ in range(self.dimension)])
        weights = np.array([rng.expovariate(1.0) for _ in range(self.dimension)])
        self.weights: Vector = weights / weights.sum()
        self.draw(rng)

    def genes(self) -> dict[str, Gene]:
        """Return the genes: numbers between 0 and 1, unless a suite has others."""
        return {f"x{place}": Float(0.0, 1.0) for place in range(self.dimension)}

    def draw(self, rng: random.Random) -> None:
        """Draw further constants."""

    @abstractmethod
    def ends(self, units: Vector, genomes: Sequence[Genome]) -> Vector:
        """Return where the curves of genomes would end, (genomes,)."""

    def speeds(self, units: Vector) -> Vector:
        """Return how fast they rise: the part of the way that is left falls by this factor in all steps, in e-folds."""
        return np.full(len(units), 4.0)

    def delays(self, units: Vector) -> Vector:
        """Return the share of the steps before they begin to rise."""
        return np.zeros(len(units))

    def prices(self, units: Vector) -> Vector:
        """Return what a step costs, (genomes,)."""
        return np.ones(len(units))

    def misfit(self, units: Vector) -> Vector:
        """Return how far genomes are from the optimum: 0 there, about 1 at random."""
        squared: Vector = ((units - self.optimum) ** 2) @ self.weights * 8.0
        return squared

    def units(self, genomes: Sequence[Genome]) -> Vector:
        """Return the places of the numbers in their ranges, (genomes, dimension); 0.5 for one that is not active."""
        numbers = [(name, gene) for name, gene in self.space.genes.items() if isinstance(gene, Number)]
        return np.array(
            [[gene.scale.to_unit(one[name]) if name in one else 0.5 for name, gene in numbers] for one in genomes]  # type: ignore[arg-type]  # a number
        )

    def curves(self, genomes: Sequence[Genome], steps: Vector) -> tuple[Vector, Vector]:
        units = self.units(genomes)
        since = np.maximum(0.0, steps[None] / STEPS - self.delays(units)[:, None])
        risen = 1 - np.exp(-self.speeds(units)[:, None] * since)
        values = CHANCE + (self.ends(units, genomes)[:, None] - CHANCE) * risen
        return values, self.prices(units)[:, None] * steps[None]


class Smooth(Generated):
    """One wide optimum; every step of every genome costs the same."""

    suite = "smooth"

    def ends(self, units: Vector, genomes: Sequence[Genome]) -> Vector:
        return CHANCE + (1 - CHANCE) * np.exp(-self.misfit(units))


class Plateau(Generated):
    """Two of eight genes matter. Most genomes learn nothing, a fifth half of it, and less than one in a hundred all."""

    suite = "plateau"
    dimension = 8

    def draw(self, rng: random.Random) -> None:
        self.keys = rng.sample(range(self.dimension), 2)
        self.late = rng.uniform(0.03, 0.12)

    def ends(self, units: Vector, genomes: Sequence[Genome]) -> Vector:
        first, second = (np.abs(units[:, key] - self.optimum[key]) for key in self.keys)
        learns = first < 0.1
        half = np.where(learns, 0.3 + 0.2 * (1 - first / 0.1), CHANCE)
        well = learns & (second < 0.025)
        ends: Vector = np.where(well, half + 0.4 + 0.1 * np.exp(-self.misfit(units)), half)
        return ends

    def delays(self, units: Vector) -> Vector:
        return np.full(len(units), self.late)


class Crossing(Generated):
    """Genomes with a high rate lead at first and end lower; those with a low one need all steps."""

    suite = "crossing"

    def ends(self, units: Vector, genomes: Sequence[Genome]) -> Vector:
        lost = 0.4 * units[:, 0] ** 2
        ends: Vector = CHANCE + (1 - CHANCE) * np.exp(-self.misfit(units) * 0.7) * (1 - lost)
        return ends

    def speeds(self, units: Vector) -> Vector:
        return 2.0 * 10 ** (1.2 * units[:, 0])


class Costs(Generated):
    """Larger networks are better, with diminishing returns, and a step of the largest costs a hundred times as much."""

    suite = "costs"

    def draw(self, rng: random.Random) -> None:
        self.gain = rng.uniform(0.15, 0.5)

    def ends(self, units: Vector, genomes: Sequence[Genome]) -> Vector:
        others = np.delete(units, 0, axis=1) - np.delete(self.optimum, 0)
        misfit = (others**2) @ np.delete(self.weights, 0) * 8.0
        ends: Vector = CHANCE + (1 - CHANCE) * np.exp(-misfit) * (1 - self.gain + self.gain * units[:, 0] ** 0.5)
        return ends

    def prices(self, units: Vector) -> Vector:
        prices: Vector = 100 ** units[:, 0]
        return prices


class Noisy(Generated):
    """Several optima of nearly the same height; the noise of a training is as large as their differences."""

    suite = "noisy"
    noise_of = 0.03

    def draw(self, rng: random.Random) -> None:
        self.hills = np.array([[rng.uniform(0.1, 0.9) for _ in range(self.dimension)] for _ in range(5)])
        self.heights = np.array([1.0, *(rng.uniform(0.85, 0.97) for _ in range(4))])

    def ends(self, units: Vector, genomes: Sequence[Genome]) -> Vector:
        squared = ((units[:, None] - self.hills[None]) ** 2) @ self.weights
        highest: Vector = (self.heights * np.exp(-10.0 * squared)).max(axis=1)
        return CHANCE + (1 - CHANCE) * highest


class Conditions(Generated):
    """A choice decides which other genes there are, and how good a genome can become."""

    suite = "conditions"
    choices = ("a", "b", "c")

    def genes(self) -> dict[str, Gene]:
        numbers: dict[str, Gene] = {f"x{place}": Float(0.0, 1.0) for place in range(self.dimension - len(self.choices))}
        own: dict[str, Gene] = {f"x_{name}": Float(0.0, 1.0, when={"kind": name}) for name in self.choices}
        return {"kind": Categorical(self.choices), **numbers, **own}

    def draw(self, rng: random.Random) -> None:
        heights = [1.0, rng.uniform(0.75, 0.9), rng.uniform(0.5, 0.7)]
        rng.shuffle(heights)
        self.height = dict(zip(self.choices, heights, strict=True))

    def ends(self, units: Vector, genomes: Sequence[Genome]) -> Vector:
        height = np.array([self.height[str(genome["kind"])] for genome in genomes])
        return CHANCE + (1 - CHANCE) * height * np.exp(-self.misfit(units))

    def speeds(self, units: Vector) -> Vector:
        return 3.0 + 3.0 * units[:, 0]


SUITES: tuple[type[Generated], ...] = (Smooth, Plateau, Crossing, Costs, Noisy, Conditions)


def generated_tasks() -> list[Generated]:
    """Return all tasks of all suites."""
    return [suite(number) for suite in SUITES for number in range(TASKS)]
