"""Worker processes: how many there may be, and how to start them without the user's script and its signals."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def without_main() -> Iterator[None]:
    """Hide the main module while processes are spawned.

    A spawned process imports the script that started it, which fails for scripts without an
    `if __name__ == "__main__":` guard and runs imports that our workers never need. Nothing that is sent to such a
    worker may be defined in the main module.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Let processes that are started in this context ignore Ctrl-C and SIGUSR1 from their first instruction on.

    A terminal sends Ctrl-C to every process of a job, and a scheduler SIGUSR1; the parent decides what happens to the
    workers. An ignored signal stays ignored across an exec, and Python leaves it ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may change a handler
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def die_with_parent() -> None:
    """Let this spawned process end as soon as its parent has ended, even by SIGKILL and in the middle of its work."""
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def end(process: BaseProcess) -> None:
    """End a process at once, in the middle of its work."""
    if process.is_alive():
        process.kill()
    process.join()


def refuse_in_worker(hint: str) -> None:
    """End a spawned process that runs the user's script again, which is about to start workers itself."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(f"evo: this script starts workers when it is imported{hint}")
