"""Texts and JSON from any source: terminals obey control characters, so a run must not contain any.

Values and exceptions of user code become texts here, too: whatever their own methods do, there is a text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

CELL_LENGTH, SHOWN_LENGTH = 500, 300

_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # control characters except tab and line ends
    "\u202a-\u202e\u2066-\u2069"  # they change the direction of the text after them
    "\ud800-\udfff\ufffe\uffff]"  # surrogates and non-characters, which files cannot hold
)
_SUSPICIOUS = re.compile(
    rb"\\[bf]|\\u(00[01789]|20[26]|[dD][89a-fA-F]|[fF][fF][fF])|\x7f|\xc2[\x80-\x9f]|\xe2\x80|\xe2\x81|\xef\xbf|\xed"
)
"""Occurs in any JSON that contains one: checking every text of every line of a journal would take too long."""


def is_plain(text: str) -> bool:
    """Return whether a text contains no control characters."""
    return _CONTROL.search(text) is None


def made_plain(text: str) -> str:
    """Return a text with a question mark in place of every control character."""
    return _CONTROL.sub("?", text)


def text_of(value: object, write: Callable[[Any], str] = str) -> str:
    """Return the text that a value of user code gives of itself, as one that can be written anywhere.

    Args:
        value: Any object; its methods may raise, or return no text.
        write: `str` or `repr`.
    """
    try:
        text = str.__str__(write(value))  # of exactly this type: another may have methods of its own
    except KeyboardInterrupt:
        raise
    except BaseException as problem:
        text = f"<{_type_name(value)}: {_type_name(problem)} while its text was made>"
    return made_plain(text)


def cell_text(text: str) -> str:
    """Return a text as a table's cell: one short line without control characters."""
    return made_plain(" ".join(text[: 4 * CELL_LENGTH].split()))[:CELL_LENGTH]


def shown(value: object) -> str:
    """Return what messages call a value of user code."""
    return cell_text(text_of(value, repr))[:SHOWN_LENGTH]


def reason_of(problem: BaseException) -> str:
    """Return an exception as the text of a table's cell."""
    return cell_text(f"{_type_name(problem)}: {text_of(problem)}")


_NAME = type.__dict__["__name__"]
"""The name that a class really has: a metaclass may give another, or none."""


def _type_name(value: object) -> str:
    return str.__str__(_NAME.__get__(type(value)))[:SHOWN_LENGTH]


def read_json(content: bytes) -> Any:
    """Return the values of a JSON text.

    Raises:
        ValueError: It is not JSON, has numbers that JSON lacks (NaN), is nested too deep, or contains control
            characters.
    """
    try:
        values = json.loads(content, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if _SUSPICIOUS.search(content) and (strange := _first_not_plain(values)) is not None:
        raise ValueError(f"control characters in {strange!r}")
    return values


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _first_not_plain(values: Any) -> str | None:
    """Return the first text in nested values, including names, that contains a control character."""
    if isinstance(values, str):
        return None if is_plain(values) else values
    if isinstance(values, dict):
        return _first_not_plain([*values.keys(), *values.values()])
    if isinstance(values, list):
        return next((found for value in values if (found := _first_not_plain(value)) is not None), None)
    return None
