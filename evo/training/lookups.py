"""Which genes a user-defined model reads: only its own code knows, so it is watched while it builds a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Lookups(dict[str, Any]):
    """A configuration that remembers which of its genes were asked for.

    Attributes:
        names: Their names; all of them once the whole configuration was read.
    """

    def __init__(self, config: dict[str, Any]):
        super().__init__(config)
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.names.add(str(name))
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a gene, or the default."""
        self.names.add(name)
        return super().get(name, default)

    def pop(self, name: str, *default: Any) -> Any:
        """Remove and return a gene, or return the default."""
        self.names.add(name)
        return super().pop(name, *default)

    def __iter__(self) -> Iterator[str]:  # also asked by dict(config) and f(**config)
        self.names |= set(super().keys())
        return super().__iter__()

    def keys(self) -> Any:
        """Return all names."""
        self.names |= set(super().keys())
        return super().keys()

    def values(self) -> Any:
        """Return all values."""
        self.names |= set(super().keys())
        return super().values()

    def items(self) -> Any:
        """Return all genes."""
        self.names |= set(super().keys())
        return super().items()

    def copy(self) -> dict[str, Any]:
        """Return all genes as a dict."""
        return dict(self.items())

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.copy()
