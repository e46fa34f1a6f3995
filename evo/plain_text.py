"""Texts and JSON that may come from anybody: a terminal obeys control characters, so no run may hold any."""

from __future__ import annotations

import json
import re
from typing import Any

_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # control characters but tab and the ends of lines
    "\u202a-\u202e\u2066-\u2069"  # they turn the direction of what follows
    "\ud800-\udfff\ufffe\uffff]"  # halves of characters and none, which files cannot hold
)
_SUSPICIOUS = re.compile(
    rb"\\[bf]|\\u(00[01789]|20[26]|[dD][89a-fA-F]|[fF][fF][fF])|\x7f|\xc2[\x80-\x9f]|\xe2\x80|\xe2\x81|\xef\xbf|\xed"
)
"""What JSON that holds one has in it: looking at every text of every line of a journal would take long."""


def is_plain(text: str) -> bool:
    """Return whether a text holds no control character."""
    return _CONTROL.search(text) is None


def made_plain(text: str) -> str:
    """Return a text with a question mark in the place of every control character."""
    return _CONTROL.sub("?", text)


def read_json(content: bytes) -> Any:
    """Return the values of a JSON text.

    Raises:
        ValueError: It is none, has numbers that JSON lacks (NaN), nests without end, or holds control characters.
    """
    try:
        values = json.loads(content, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nests too deep") from None
    if _SUSPICIOUS.search(content) and (strange := _first_not_plain(values)) is not None:
        raise ValueError(f"control characters in {strange!r}")
    return values


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _first_not_plain(values: Any) -> str | None:
    """Return the first text in nested values, names included, that holds a control character."""
    if isinstance(values, str):
        return None if is_plain(values) else values
    if isinstance(values, dict):
        return _first_not_plain([*values.keys(), *values.values()])
    if isinstance(values, list):
        return next((found for value in values if (found := _first_not_plain(value)) is not None), None)
    return None
