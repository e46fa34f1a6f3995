"""Search spaces for tests: one with every kind of gene, and random ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from evo.errors import ConfigurationError
from evo.individual import Genome
from evo.space import SearchSpace
from evo.space.conditions import condition_problems
from evo.space.genes import Boolean, Categorical, Float, Gene, Integer, Layers, Number
from evo.space.genes.conditions import Comparison

NUMBERS: dict[str, Gene] = {
    "rate": Float(1e-5, 1e-1, log=True),
    "shift": Float(-0.3, 0.9),
    "fixed_rate": Float(0.1, 0.1),
    "batch": Integer(7, 1000, log=True),
    "count": Integer(-5, 6),
    "fixed_count": Integer(3, 3),
}
GRIDS: dict[str, Gene] = {
    "momentum": Float(-0.3, 0.9, step=0.1),
    "third": Float(1 / 3, 2.0, step=0.25),
    "decay": Float(0.5, 8.0, log=True, step=0.5),
    "coarse": Integer(-5, 6, step=4),
    "steps": Integer(200, 4050, log=True, step=100),
}
LAYERS: dict[str, Gene] = {
    "layers": Layers(depth=(1, 5), width=(16, 1024), log=True),
    "stepped": Layers(depth=(1, 4), width=(10, 95), step=10),
    "log_stepped": Layers(depth=(2, 4), width=(8, 64), step=8, log=True),
    "same_width": Layers(depth=(1, 3), width=(5, 5)),
    "fixed_layers": Layers(depth=(2, 2), width=(5, 5)),
    "listed": Layers(choices=[(5000,), (1000, 500), (1000, 10, 10)]),
    "only_listed": Layers(choices=[(1, 2)]),
    "or_none": Layers(depth=(0, 3), width=(2, 64), log=True),
    "none_or_same": Layers(depth=(0, 2), width=(5, 5)),
    "no_layers": Layers(depth=(0, 0), width=(1, 9)),
    "listed_or_none": Layers(choices=[(), (8,), (8, 4)]),
}
CONDITIONS: dict[str, Gene] = {
    "alpha": Integer(1, 4, when={"dropout_kind": ["alpha", 2]}),  # stands before the gene that it depends on
    "use_dropout": Boolean(),
    "dropout": Float(0.05, 0.6, when={"use_dropout": True}),
    "dropout_kind": Categorical(["alpha", "channel", 2], when={"use_dropout": True}),
    "alpha_layers": Layers(depth=(2, 3), width=(4, 8), when={"alpha": [2, 3, 4], "use_dropout": True}),
    "only": Categorical(["adam"]),
    "adam_beta": Float(0.8, 0.999, when={"only": "adam"}),
}
VALUES: dict[str, Gene] = {
    "mixer": Categorical([None, "mean", 1]),
    "only_none": Categorical([None]),
    "kernel": Categorical([(3, 3), (5, (1, None)), (), "3,3", None]),
    "maybe": Categorical([None, (1, 2)], when={"mixer": [None, 1]}),
    "of_none": Float(0.0, 1.0, when={"mixer": None}),
    "of_tuple": Integer(1, 9, when={"kernel": (5, (1, None))}),
    "of_tuples": Boolean(when={"kernel": [(3, 3), None]}),
}
COMPARISONS: dict[str, Gene] = {
    "deep": Boolean(when={"blocks": ">= 2"}),  # stands before the gene that it depends on
    "blocks": Integer(0, 3),
    "first": Float(0.0, 1.0, when={"blocks": "!=0"}),
    "late": Categorical(["a", None], when={"first": "> 0.5"}),
    "huge": Integer(1, 10**6, log=True),
    "small": Layers(depth=(0, 2), width=(1, 8), when={"huge": "<= 1000"}),
    "size": Categorical([32, 64, 0.5], when={"huge": "> 10"}),
    "large": Boolean(when={"size": ">= 32"}),
    "sign": Categorical([">= 2", "< 1", 3]),
    "exact": Boolean(when={"sign": ">= 2"}),
}
PARTS = {
    **{"numbers": NUMBERS, "grids": GRIDS, "layers": LAYERS, "conditions": CONDITIONS},
    **{"values": VALUES, "comparisons": COMPARISONS},
}


def space_of_every_kind() -> SearchSpace:
    """Every kind of gene, on linear and log scales, with and without grids, conditions three deep, comparisons."""
    return SearchSpace({name: gene for part in PARTS.values() for name, gene in part.items()})


def tiny_space(points: int = 1) -> SearchSpace:
    """One integer gene of so many values."""
    return SearchSpace({"x": Integer(1, points)})


def smooth_space() -> SearchSpace:
    """A space whose optimum for `smooth_fitness` is known: 0, inside the bounds."""
    return SearchSpace(
        {
            "layers": Layers(depth=(1, 4), width=(8, 256), log=True),
            "rate": Float(1e-5, 1e-1, log=True),
            "batch": Integer(16, 512, log=True),
            "tanh": Boolean(),
        }
    )


def smooth_fitness(genome: Genome) -> float:
    """At most 0, for layers (64, 32), rate 1e-3, batch 64 and no tanh."""
    best: Genome = {"layers": (64, 32), "rate": 1e-3, "batch": 64, "tanh": False}
    space = smooth_space()
    return -sum(space.genes[name].distance(genome[name], value) ** 2 for name, value in best.items())


_bounds = st.tuples(st.integers(-1000, 1000), st.integers(0, 1000)).map(lambda pair: (pair[0], sum(pair)))
_positive = st.tuples(st.integers(1, 1000), st.integers(0, 1000)).map(lambda pair: (pair[0], sum(pair)))
_small = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(lambda pair: (pair[0], sum(pair)))
_texts = st.text("abcxyz ,;\"'é=-", min_size=1, max_size=5)
_read_as_others = st.sampled_from(["0", "1", "0.5", "1.0", "007", "1e3", "inf", "None", "NA", "nan", "-1", "True"])
"""Texts that pandas turns into numbers, truth values or empty cells."""
_scalars = st.one_of(_texts, _read_as_others, st.integers(-5, 5), st.sampled_from([0.5, 1e-3, 2**53 + 1, True]))
_choices = st.recursive(st.none() | _scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)


@st.composite
def integers(draw: st.DrawFn, **more: Any) -> Integer:
    log = draw(st.booleans())
    low, high = draw(_positive if log else _bounds)
    return Integer(low, high, log=log, step=draw(st.none() | st.integers(1, 300)), **more)


@st.composite
def floats(draw: st.DrawFn, **more: Any) -> Float:
    log = draw(st.booleans())
    low, high = draw(_positive if log else _bounds)
    unit = draw(st.sampled_from([1.0, 0.1, 1 / 3, 1e-5]))
    step = draw(st.none() | st.integers(1, 300))
    return Float(low * unit, high * unit, log=log, step=step * unit if step else None, **more)


@st.composite
def categoricals(draw: st.DrawFn, **more: Any) -> Categorical:
    choices = draw(st.lists(_choices, min_size=1, max_size=4, unique_by=(str, lambda c: c)))
    try:
        return Categorical(choices, **more)
    except ConfigurationError:  # 1 and "1.0", for example, cannot be told apart in a CSV file
        return Categorical([f"choice {number}" for number in range(len(choices))], **more)


@st.composite
def layer_lists(draw: st.DrawFn, **more: Any) -> Layers:
    if draw(st.booleans()):
        lists = st.lists(st.integers(1, 5000), max_size=4).map(tuple)
        return Layers(choices=draw(st.lists(lists, min_size=1, max_size=4, unique=True)), **more)
    step = draw(st.none() | st.integers(1, 300))
    return Layers(depth=draw(_small), width=draw(_positive), log=draw(st.booleans()), step=step, **more)


def numbers(**more: Any) -> st.SearchStrategy[Integer | Float]:
    return integers(**more) | floats(**more)


def genes(**more: Any) -> st.SearchStrategy[Gene]:
    """A gene of any kind."""
    return numbers(**more) | categoricals(**more) | layer_lists(**more) | st.just(Boolean(**more))


@st.composite
def _conditions(draw: st.DrawFn, gene: Gene) -> Any:
    """One value, several, or a comparison that holds for some values."""
    values = [gene.sample(draw(st.randoms(use_true_random=False))) for _ in range(2)]
    one = values[0]
    comparisons = [f"{sign} {one}" for sign in ("<=", ">=", "==", "!=", "<", ">")] if isinstance(gene, Number) else []
    possible = [text for text in comparisons if not condition_problems(Comparison(text), gene)]
    if isinstance(gene, Float):
        return draw(st.sampled_from(possible))
    return draw(st.sampled_from([one, list(dict.fromkeys(values)), *possible]))


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """A random space of one to six genes, each perhaps active only for some values of those before it."""
    found: dict[str, Gene] = {}
    for number in range(draw(st.integers(1, 6))):
        names = [name for name, gene in found.items() if not isinstance(gene, Layers)]
        names = [name for name in names if not isinstance(found[name], Float) or found[name].points > 1]
        when: dict[str, Any] = {}
        for name in draw(st.lists(st.sampled_from(names), max_size=2, unique=True)) if names else []:
            when[name] = draw(_conditions(found[name]))
        found[f"gene_{number}"] = draw(genes(when=when) if when else genes())
    return SearchSpace(found)
