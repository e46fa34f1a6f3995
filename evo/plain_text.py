"""Which texts may be shown: a terminal obeys control characters, and a run folder may come from anybody."""

from __future__ import annotations

import re
from typing import Any

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters but tab and the ends of lines, and halves of characters, which cannot be written."""


def is_plain(text: str) -> bool:
    """Return whether a text holds no control character."""
    return _CONTROL.search(text) is None


def made_plain(text: str) -> str:
    """Return a text with a question mark in the place of every control character."""
    return _CONTROL.sub("?", text)


def first_not_plain(values: Any) -> str | None:
    """Return the first text in nested JSON values, names included, that holds a control character."""
    if isinstance(values, str):
        return None if is_plain(values) else values
    if isinstance(values, dict):
        return first_not_plain([*values.keys(), *values.values()])
    if isinstance(values, list):
        return next((found for value in values if (found := first_not_plain(value)) is not None), None)
    return None
