"""Genes in a form that can be drawn and compared: numbers or categories; a layer list as its depth and its units."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from evo.individual import GeneValue
from evo.space import SearchSpace
from evo.space.genes import Boolean, Categorical, Gene, Integer, Layers, Number
from evo.space.genes.values import is_empty

Floats: TypeAlias = npt.NDArray[np.float64]

INACTIVE = "inactive"
DRAWABLE = 1e307
"""The largest number that a figure shows: matplotlib computes with differences and margins, which must be floats."""


class Feature(NamedTuple):
    """One column of numbers that stands for a gene, or for a part of it.

    Attributes:
        gene: The gene's name.
        label: What an axis says.
        values: One number per evaluation: the gene's value, or the place of its category; nan where it is inactive.
        log: Whether the gene varies in log space.
        whole: Whether the numbers are whole.
        categories: The names of the categories by their place; empty for a number.
    """

    gene: str
    label: str
    values: Floats
    log: bool = False
    whole: bool = False
    categories: tuple[str, ...] = ()

    @property
    def scaled(self) -> Floats:
        """The values, their logarithm where the gene varies in log space."""
        # The 2019 report's algorithm leaves the bounds: zero has no logarithm.
        return np.log(np.where(self.values > 0, self.values, np.nan)) if self.log else self.values

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the greatest of the values; with some room where they are equal."""
        finite = self.values[np.isfinite(self.scaled)]
        if not len(finite):
            return (1.0, 2.0) if self.log else (0.0, 1.0)
        low, high = float(finite.min()), float(finite.max())
        if low < high:
            return low, high
        room = max(0.5, 1e-9 * abs(low))  # beside a large number, a half is nothing
        return (low / 1.5, high * 1.5) if self.log else (low - room, high + room)


def features_of(space: SearchSpace, table: pd.DataFrame) -> list[Feature]:
    """Return the features of a search space's genes.

    Args:
        space: The search space.
        table: One row per evaluation, with a column per gene.
    """
    return [feature for name, gene in space.genes.items() for feature in _features(name, gene, table[name])]


def floats(cells: pd.Series[Any]) -> Floats:
    """Return a column of numbers as floats that can be drawn, nan where a cell is empty."""
    values = cells.astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    return np.clip(np.asarray(values, dtype=np.float64), -DRAWABLE, DRAWABLE)


def _features(name: str, gene: Gene, cells: pd.Series[Any]) -> list[Feature]:
    if isinstance(gene, Layers):
        layers = [None if is_empty(cell) else gene.from_cell(cell) for cell in cells]
        depth = np.array([np.nan if widths is None else len(widths) for widths in layers], dtype=float)
        units = np.array([np.nan if widths is None else sum(widths) for widths in layers], dtype=float)
        depths = Feature(name, f"{name}: depth", depth, whole=True)
        # No layers have no units, and zero has no logarithm.
        return [depths, Feature(name, f"{name}: units", units, log=gene.shortest > 0, whole=True)]
    if isinstance(gene, Number):
        return [Feature(name, name, floats(cells), gene.log, isinstance(gene, Integer))]
    if isinstance(gene, Boolean | Categorical):
        choices = (False, True) if isinstance(gene, Boolean) else gene.choices
        places: dict[GeneValue, int] = {choice: place for place, choice in enumerate(choices)}
        codes = [np.nan if _is_inactive(gene, cell) else places[gene.from_cell(cell)] for cell in cells]
        texts = tuple(map(gene.to_text, choices))
        return [Feature(name, name, np.array(codes, dtype=float), whole=True, categories=texts)]
    return []


def _is_inactive(gene: Gene, cell: Any) -> bool:
    """Return whether a cell stands for an inactive gene, not for None; see `evo.record.tables`."""
    is_choice = isinstance(gene, Categorical) and None in gene.choices
    return is_empty(cell) and not (is_choice and (cell is None or gene.when is None))
