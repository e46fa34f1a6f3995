"""The networks that evo ships, and what each reads from a configuration. Importing this package loads no torch.

A model is one file with a function `build(config, input_shape, classes)` that returns a `torch.nn.Module` taking images
of shape (batch, *input_shape) and returning logits of shape (batch, classes).
"""

from __future__ import annotations

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

REQUIRED_GENES: dict[str, frozenset[str]] = {
    "mlp": frozenset({"hidden_layers"}),
    "cnn": frozenset({"channels"}),
    "numpy_mlp": frozenset({"hidden_layers"}),
}
"""Those without which it cannot be built."""
