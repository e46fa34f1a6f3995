"""What every kind of gene has in common: an active or inactive domain of values."""

from __future__ import annotations

import functools
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, ValidationError

from evo.errors import ConfigurationError
from evo.individual import GeneValue
from evo.space.settings import reworded

Scalar: TypeAlias = bool | int | Annotated[float, Field(allow_inf_nan=False)] | str
Condition: TypeAlias = dict[str, Scalar | list[Scalar]]
EXACT = 2**53
"""Up to here every whole number is a float, too."""
Rows: TypeAlias = npt.NDArray[np.intp]
Distances: TypeAlias = npt.NDArray[np.float64]
Positive: TypeAlias = Annotated[int, Field(ge=1, le=EXACT)]

Kind = TypeVar("Kind")

STRICT = ConfigDict(strict=True, extra="forbid")


class GeneError(ConfigurationError):
    """A gene that cannot be; `problems` words every mistake for the place where the gene stands."""

    def __init__(self, kind: str, error: ValidationError, fields: Sequence[str]):
        self.error, self.fields = error, fields
        super().__init__("\n".join(self.problems(kind)))

    def problems(self, path: str) -> list[str]:
        """Return one text a mistake, each beginning with its key path below `path`."""
        return reworded(self.error, path, self.fields)


def worded(kind: type[Kind]) -> type[Kind]:
    """Let a kind of gene say in our words what is wrong with its arguments: a decorator over pydantic's dataclass."""
    original = kind.__init__
    names = list(kind.__dataclass_fields__)  # type: ignore[attr-defined]  # every kind is a dataclass

    @functools.wraps(original)
    def __init__(self: Kind, *arguments: Any, **named: Any) -> None:  # noqa: N807
        try:
            original(self, *arguments, **named)
        except ValidationError as error:
            raise GeneError(kind.__name__, error, names) from None

    kind.__init__ = __init__  # type: ignore[assignment]  # same arguments
    return kind


class Gene(ABC):
    """One hyperparameter: the values it allows. Variation operators live in `evo.strategies.variation`."""

    when: Condition | None

    @abstractmethod
    def sample(self, rng: random.Random) -> GeneValue:
        """Draw a legal value."""

    @abstractmethod
    def contains(self, value: Any) -> bool:
        """Return whether `value` is legal: of the right type, in its bounds and on its grid."""

    @abstractmethod
    def repair(self, value: Any) -> GeneValue:
        """Return the legal value nearest to `value`, which has the right type.

        Raises:
            ValueError: Nothing legal is near: an unknown choice, a value of another type.
        """

    def distance(self, first: Any, second: Any) -> float:
        """Return how far two legal values are apart, in [0, 1]."""
        return self.apart(self.place(first), self.place(second))

    def place(self, value: Any) -> Any:
        """Return what `apart` takes for a legal value: worked out once where it is compared with many."""
        return value

    def apart(self, first: Any, second: Any) -> float:
        """Return how far two places are apart, in [0, 1]; values without an order are alike, or they are not."""
        return float(first != second)

    def all_apart(self, places: Sequence[Any], first: Rows, second: Rows) -> Distances:
        """Return `apart` of many pairs, to the last bit; a kind that has its own `apart` has its own of this, too.

        Args:
            places: Of as many values as one likes.
            first: Of each pair, the number of one place.
            second: Of each pair, the number of the other.
        """
        numbers: dict[Any, int] = {}
        alike = np.array([numbers.setdefault(place, len(numbers)) for place in places])
        return np.asarray(alike[first] != alike[second], dtype=float)

    @property
    @abstractmethod
    def points(self) -> float:
        """The number of legal values; infinite for a continuous gene."""

    @abstractmethod
    def describe(self) -> str:
        """Return the domain in words for tables and messages."""

    def to_text(self, value: Any) -> str:
        """Return `value` as it stands in a CSV cell; `from_text` is the inverse."""
        return str(value)

    @abstractmethod
    def from_text(self, text: str) -> GeneValue:
        """Read a value from a CSV cell."""

    def is_active(self, genome: Mapping[str, GeneValue]) -> bool:
        """Return whether the gene's condition holds in `genome` (that of no condition always does)."""
        for name, wanted in (self.when or {}).items():
            options = wanted if isinstance(wanted, list) else [wanted]
            if name not in genome or genome[name] not in options:
                return False
        return True
