"""What every kind of gene has in common: an active or inactive domain of values."""

from __future__ import annotations

import functools
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, PlainValidator, ValidationError

from evo.errors import ConfigurationError
from evo.individual import GeneValue
from evo.space.genes.conditions import condition, meets
from evo.space.genes.values import as_python, gene_value
from evo.space.settings import reworded

Choice: TypeAlias = Annotated[Any, PlainValidator(gene_value)]
Condition: TypeAlias = dict[str, Annotated[Any, PlainValidator(condition)]]
EXACT = 2**53
"""Up to here every whole number is also a float."""
Rows: TypeAlias = npt.NDArray[np.intp]
Distances: TypeAlias = npt.NDArray[np.float64]
Positive: TypeAlias = Annotated[int, Field(ge=1, le=EXACT)]

Kind = TypeVar("Kind")

STRICT = ConfigDict(strict=True, extra="forbid")


class GeneError(ConfigurationError):
    """A gene with impossible arguments; `problems` names every mistake with the key path of the gene."""

    def __init__(self, kind: str, error: ValidationError, fields: Sequence[str]):
        self._mistakes = reworded(error, "", fields)
        super().__init__("\n".join(self.problems(kind)))

    def problems(self, path: str) -> list[str]:
        """Return one text per mistake; each begins with its key path below `path`."""
        return [path + mistake for mistake in self._mistakes]


def worded(kind: type[Kind]) -> type[Kind]:
    """Decorate a kind of gene, a pydantic dataclass: it takes NumPy's values, and raises `GeneError` for wrong ones."""
    original = kind.__init__
    names = list(kind.__dataclass_fields__)  # type: ignore[attr-defined]  # every kind is a dataclass

    @functools.wraps(original)
    def __init__(self: Kind, *arguments: Any, **named: Any) -> None:  # noqa: N807
        try:
            original(self, *map(as_python, arguments), **as_python(named))
        except ValidationError as error:
            raise GeneError(kind.__name__, error, names) from None

    kind.__init__ = __init__  # type: ignore[assignment]  # same arguments
    return kind


class Gene(ABC):
    """One hyperparameter: the values it allows. Variation operators live in `evo.strategies.variation`."""

    type: str
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
        """Return the distance of two legal values, in [0, 1]."""
        return float(self.apart([self.place(first), self.place(second)], np.array([0]), np.array([1]))[0])

    def place(self, value: Any) -> Any:
        """Return what `apart` takes for a legal value; computed once for a value that is compared with many."""
        return value

    def apart(self, places: Sequence[Any], first: Rows, second: Rows) -> Distances:
        """Return the distances of many pairs, in [0, 1]; for values without an order, 0 if they are equal, else 1.

        Args:
            places: The places of all values, see `place`.
            first: For each pair, the index of one place.
            second: For each pair, the index of the other.
        """
        codes: dict[Any, int] = {}
        coded = np.array([codes.setdefault(place, len(codes)) for place in places])
        return np.asarray(coded[first] != coded[second], dtype=float)

    @property
    @abstractmethod
    def points(self) -> float:
        """The number of legal values; infinite for a continuous gene."""

    @abstractmethod
    def describe(self) -> str:
        """Return the domain in words for tables and messages."""

    def to_text(self, value: Any) -> str:
        """Return the text of `value` in a CSV cell; `from_cell` is the inverse."""
        return str(value)

    @abstractmethod
    def from_cell(self, cell: Any) -> GeneValue:
        """Return the value that a table's cell stands for: of `run.table`, of its CSV file, or as pandas reads that.

        Raises:
            ValueError: It stands for no value of this kind, or for more than one.
        """

    def is_active(self, genome: Mapping[str, GeneValue]) -> bool:
        """Return whether the gene's condition holds in `genome`; without a condition, a gene is always active.

        Conditions on tuples, and comparisons, hold only for the genes of a search space: it knows the genes they ask.
        """
        return all(name in genome and meets(genome[name], wanted) for name, wanted in (self.when or {}).items())
