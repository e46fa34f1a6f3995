"""Texts and JSON from any source: terminals obey control characters, and spreadsheets compute some cells.

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
_NOT_IN_A_NAME = re.compile(f"{_CONTROL.pattern}|[\t\n\r\u2028\u2029]")
_SUSPICIOUS = re.compile(
    rb"\\[bf]|\\u(00[01789]|20[26]|[dD][89a-fA-F]|[fF][fF][fF])|\x7f|\xc2[\x80-\x9f]|\xe2\x80|\xe2\x81|\xef\xbf|\xed"
)
"""Occurs in any JSON that contains one: checking every text of every line of a journal would take too long."""

FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet compute a cell that begins so; the last four are full-width."""


def is_plain(text: str) -> bool:
    """Return whether a text contains no control characters."""
    return _CONTROL.search(text) is None


def made_plain(text: str) -> str:
    """Return a text with a question mark in place of every control character."""
    return _CONTROL.sub("?", text)


def inert(text: str) -> str:
    """Return a text as a CSV file of evo holds it: with an apostrophe in front where a spreadsheet would compute it."""
    # OWASP, "CSV Injection": these first characters make a spreadsheet compute the cell. A carriage return ends a row
    # for a spreadsheet, and what follows would be a cell's beginning. The full-width signs are equals, plus, minus and
    # at where East Asian text is typed.
    shown = text.replace("\r", " ")
    return f"'{shown}" if text.startswith(FORMULA_BEGINS) else shown


def without_apostrophe(text: str) -> str:
    """Return a cell of such a file without the apostrophe that `inert` has put in front."""
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA_BEGINS) else text


def escaped(text: str) -> str:
    r"""Return a name as one plain line: control characters and bytes that are not UTF-8 become escapes, as "\x1b"."""
    return _NOT_IN_A_NAME.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


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
        text = f"<{type_name(value)}: {type_name(problem)} while its text was made>"
    return made_plain(text)


def cell_text(text: str) -> str:
    """Return a text as a table's cell: one short line without control characters."""
    return made_plain(" ".join(text[: 4 * CELL_LENGTH].split()))[:CELL_LENGTH]


def shown(value: object) -> str:
    """Return what messages call a value of user code."""
    return cell_text(text_of(value, repr))[:SHOWN_LENGTH]


def reason_of(problem: BaseException) -> str:
    """Return an exception as the text of a table's cell."""
    return cell_text(f"{type_name(problem)}: {text_of(problem)}")


_NAME = type.__dict__["__name__"]
"""The name that a class really has: a metaclass may give another, or none."""


def type_name(value: object) -> str:
    """Return the name of a value's class."""
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
    if _SUSPICIOUS.search(content) and (strange := first_not_plain(values)) is not None:
        raise ValueError(f"control characters in {strange!r}")
    return values


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def first_not_plain(values: Any) -> str | None:
    """Return the first text in nested values, including names, that contains a control character; None if none does."""
    if isinstance(values, str):
        return None if is_plain(values) else values
    if isinstance(values, dict):
        return first_not_plain([*values.keys(), *values.values()])
    if isinstance(values, list | tuple):
        return next((found for value in values if (found := first_not_plain(value)) is not None), None)
    return None
