"""Labels as people have them, texts or numbers, as indices of classes and the names of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from evo.errors import ConfigurationError
from evo.plain_text import escaped

Values: TypeAlias = npt.NDArray[Any]

MOST_NAMED = 10
"""How many classes an error names."""
MISSING = ("None", "nan", "NaN", "NaT", "<NA>")
"""What the objects that stand for a missing label are written as."""
UNBALANCED = 3
"""Classes are called unbalanced if the largest has more than so many times the images of the smallest."""
REGRESSION = (
    "evo trains classifiers. To predict numbers, train in a function of your own: evo.search(space, objective=…); "
    "labels that are classes are whole numbers or texts, as y.astype(int) makes them"
)


def checked_labels(name: str, values: Values, count: int) -> Values:
    """Return labels of one kind, whole numbers or texts, shape `(count,)`.

    Args:
        name: What messages call them, as "y_train".
        values: As they were given.
        count: How many there must be.

    Raises:
        ConfigurationError: They are something else.
    """
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        hint = "; one-hot labels become classes by y.argmax(axis=1)" if values.ndim == 2 else ""
        raise ConfigurationError(f"{name}: must have one label per example, shape (n,), got {values.shape}{hint}")
    if len(values) != count:
        raise ConfigurationError(f"{name}: has {len(values):,} labels for the {count:,} examples of {_examples(name)}")
    if values.dtype.kind in "OT":
        values = _of_one_kind(name, values)
    if values.dtype.kind in "fc":
        raise ConfigurationError(f"{name}: the target is a float ({_some(values)}); {REGRESSION}")
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "backslashreplace")
    if values.dtype.kind not in "biuU":
        raise ConfigurationError(f"{name}: labels must be whole numbers or texts, got {values.dtype}")
    return values


def class_indices(parts: Mapping[str, Values]) -> tuple[tuple[str, ...], dict[str, npt.NDArray[np.int64]]]:
    """Return the names of the classes, in their order, and the labels of each part as indices of these.

    The classes are those of the training part: numbers in ascending order, texts by the alphabet.

    Args:
        parts: Checked labels by the name of their part: "train", "test", and perhaps "validation".

    Raises:
        ConfigurationError: The parts have labels of different kinds or other classes, or there is only one class.
    """
    kinds = {part: "texts" if values.dtype.kind == "U" else "numbers" for part, values in parts.items()}
    for part, kind in kinds.items():
        if kind != kinds["train"]:
            raise ConfigurationError(
                f"the labels of the training part are {kinds['train']}, those of the {part} part are {kind}"
            )
    known = np.unique(parts["train"])
    if len(known) < 2:
        raise ConfigurationError(f"all training labels are {_named(known)}: a classifier needs at least two classes")
    _check_same_classes(known, {part: np.unique(values) for part, values in parts.items()})
    names = tuple(escaped(str(value)) for value in known.tolist())
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ConfigurationError(f"several classes are shown as {twice[0]}; rename one of them")
    return names, {part: np.searchsorted(known, values).astype(np.int64) for part, values in parts.items()}


def unbalanced_note(labels: npt.NDArray[np.int64], classes: Sequence[str]) -> str:
    """Return a note where the largest class has many times the images of the smallest; "" elsewhere.

    Args:
        labels: Of the training part.
        classes: Their names.
    """
    counts = np.bincount(labels, minlength=len(classes))
    most, least = int(counts.argmax()), int(counts.argmin())
    if counts[most] <= UNBALANCED * counts[least]:
        return ""
    return (
        f'note: the classes are unbalanced: {counts[most]:,} training examples of "{classes[most]}", '
        f'{counts[least]:,} of "{classes[least]}"; --fitness balanced_accuracy gives each class the same weight, and '
        "evo report shows the accuracy of each"
    )


def _of_one_kind(name: str, values: Values) -> Values:
    """Return an array of Python objects as one of texts or of numbers."""
    missing = [row for row, value in enumerate(values) if str(value) in MISSING]
    if missing:
        raise ConfigurationError(f"{name}: {len(missing):,} labels are missing, the first in row {missing[0]}")
    kinds = {"texts" if isinstance(value, str | bytes) else "numbers" for value in values}
    if len(kinds) > 1:
        raise ConfigurationError(
            f"{name}: some labels are texts and some are not ({_some(values)}); make them one kind"
        )
    try:
        return np.array(values.tolist())
    except ValueError as error:
        raise ConfigurationError(f"{name}: labels must be whole numbers or texts ({error})") from None


def _check_same_classes(known: Values, found: Mapping[str, Values]) -> None:
    lines = []
    for part, values in found.items():
        if len(unknown := np.setdiff1d(values, known)):
            lines.append(f"only in {part}: {_named(unknown)}")
        # A validation part is measured while searching: what it lacks, the test still shows.
        if part == "test" and len(missing := np.setdiff1d(known, values)):
            lines.append(f"not in test: {_named(missing)}")
    if lines:
        raise ConfigurationError(
            "\n".join(
                [
                    "the training part and the others have different classes",
                    *lines,
                    "give both parts examples of every class; data that are sorted by class must be mixed before they "
                    "are divided",
                ]
            )
        )


def _named(values: Values) -> str:
    names = [escaped(str(value)) for value in values[:MOST_NAMED].tolist()]
    return ", ".join(names) + (f" and {len(values) - MOST_NAMED:,} more" if len(values) > MOST_NAMED else "")


def _some(values: Values) -> str:
    return ", ".join(escaped(str(value)) for value in values[:3].tolist()) + (", …" if len(values) > 3 else "")


def _examples(name: str) -> str:
    return name.replace("y_", "x_", 1)
