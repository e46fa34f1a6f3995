"""Which classes a network takes for which: counts of images, as journals hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from evo.numbers import whole_number

Confusion: TypeAlias = tuple[tuple[int, int, int], ...]
"""Label, predicted label, and how many images; pairs without an image are left out."""


def confusion_from_json(entries: Any) -> Confusion:
    """Return the counts that JSON holds.

    Raises:
        TypeError, ValueError: It holds something else.
    """
    return tuple(
        (whole_number("label", label), whole_number("prediction", predicted), whole_number("images", images, 1))
        for label, predicted, images in entries
    )


def class_name(classes: Sequence[str], label: int) -> str:
    """Return the name of a label; a network may have more outputs than there are classes."""
    return str(classes[label]) if label < len(classes) else f"output {label}"
