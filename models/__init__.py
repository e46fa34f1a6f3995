"""The networks that evo ships, and what each reads from a configuration. Importing this package loads no torch.

A model is one file with a function `build(config, input_shape, classes)` that returns a `torch.nn.Module` taking images
of shape (batch, *input_shape) and returning logits of shape (batch, classes).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from evo.models import workload

if TYPE_CHECKING:
    from torch import nn

ModelBuilder: TypeAlias = "Callable[[Mapping[str, Any], workload.Shape, int], nn.Module]"


class GeneRule(NamedTuple):
    """What a gene must be where it is read.

    Attributes:
        kinds: The kinds of gene, as a space file names them.
        low: The smallest number; of layer lists, the fewest layers.
        high: The largest number.
        below: What the numbers must stay below.
        known: The values that are known; empty where every value of the kind is.
        reads: Other genes or settings, each with its values where this gene is read.
    """

    kinds: tuple[str, ...]
    low: float = -math.inf
    high: float = math.inf
    below: float = math.inf
    known: tuple[object, ...] = ()
    reads: tuple[tuple[str, tuple[object, ...]], ...] = ()


@dataclass(frozen=True)
class Model:
    """What is known of a shipped model without building it.

    Attributes:
        genes: Those that it reads, each with its rule.
        required: Those that it cannot be built without.
        workload: Counts what a training computes, from configuration, shape of the images and number of classes.
        defaults: What stands for a gene that is missing, where other genes are read only for some of its values.
    """

    genes: Mapping[str, GeneRule]
    required: frozenset[str]
    workload: Callable[[Mapping[str, Any], workload.Shape, int], workload.Workload]
    defaults: Mapping[str, object] = field(default_factory=dict)


ACTIVATIONS = ("relu", "gelu", "silu", "tanh")
BATCH_NORM_KINDS = ("torch", "automatic", "manual")
BATCH_NORM_PLACES = ("layer", "activation")
"""Before what `mlp` normalises."""
BLOCKS = ("classic", "pooled")
MOST_CONVOLUTIONS = 8
KERNEL_SIZES = (1, 3, 5, 7)

_LAYERS = GeneRule(("layers",))
_BLOCKS = GeneRule(("layers",), low=1)
"""Without a block, `cnn` would see only the mean of each channel."""
_DROPOUT = GeneRule(("float", "categorical"), low=0.0, high=1.0)
_ACTIVATION = GeneRule(("categorical",), known=ACTIVATIONS)
_BOOLEAN = GeneRule(("boolean", "categorical"), known=(True, False))
_WITH_BATCH_NORM = (("batch_norm", (True,)),)
_POOLED = ("block", ("pooled",))

MODELS: dict[str, Model] = {
    "mlp": Model(
        {
            "hidden_layers": _LAYERS,
            "activation": _ACTIVATION,
            "dropout": _DROPOUT,
            "batch_norm": _BOOLEAN,
            "batch_norm_place": GeneRule(("categorical",), known=BATCH_NORM_PLACES, reads=_WITH_BATCH_NORM),
            "batch_norm_kind": GeneRule(("categorical",), known=BATCH_NORM_KINDS, reads=_WITH_BATCH_NORM),
            "residual": _BOOLEAN,
        },
        frozenset({"hidden_layers"}),
        workload.mlp,
        {"batch_norm": False},
    ),
    "cnn": Model(
        {
            "channels": _BLOCKS,
            "block": GeneRule(("categorical",), known=BLOCKS),
            "single_blocks": GeneRule(("integer", "categorical"), low=0, reads=(("block", ("classic",)),)),
            "convolutions": GeneRule(("integer", "categorical"), low=1, high=MOST_CONVOLUTIONS, reads=(_POOLED,)),
            "kernel_size": GeneRule(("categorical",), known=KERNEL_SIZES, reads=(_POOLED,)),
            "residual": _BOOLEAN._replace(reads=(_POOLED, ("convolutions", tuple(range(2, MOST_CONVOLUTIONS + 1))))),
            "activation": _ACTIVATION,
            "batch_norm": _BOOLEAN,
            "dropout": _DROPOUT,
        },
        frozenset({"channels"}),
        workload.cnn,
        {"block": "classic", "convolutions": 2},
    ),
    "numpy_mlp": Model({"hidden_layers": _LAYERS}, frozenset({"hidden_layers"}), workload.numpy_mlp),
}
"""The shipped models by name; each is built by the module of that name."""


def builder_of(model: str) -> ModelBuilder:
    """Return the function that builds a shipped model."""
    build: ModelBuilder = importlib.import_module(f"evo.models.{model}").build
    return build
