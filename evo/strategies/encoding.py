"""Genomes as vectors of fixed length, for models that predict fitness from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from evo.space import SearchSpace
from evo.space.genes import Boolean, Categorical, Gene, Layers, Number

ABSENT, INACTIVE = -0.25, 0.5
"""What stands for a layer that is not there, and for the value of a gene that is not active."""

Vectors = npt.NDArray[np.float64]


class Encoder:
    """Turns genomes of a space into vectors, their parts about [0, 1].

    A number becomes its place in its (log) range, a choice one column for each, a layer list its depth, its size, and
    the widths by depth. A gene with a condition has a column that says whether it is active.

    Attributes:
        groups: For each column the number of what it belongs to: a gene, or the depth and size of a layer list.
    """

    def __init__(self, space: SearchSpace):
        self._genes = dict(space.genes)
        self.groups: list[int] = []
        for gene in self._genes.values():
            self.groups += [(self.groups[-1] + 1 if self.groups else 0) + group for group in _groups(gene)]

    def column(self, name: str) -> int:
        """Return the place of a gene's first column."""
        before = list(self._genes)[: list(self._genes).index(name)]
        return sum(len(_groups(self._genes[other])) for other in before)

    def encode(self, genomes: Sequence[Mapping[str, Any]]) -> Vectors:
        """Return one row a genome, (genomes, columns)."""
        rows = [
            [part for name, gene in self._genes.items() for part in _columns(gene, genome, name)] for genome in genomes
        ]
        return np.array(rows, dtype=np.float64)


def _groups(gene: Gene) -> list[int]:
    """Return the groups of a gene's columns, from 0."""
    if isinstance(gene, Layers):
        return [0, 0, *[1] * gene.longest, *[1] * (gene.when is not None)]
    count = len(gene.choices) if isinstance(gene, Categorical) else 1
    return [0] * (count + (gene.when is not None))


def _columns(gene: Gene, genome: Mapping[str, Any], name: str) -> list[float]:
    active = name in genome  # None may be a choice
    value: Any = genome.get(name)
    flag = [float(active)] if gene.when is not None else []
    if isinstance(gene, Number):
        return [gene.scale.to_unit(value) if active else INACTIVE, *flag]
    if isinstance(gene, Boolean):
        return [float(value) if active else INACTIVE, *flag]
    if isinstance(gene, Categorical):
        # Two choices are as far apart as the ends of a number's range.
        return [*(math.sqrt(0.5) * (active and value == choice) for choice in gene.choices), *flag]
    if isinstance(gene, Layers):
        return [*_layer_columns(gene, value or ()), *flag]
    raise TypeError(f"no encoding is known for genes of kind {type(gene).__name__}")


def _layer_columns(gene: Layers, layers: Sequence[int]) -> list[float]:
    every = [width for choice in gene.choices or (gene.width or (1, 1),) for width in choice]
    low, high = math.log(min(every, default=1)), math.log(max(every, default=1))
    places = [(math.log(width) - low) / (high - low) if high > low else 0.5 for width in layers]
    # Products of neighbours: about the number of parameters, which the widths one by one do not show.
    size = sum(a + b for a, b in pairwise(places)) / max(1, 2 * (gene.longest - 1))
    return [len(layers) / max(1, gene.longest), size, *places, *[ABSENT] * (gene.longest - len(places))]
