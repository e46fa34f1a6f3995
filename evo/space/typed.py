"""Gene values as people type them, in `evo train --gene NAME=VALUE`, and as evo writes such a command."""

from __future__ import annotations

import json
import re
from contextlib import suppress

from evo.individual import GeneValue
from evo.space.genes.values import number_in

_LAYERS = re.compile(r"\d+(,\d+)+|\d+,", re.ASCII)


def read_typed(text: str) -> GeneValue:
    """Return the number, truth value or layer list that a text writes, or the text.

    A text in double quotes is always a text: "1" is not a number. One layer has a comma behind it: 64, is not a number.
    """
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
    return text


def typed(value: GeneValue) -> str:
    """Return the text that `read_typed` reads as this value, of this type."""
    if isinstance(value, tuple):
        return ",".join(map(str, value)) + "," * (len(value) == 1)
    if isinstance(value, str):
        return value if read_typed(value) == value else json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)
