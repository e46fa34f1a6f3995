"""Starting worker processes that do not run the user's script again."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_main() -> Iterator[None]:
    """Hide the main module while processes are spawned.

    A spawned process imports the script that started it, which fails for scripts without an
    `if __name__ == "__main__":` guard and runs imports that a worker of ours never needs. Nothing that is sent to such
    a worker may be defined in the main module.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
