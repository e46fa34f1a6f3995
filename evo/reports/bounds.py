"""Where the best genome of a search lies on a bound of the space, so that better ones may lie beyond."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from evo.individual import DURATION, GeneValue
from evo.models import MODELS
from evo.record.run import Run
from evo.space.file import shipped_spaces
from evo.space.genes import Layers, Number
from evo.space.training_settings import TRAINING_GENES
from evo.strategies import STRATEGIES

NEAR = 0.01
"""A value counts as on a bound if it is closer than this, as a part of the gene's range on its scale."""


class AtBound(NamedTuple):
    """A number of a genome that lies on a bound.

    Attributes:
        name: Of the gene, with what of it where it is a list of layers.
        value: In the genome.
        side: "upper" or "lower".
        bound: The bound.
    """

    name: str
    value: float
    side: str
    bound: float

    @property
    def is_exact(self) -> bool:
        """Whether the value is the bound itself."""
        return self.value == self.bound


def at_bounds(run: Run, config: Mapping[str, GeneValue]) -> list[AtBound]:
    """Return which numbers of a configuration lie on a bound that can be moved.

    A bound that no space can move says nothing: a share of 0, one layer, a side of 32 pixels. The rules of the model
    and of the training say where such limits are. For other genes, a lowest of 0, a lowest whole number of 1 and a
    highest real number of 1 count as limits, unless the scale is logarithmic. A gene with two values is never on a
    bound, and neither is the length of a training where the strategy decides it.
    """
    limits, fixed = _limits(run), DURATION if _decides_duration(run) else ()
    found: list[AtBound] = []
    for name, value in config.items():
        if name in fixed:
            continue
        gene = run.space.genes.get(name)
        if isinstance(gene, Number) and isinstance(value, int | float):
            found += _of_number(name, gene, value, limits.get(name) or _usual_limits(gene))
        elif isinstance(gene, Layers) and isinstance(value, tuple) and gene.choices is None:
            found += _of_layers(name, gene, value)
    return found


def _decides_duration(run: Run) -> bool:
    """Return whether the strategy of a run decides how long to train: then the best is trained for the most steps."""
    strategy = STRATEGIES.get(run.settings.strategy)
    return strategy is not None and "continuations" in strategy.options


def bounds_text(run: Run) -> str:
    """Return in words where the best genome of a search lies on bounds, and what to do; empty if it does not."""
    found = at_bounds(run, run.best.config)
    if not found:
        return ""
    where = [
        f"{entry.name} {_text(entry.value)} ({entry.side} bound{'' if entry.is_exact else f' {_text(entry.bound)}'})"
        for entry in found
    ]
    bounds, them = ("a bound", "it") if len(found) == 1 else ("bounds", "them")
    name = run.settings.space_name
    file = f" in its file (evo spaces --show {name})" if name in shipped_spaces() else ""
    return (
        f"The best genome lies on {bounds} of the space: {', '.join(where)}. Better ones may lie beyond: widen "
        f"{them}{file}."
    )


def _of_number(name: str, gene: Number, value: float, limits: tuple[float, float]) -> Iterator[AtBound]:
    if gene.points <= 2:
        return
    place = gene.scale.to_unit(value)
    lowest, highest = limits
    if (value <= gene.low or place <= NEAR) and gene.low > lowest:
        yield AtBound(name, value, "lower", gene.low)
    if (value >= gene.scale.high or place >= 1 - NEAR) and gene.scale.high < highest:
        yield AtBound(name, value, "upper", gene.scale.high)


def _of_layers(name: str, gene: Layers, value: tuple[int, ...]) -> Iterator[AtBound]:
    if gene.longest - gene.shortest > 1:
        if len(value) >= gene.longest:
            yield AtBound(f"depth of {name}", len(value), "upper", gene.longest)
        if len(value) <= gene.shortest and gene.shortest > 1:
            yield AtBound(f"depth of {name}", len(value), "lower", gene.shortest)
    for width in dict.fromkeys((max(value), min(value))) if value else ():
        yield from _of_number(f"a width of {name}", gene.widths, width, (1, math.inf))


def _limits(run: Run) -> dict[str, tuple[float, float]]:
    """Return what genes cannot go below or above, by the rules of what reads them and by the size of the images."""
    settings = run.settings
    if settings.objective is not None:
        return {}
    model = MODELS.get(settings.model or "")
    rules = {**TRAINING_GENES, **(model.genes if model is not None else {})}
    limits = {name: (rule.low, rule.high) for name, rule in rules.items()}
    shape: list[int] = (settings.dataset or {}).get("image_shape", [])
    if len(shape) == 3:
        side = min(shape[1:])
        for name, most in (("cutout", side), ("crop_padding", side - 1)):
            limits[name] = (limits[name][0], most)
    return limits


def _usual_limits(gene: Number) -> tuple[float, float]:
    if gene.log:
        return -math.inf, math.inf
    whole = gene.type == "integer"
    lowest = gene.low if gene.low in ((0, 1) if whole else (0,)) else -math.inf
    return lowest, (1 if not whole and gene.high == 1 else math.inf)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value:,}"
