"""Worker processes: how to start them without the user's script and its signals, and how to end all that they start."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from evo.control_group import cores_allowed

THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    *("BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"),
)
"""What numerical libraries read, once, when they are imported."""
PARENT_SECONDS = 1.0
"""How often a worker asks whether its parent lives: a process that the parent has forked may keep a pipe open."""
_GUARD = 'exec 3<&0 >/dev/null 2>&1; (trap "" HUP INT TERM; read -r line <&3; kill -s KILL -- "-$0") &'
"""For a shell: wait until no process can write to its input any more, then end the group of the given process."""

_held: set[int] = set()


def hold(descriptor: int) -> None:
    """Keep an open file to this process: those that are forked from it close it at once.

    A lock, or the end of a pipe that shows whether this process lives, would otherwise last as long as they do.
    """
    _held.add(descriptor)


def holds(descriptor: int) -> bool:
    """Return whether this process has opened a file for itself; a forked process has closed it already."""
    return descriptor in _held


def let_go(descriptor: int) -> None:
    """Forget a file that is about to be closed."""
    _held.discard(descriptor)


def _close_held() -> None:
    while _held:
        with suppress(OSError):
            os.close(_held.pop())


os.register_at_fork(after_in_child=_close_held)


def lead_group() -> None:
    """Make this process the leader of a group of its own, which ends with it.

    All that it starts belongs to the group, unless it asks for another. A guard ends the group however the leader ends,
    even by SIGKILL; another does when the leader's parent ends, even if the leader cannot run a thread then, because
    something holds Python's lock. They are in the group too, and not children of the leader, which may wait for all of
    its children. A group in a session of its own is never stopped for writing to a terminal or setting it.
    """
    with suppress(PermissionError):  # it leads one already
        os.setsid()
    ours, alive = os.pipe()
    hold(alive)
    parent = multiprocessing.parent_process()
    with suppress(OSError):  # no shell: then only those end the group who end this process
        command = ["/bin/sh", "-c", _GUARD, str(os.getpid())]
        for end_of_pipe in (ours, *([parent.sentinel] if parent is not None else [])):
            subprocess.run(command, stdin=end_of_pipe, check=False)  # noqa: S603  # a fixed command
    os.close(ours)


def end_group(leader: int | None) -> None:
    """Kill a process that leads a group, and its whole group; nothing if it leads none."""
    if leader is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)


def threads_asked_for() -> int:
    """Return how many threads the environment gives to numerical libraries; one if it says nothing."""
    return next((number for name in THREAD_VARIABLES if (number := _threads_in(os.environ.get(name, "")))), 1)


def _threads_in(text: str) -> int | None:
    """Return the number of threads that a variable asks for, of several levels the first; None if it asks for none."""
    number = text.partition(",")[0].strip()
    return int(number) if number.isdecimal() and 0 < int(number) <= 4096 else None


@contextmanager
def threads_of_children(count: int | None) -> Iterator[None]:
    """Let processes that are started in this context use so many threads each; None leaves it to the environment.

    Libraries take as many threads as there are cores, each in each process. A variable that asks for the same number
    stays as it is; one that asks for another would make a library use more than the run records.
    """
    if count is None:
        yield
        return
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update({name: str(count) for name, value in before.items() if _threads_in(value or "") != count})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def usable_cores() -> int:
    """Return how many cores this process may use; a share of a core counts as one."""
    try:
        count = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # another system than Linux, or one that does not tell
        count = os.cpu_count() or 1
    return max(1, min(count, math.ceil(min(cores_allowed(), count))))


def private_memory(pid: int | None) -> float:
    """Return the bytes of a process that it shares with no other and that are on no disk; 0 if that is not known."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("RssAnon:"):
                return float(line.split()[1]) * 1024
    return 0.0


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


@contextmanager
def noting_interrupts(note: Callable[[], None]) -> Iterator[None]:
    """Call `note` at each Ctrl-C in this context, before that does what it does anyway.

    A framework may catch it and ignore Ctrl-C from then on (Lightning does). After this context it acts as before.
    """
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    noted = False

    def handle(number: int, frame: types.FrameType | None) -> None:
        nonlocal noted
        noted = True
        note()
        before(number, frame)

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        now = signal.getsignal(signal.SIGINT)
        if now is handle or (noted and now is signal.SIG_IGN):
            signal.signal(signal.SIGINT, before)


def die_with_parent() -> None:
    """Let this spawned process, and the group that it leads, end as soon as its parent has ended, whatever it does."""
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    # A process that was forked from the parent may keep the sentinel open.
    while not wait([parent.sentinel], PARENT_SECONDS) and os.getppid() == parent.pid:
        pass
    end_group(os.getpid())
    os._exit(1)


def end(process: BaseProcess) -> None:
    """End a process, and the group that it leads, at once: in the middle of its work."""
    end_group(process.pid)
    if process.is_alive():  # it leads no group, or not yet
        process.kill()
    process.join()


def refuse_in_worker(hint: str) -> None:
    """End a spawned process that runs the user's script again, which is about to start workers itself."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(f"evo: this script starts workers when it is imported{hint}")
