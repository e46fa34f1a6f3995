"""Values as people type them for `evo train`, with an option or as `--gene NAME=VALUE`, and as evo writes them."""

from __future__ import annotations

import json
import re
from contextlib import suppress

from evo.individual import GeneValue
from evo.space.genes.layers import NO_LAYERS
from evo.space.genes.values import number_in, tuple_in, value_text
from evo.space.training_settings import TrainingSettings

MODEL_OPTIONS = (
    *("hidden_layers", "channels", "block", "convolutions", "kernel_size", "residual", "activation", "dropout"),
    *("batch_norm", "batch_norm_place", "batch_norm_kind"),
)
"""The genes of models that `evo train` has an option for, in the order of its table's columns."""
OPTIONS = frozenset(MODEL_OPTIONS) | TrainingSettings.model_fields.keys() - {"image_size"}
"""All that it has an option for; other genes are given by `--gene`."""
FLAGS = ("batch_norm", "residual", "test_flip")
"""Those of them that are switched on by --NAME and off by --no-NAME."""

_LAYERS = re.compile(r"\d+(,\d+)+|\d+,", re.ASCII)


def read_typed(text: str) -> GeneValue:
    """Return the number, truth value, None, layer list or tuple that a text writes, or the text.

    A text in double quotes is always a text: "1" is not a number. One layer has a comma behind it: 64, is not a number.
    None is null, and a tuple may be a JSON list: no layers is [].
    """
    if text == "null":
        return None
    if text in ("true", "false"):
        return text == "true"
    if (number := number_in(text)) is not None:
        return number
    if _LAYERS.fullmatch(text):
        return tuple(int(width) for width in text.split(",") if width)
    if text.startswith('"'):
        with suppress(ValueError):
            if isinstance(quoted := json.loads(text), str):
                return quoted
    listed = tuple_in(text)
    return text if listed is None else listed


def typed(value: GeneValue) -> str:
    """Return the text that `read_typed` reads as this value, of this type."""
    if isinstance(value, tuple) and value and all(type(width) is int and width >= 0 for width in value):
        return ",".join(map(str, value)) + "," * (len(value) == 1)
    if value is None or isinstance(value, tuple):
        return value_text(value)
    if isinstance(value, str):
        return value if read_typed(value) == value else json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)


def option_words(name: str, value: GeneValue) -> list[str]:
    """Return the words that give a gene or setting this value in `evo train`."""
    if name not in OPTIONS or isinstance(value, bool) != (name in FLAGS):  # a user-defined model's gene of that name
        return ["--gene", f"{name}={typed(value)}"]
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{'' if value else 'no-'}{option}"]
    return [f"--{option}", (",".join(map(str, value)) or NO_LAYERS) if isinstance(value, tuple) else str(value)]
