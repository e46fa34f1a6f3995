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


@dataclass(frozen=True)
class Model:
    """What is known of a shipped model without building it.

    Attributes:
        genes: Those that it reads.
        required: Those that it cannot be built without.
        defaults: What stands for a gene that is missing, where other genes are read only for some of its values.
        workload: Counts what a training computes, from configuration, shape of the images and number of classes.
    """

    genes: frozenset[str]
    required: frozenset[str]
    workload: Callable[[Mapping[str, Any], workload.Shape, int], workload.Workload]
    defaults: Mapping[str, object] = field(default_factory=dict)


MODELS: dict[str, Model] = {
    "mlp": Model(
        frozenset({"hidden_layers", "activation", "dropout", "batch_norm", "batch_norm_kind"}),
        frozenset({"hidden_layers"}),
        workload.mlp,
        {"batch_norm": False},
    ),
    "cnn": Model(
        frozenset({"channels", "single_blocks", "batch_norm", "dropout"}),
        frozenset({"channels"}),
        workload.cnn,
    ),
    "numpy_mlp": Model(frozenset({"hidden_layers"}), frozenset({"hidden_layers"}), workload.numpy_mlp),
}
"""The shipped models by name; each is built by the module of that name."""

ACTIVATIONS = ("relu", "gelu", "silu", "tanh")
"""The activations that `mlp` knows."""

BATCH_NORM_KINDS = ("torch", "automatic", "manual")
"""The implementations of batch normalisation that `mlp` knows."""


class GeneRule(NamedTuple):
    """What a gene must be where it is read.

    Attributes:
        kinds: The kinds of gene, as a space file names them.
        low: The smallest number.
        high: The largest number.
        known: The texts that are known; empty where the values are not texts.
        below: What the numbers must stay below.
        reads: Another gene or setting, and its values where this gene is read; None where it always is.
    """

    kinds: tuple[str, ...]
    low: float = -math.inf
    high: float = math.inf
    known: tuple[str, ...] = ()
    below: float = math.inf
    reads: tuple[str, tuple[object, ...]] | None = None


GENE_RULES = {
    "hidden_layers": GeneRule(("layers",)),
    "channels": GeneRule(("layers",)),
    "single_blocks": GeneRule(("integer", "categorical"), low=0),
    "dropout": GeneRule(("float", "categorical"), low=0.0, high=1.0),
    "batch_norm": GeneRule(("boolean",)),
    "activation": GeneRule(("categorical",), known=ACTIVATIONS),
    "batch_norm_kind": GeneRule(("categorical",), known=BATCH_NORM_KINDS, reads=("batch_norm", (True,))),
}
"""What the genes of shipped models must be, by the gene's name."""


def builder_of(model: str) -> ModelBuilder:
    """Return the function that builds a shipped model."""
    build: ModelBuilder = importlib.import_module(f"evo.models.{model}").build
    return build
