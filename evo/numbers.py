"""Numbers that come from outside: checked where they enter; their means and deviations never overflow."""

from __future__ import annotations

import contextlib
import math
import numbers
import statistics
import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from evo.errors import ConfigurationError
from evo.plain_text import shown

LARGEST = sys.float_info.max
LARGEST_WHOLE = 2**53 - 1
"""Up to here every whole number is also a float, so that every reader of JSON and CSV files keeps it."""


def whole_number(name: str, value: Any, least: int = 0, most: int = LARGEST_WHOLE) -> int:
    """Return a whole number that someone gave, as an int: Python's, NumPy's or torch's.

    Args:
        name: What it was given for.
        value: What was given.
        least: The smallest that is allowed.
        most: The largest that is allowed.

    Raises:
        ConfigurationError: It is something else, such as 2.5 or True, or out of bounds.
    """
    number = None
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        with contextlib.suppress(TypeError, ValueError):  # NumPy calls a length of time a whole number
            number = int(value)
    if number is None or number < least:
        raise ConfigurationError(f"{name}: must be a whole number of at least {least}, got {value!r}")
    if number > most:
        shown = number if number < 10**20 else "a larger one"  # Python refuses to write thousands of digits
        raise ConfigurationError(f"{name}: must be at most {most}, got {shown}")
    return number


def positive_number(name: str, value: Any) -> float:
    """Return a finite number above zero that someone gave, as a float.

    Args:
        name: What it was given for.
        value: What was given.

    Raises:
        ConfigurationError: It is something else.
    """
    number = math.nan
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:  # a whole number larger than every float
            number = math.inf
        except (TypeError, ValueError):  # a length of time, see `whole_number`
            number = math.nan
    if not 0 < number < math.inf:
        shown = "infinity" if number == math.inf else repr(value)
        raise ConfigurationError(f"{name}: must be a number above 0, got {shown}; leave it out for no bound")
    return number


TIMES = ("m", "M")
"""NumPy's kinds of times: their numbers say nothing without the unit."""


class NoNumberError(Exception):
    """User code has given something that is not a finite number; the text says what, and what was expected."""


def number_of(value: Any) -> float:
    """Return the finite number that user code has given.

    It may be any real number, a Decimal, or an array or tensor of one number and no dimension, as torch's losses are.

    Raises:
        NoNumberError: It is not a number, several numbers, or not finite.
        Exception: What the value's own methods raise.
    """
    number = value
    if hasattr(value, "shape") and hasattr(value, "tolist"):
        if shape := tuple(value.shape):
            raise NoNumberError(f"{shown(value)} of the shape {shape}, expected one number")
        if getattr(getattr(value, "dtype", None), "kind", "") in TIMES:
            raise NoNumberError(f"{shown(value)}, expected a number")
        number = value.detach() if hasattr(value, "detach") else value  # torch warns of a gradient that is lost
        number = number.tolist()  # a masked value becomes None
    if isinstance(number, bool) or not isinstance(number, numbers.Real | Decimal):
        raise NoNumberError(f"{shown(value)}, expected a number")
    found = float(number)
    if not math.isfinite(found):
        raise NoNumberError(f"{found}, expected a finite number")
    return found


def number_text(value: float, digits: int = 4) -> str:
    """Return a number as people read it: 0.5350; 1.2e-05 or -3.1e+200 where decimals say nothing or too much.

    What is infinite or unknown is a dash.
    """
    if not math.isfinite(value):
        return "–"
    plain = value == 0 or 10 ** (1 - digits) <= abs(value) < 1e5
    return f"{abs(value) if value == 0 else value:.{digits}f}" if plain else f"{value:.{digits}g}"


def mean(values: Sequence[float]) -> float:
    """Return the mean of finite numbers, at least one. It lies between the smallest and the largest of them.

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("no values have no mean")
    try:
        return math.fsum(values) / len(values)
    except OverflowError:  # the sum is too large for a float, the mean is not
        largest = max(map(abs, values))
        return math.fsum(value / largest for value in values) / len(values) * largest


def deviation(values: Sequence[float], *, of_sample: bool = False) -> float:
    """Return the standard deviation of finite numbers; the largest float where it is larger than that.

    Args:
        values: At least one number; two for the deviation of a sample.
        of_sample: Divide by one less than their number, to estimate the deviation of what they are a sample of.

    Raises:
        statistics.StatisticsError: There are too few values.
    """
    try:
        return statistics.stdev(values) if of_sample else statistics.pstdev(values)
    except OverflowError:
        return LARGEST
