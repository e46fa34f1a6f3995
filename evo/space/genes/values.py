"""Values from outside as Python's own, with nothing lost: what users give, and what table cells have become."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Iterable, Mapping, MappingView, Set
from typing import Any

import numpy as np

from evo.plain_text import read_json, without_apostrophe

NO_ORDER = (
    "must be a list: a set has no order, and Python may give its items another one in each run; give sorted({…}) "
    "or write them as a list"
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_INFINITY = re.compile(r"[+-]?inf(inity)?", re.ASCII | re.IGNORECASE)
_SET_ITERATOR: type = type(iter(set()))
READ_AS_EMPTY = frozenset(
    {
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
        *("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    }
)
"""The texts that `pandas.read_csv` takes for an empty cell."""


def as_python(value: Any) -> Any:
    """Return values of NumPy, and of subclasses of Python's types, as Python's own; what has no equal stays as it is.

    Arrays become lists; items of lists, tuples and dictionaries are converted too.
    """
    if isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray):
        return [as_python(item) for item in value] if value.ndim else as_python(value[()])
    if isinstance(value, list | tuple):
        return type(value)(map(as_python, value)) if type(value) in (list, tuple) else tuple(map(as_python, value))
    if isinstance(value, dict):
        return {as_python(key): as_python(item) for key, item in value.items()}
    return _python_scalar(value)


def _python_scalar(value: Any) -> Any:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, str):
        return str.__str__(value)  # str() of a text of an enumeration would be its name
    if isinstance(value, int) or (isinstance(value, np.integer) and not isinstance(value, np.timedelta64)):
        return operator.index(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, np.floating):  # a long double may have more digits than a float
        return float(value) if float(value) == value or math.isnan(value) else value
    if type(value).__name__ in ("NAType", "NaTType"):  # of pandas, which this module does not load
        return None
    return value


def ordered(value: Any) -> Any:
    """Return the items of a collection as a list, in an order that is the same in every run.

    Raises:
        ValueError: It is a set, whose order depends on the hash seed, or no collection.
    """
    if isinstance(value, _SET_ITERATOR) or (isinstance(value, Set) and not isinstance(value, MappingView)):
        raise ValueError(f"{NO_ORDER}; got {value!r}")
    value = as_python(value)
    is_table = getattr(value, "ndim", 1) != 1  # whose items are the names of its columns
    if isinstance(value, str | bytes | bytearray | memoryview | Mapping) or is_table or not isinstance(value, Iterable):
        raise ValueError(f"must be a list, got {value!r}")
    try:
        return [as_python(item) for item in value]
    except TypeError as error:
        raise ValueError(f"must be a list, got {value!r} ({error})") from None


# Values of genes that are neither numbers nor texts.


def is_none_table(value: Any) -> bool:
    """Return whether a value is `{ none = true }`, as a space file writes None: TOML has no null."""
    return isinstance(value, Mapping) and [*value.items()] == [("none", True)] and value["none"] is True


def as_value(value: Any) -> Any:
    """Return a value that a file or a program gives a gene: lists are tuples, and `{ none = true }` is None."""
    if isinstance(value, list | tuple):
        return tuple(map(as_value, value))
    return None if is_none_table(value) else value


def as_written(value: Any) -> Any:
    """Return a value as a space file holds it; `as_value` is the inverse."""
    if isinstance(value, list | tuple):
        return list(map(as_written, value))
    return {"none": True} if value is None else value


def gene_value(given: Any) -> Any:
    """Return a value that may be a choice of a gene.

    Raises:
        ValueError: It is none; tuples may hold others.
    """
    value = as_value(as_python(given))
    if isinstance(value, tuple):
        return tuple(map(gene_value, value))
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"must be a text, a finite number, true, false, none or a tuple of these, got {given!r}")


def alike(first: Any, second: Any) -> bool:
    """Return whether two values are equal and of the same types, in depth: 1, 1.0 and True only compare equal."""
    if type(first) is not type(second):
        return False
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(alike, first, second))
    return bool(first == second)


def value_text(value: Any) -> str:
    """Return the text of a choice in a CSV cell: null for None, a JSON list for a tuple."""
    return json.dumps(value, ensure_ascii=False) if value is None or isinstance(value, tuple) else str(value)


def tuple_in(text: str) -> tuple[Any, ...] | None:
    """Return the tuple that a JSON list in a text stands for, or None."""
    if not text.lstrip().startswith("["):
        return None
    try:
        value = as_value(read_json(text.encode()))
    except ValueError:
        return None
    return value if isinstance(value, tuple) else None


def toml_value(value: Any) -> str:
    """Return a value as TOML writes it; every digit of a number is there."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{name} = {toml_value(item)}' for name, item in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, str):  # JSON's escapes are TOML's
        return json.dumps(value, ensure_ascii=False)
    return toml_value(as_written(value)) if value is None else repr(value).lower()


# Cells.


def is_empty(cell: Any) -> bool:
    """Return whether a cell of a table is empty: None, an empty text, or what pandas or NumPy put there."""
    value = as_python(cell)
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, str):
        return value == ""
    return value is None


def number_in(text: str) -> int | float | None:
    """Return the finite number that a text writes, or None; unlike `float`, it takes neither 1_0 nor １."""
    stripped = text.strip()
    if not _NUMBER.fullmatch(stripped):
        return None
    try:
        return int(stripped)
    except ValueError:  # not whole, or of thousands of digits
        return float(stripped)


def read_as(text: str) -> bool | int | float | None:
    """Return what pandas makes of a text in a CSV file, unless it stays a text (None)."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return float(text) if _INFINITY.fullmatch(text) else number_in(text)


def as_float(value: float) -> float:
    """Return a number as a float; infinity where it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def cell_number(cell: Any) -> int | float:
    """Return the finite number in a cell.

    Raises:
        ValueError: There is none.
    """
    value = as_python(cell)
    number = number_in(without_apostrophe(value)) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(as_float(number)):
        raise ValueError(f"expected a finite number, got {value!r}")
    return number


def whole(number: float) -> int:
    """Return a whole number as an int.

    Raises:
        ValueError: It is not whole.
    """
    if number != int(number):
        raise ValueError(f"expected a whole number, got {number!r}")
    return int(number)


def could_be(choice: Any, cell: Any) -> bool:
    """Return whether a cell, read from a CSV file by pandas or from text, may stand for a choice of a gene.

    pandas turns the column 0, 0.5 into 0.0, 0.5, a text "1" into 1, and a text "None" into an empty cell.
    """
    if is_empty(cell) and cell != "":
        return choice is None or (isinstance(choice, str) and choice in READ_AS_EMPTY)
    if choice is None or isinstance(choice, tuple):
        return isinstance(cell, str) and isinstance(choice, tuple) and alike(tuple_in(cell), choice)
    if isinstance(cell, str) and isinstance(choice, str):
        return False
    first, second = (read_as(value) if isinstance(value, str) else value for value in (choice, cell))
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if first is None or second is None or not isinstance(second, int | float):
        return False
    return bool(first == second) or (isinstance(second, float) and as_float(first) == second)
