"""The networks that evo ships, and what each reads from a configuration. Importing this package loads no torch.

A model is one file with a function `build(config, input_shape, classes)` that returns a `torch.nn.Module` taking images
of shape (batch, *input_shape) and returning logits of shape (batch, classes).
"""

from __future__ import annotations

import math
from typing import NamedTuple

MODEL_GENES: dict[str, frozenset[str]] = {
    "mlp": frozenset({"hidden_layers", "activation", "dropout", "batch_norm", "batch_norm_kind"}),
    "cnn": frozenset({"channels", "single_blocks", "batch_norm", "dropout"}),
    "numpy_mlp": frozenset({"hidden_layers"}),
}
"""The genes that each shipped model reads, by the model's name."""

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
    """

    kinds: tuple[str, ...]
    low: float = -math.inf
    high: float = math.inf
    known: tuple[str, ...] = ()


GENE_RULES = {
    "hidden_layers": GeneRule(("layers",)),
    "channels": GeneRule(("layers",)),
    "single_blocks": GeneRule(("integer", "categorical"), low=0),
    "dropout": GeneRule(("float", "categorical"), low=0.0, high=1.0),
    "batch_norm": GeneRule(("boolean",)),
    "activation": GeneRule(("categorical",), known=ACTIVATIONS),
    "batch_norm_kind": GeneRule(("categorical",), known=BATCH_NORM_KINDS),
}
"""What the genes of shipped models must be, by the gene's name."""

REQUIRED_GENES: dict[str, frozenset[str]] = {
    "mlp": frozenset({"hidden_layers"}),
    "cnn": frozenset({"channels"}),
    "numpy_mlp": frozenset({"hidden_layers"}),
}
"""The genes without which each shipped model cannot be built."""
