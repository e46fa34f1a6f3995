"""The journal: an append-only, checksummed, locked record of every event of a run. Everything else follows from it.

One line an event: `{"checksum":"…","event":{…}}`. The checksum is the first 16 hexadecimal digits of the SHA-256 of the
event's text. Events are numbered, so that a missing or repeated line is noticed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from evo.errors import RunError, StorageError
from evo.files import append, create_to_append, cut, sync
from evo.plain_text import read_json
from evo.processes import hold, holds, let_go

FORMAT = 4
"""Of new journals; older ones are resumed in their own.

Format 2 adds continued trainings: `Individual.until`. Format 3 adds which classes are confused: `Evaluation.confusion`,
also in the events of tests. Format 4 adds genes that are None or tuples of any values, lists without layers, the status
"earlier", what running trainings report (the event `reports`), infeasible evaluations and named measures
(`Evaluation.violation`, `Evaluation.named`), and failed evaluations that are tried again (the event
`retry`; in a journal of an older format it comes after a resume that writes `retries` into settings.json, so that older
versions say "update evo", too). The event `finalists` may have `seeds` and `ended_early`
in every format: a version that ignores them takes the run for unfinished, and its resume trains what it misses.
"""
CONFUSION = 3
"""The first format that holds which classes are confused."""
REPORTS = 4
"""The first format that holds what running trainings report."""
_HEAD = b'{"checksum":"'
_MIDDLE = b'","event":'
_DIGITS = 16
LOCK_PAUSES = (0.01, 0.04, 0.0)
"""Seconds between attempts to take the lock: a process that only asks whether it is taken holds it for microseconds."""

Event = dict[str, Any]


class Journal:
    """A run's events, in memory or in a file.

    Attributes:
        events: All of them, in order.
        path: The file; None keeps the journal in memory.
        torn: Whether the file ended in the middle of a line when it was read: it is being written, or was cut off.
    """

    def __init__(self, path: Path | None = None):
        self.path = path
        self.events: list[Event] = []
        self._descriptor: int | None = None
        self._read_to = 0
        self._broken: StorageError | None = None
        self.torn = False

    @classmethod
    def create(cls, path: Path | None, **facts: Any) -> Journal:
        """Start a new journal and lock it.

        Args:
            path: The file; None keeps the journal in memory.
            **facts: What its first event holds beside the format.

        Raises:
            StorageError: It cannot be created, or exists.
        """
        journal = cls(path)
        if path is not None:
            journal._descriptor = create_to_append(path)
            hold(journal._descriptor)
        try:
            if path is not None and journal._descriptor is not None:
                _lock(journal._descriptor, path)
                sync(path.parent)
            journal.append({"kind": "start", "format": FORMAT, **facts})
        except BaseException:
            journal.close()
            raise
        return journal

    @classmethod
    def read(cls, path: Path) -> Journal:
        """Read a journal without locking it, except for a line that is still being written.

        Raises:
            RunError: The journal is missing, damaged, or of a newer format.
        """
        journal = cls(path)
        journal._load(_content(path))
        return journal

    @classmethod
    def open(cls, path: Path, warn: Callable[[str], None]) -> Journal:
        """Open a journal for writing, and lock it.

        An incomplete last line, as a crash leaves behind, is cut off; `warn` is told.

        Raises:
            RunError: The journal is missing, damaged, of a newer format, or another process is writing it.
        """
        journal = cls(path)
        journal._descriptor = _open_to_append(path)
        try:
            _lock(journal._descriptor, path)
            content = _content(path)
            kept = journal._load(content)
            if kept < len(content):
                warn(f"{path}: the last line was cut off in the middle and is dropped ({len(content) - kept} bytes)")
                cut(journal._descriptor, kept, path)
        except BaseException:
            journal.close()
            raise
        return journal

    @property
    def format(self) -> int:
        """The format that it began in, and is written in."""
        return int(self.events[0]["format"])

    def read_new(self) -> list[Event]:
        """Return the events that another process has added since `read` or the last call; see `read`."""
        if self.path is None:
            return []
        known = len(self.events)
        self._load(_content(self.path, self._read_to))
        return self.events[known:]

    def append(self, event: Event) -> None:
        """Add an event; it is on disk when this returns.

        Raises:
            StorageError: The event cannot be written, or an earlier one could not: the file may then end in half a
                line, and only reading it again tells.
            RunError: The journal was opened for reading, or is closed.
        """
        event = {"number": len(self.events), **event}
        if self._broken is not None:
            raise self._broken
        if self.path is not None:
            if self._descriptor is None or not holds(self._descriptor):
                raise RunError(f"{self.path}: the journal was opened for reading only, or by another process")
            line = _encode(event)
            try:
                append(self._descriptor, line, self.path)
            except BaseException as error:
                # Also Ctrl-C: the line may be there in part or whole, and only reading it again tells.
                interrupted = StorageError(f"{self.path}: was interrupted while it was written; resume the run")
                self._broken = error if isinstance(error, StorageError) else interrupted
                raise
        self.events.append(event)

    def close(self) -> None:
        """Release the lock; the journal can still be read."""
        if self._descriptor is not None:
            _close(self._descriptor)
            self._descriptor = None

    def _load(self, content: bytes) -> int:
        """Add the events of a file; return the number of bytes of its whole lines."""
        kept = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:kept].splitlines(keepends=True), start=len(self.events)):
            event = _decode(line)
            if event is None or event.get("number") != number:
                raise self._damaged(number)
            if number == 0 and event.get("format") not in range(1, FORMAT + 1):
                raise RunError(
                    f"{self.path}: has format {event.get('format')}, this version of evo reads formats 1 to {FORMAT}; "
                    "update evo"
                )
            self.events.append(event)
        if _decode(content[kept:-1] + b"\n") is not None:
            raise self._damaged(len(self.events))  # whole except for its end, so it was not being written
        self._read_to += kept
        self.torn = kept < len(content)
        if not self.events:
            raise RunError(f"{self.path}: is empty; the run never began, or the file was damaged: start it again")
        return kept

    def _damaged(self, number: int) -> RunError:
        return RunError(
            f"{self.path}: line {number + 1} is damaged: its checksum or number does not fit. "
            "Nothing was changed; restore the file from a copy"
            + (", or delete that line and all after it to resume from there." if number > 0 else ".")
        )


def _encode(event: Event) -> bytes:
    return _line(json.dumps(event, separators=(",", ":"), allow_nan=False).encode())


def _line(body: bytes) -> bytes:
    return b"".join((_HEAD, hashlib.sha256(body).hexdigest()[:_DIGITS].encode(), _MIDDLE, body, b"}\n"))


def _decode(line: bytes) -> Event | None:
    """Return the event of a line, or None if the line is not exactly as evo writes it."""
    body = line[len(_HEAD) + _DIGITS + len(_MIDDLE) : -2]
    if line != _line(body):
        return None
    try:
        event = read_json(body)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _content(path: Path, start: int = 0) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read()
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None


def _open_to_append(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except OSError as error:
        raise RunError(f"{path}: cannot be opened for writing: {error.strerror}") from None
    hold(descriptor)
    return descriptor


def _close(descriptor: int) -> None:
    """Release the lock of a file and close it; nothing in a process that was forked from the one that opened it.

    The lock belongs to the open file, not to a process: unlocking ends it even where a copy of the descriptor is left.
    """
    if holds(descriptor):
        let_go(descriptor)
        with contextlib.suppress(OSError):  # it may never have been locked
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    """Take the kernel's lock, which ends with its holder; retried for as long as `is_written` may hold it."""
    for pause in LOCK_PAUSES:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            time.sleep(pause)
        except OSError as error:
            raise StorageError(
                f"{path}: cannot be locked: {error.strerror}; put the run on a file system that supports locks (flock)"
            ) from None
    else:
        raise _written_by_another(path, _holder(descriptor))
    if not (path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())):
        # Between opening and locking, another process has put another run in its place.
        raise _written_by_another(path, None)


def _written_by_another(path: Path, holder: int | None) -> RunError:
    which = "" if holder is None else f" (pid {holder})"
    return RunError(f"{path.parent}: another process is writing this run{which}; wait for it or stop it")


def _holder(descriptor: int) -> int | None:
    """Return the id of the process that holds the lock of a file, if the kernel tells (Linux, this machine)."""
    status = os.fstat(descriptor)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1:2] == ["FLOCK"] and fields[5:6] == [place]:
                return int(fields[4])
    return None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from writing a journal, whatever its content.

    Raises:
        RunError: Another process is writing it, or the file cannot be opened.
    """
    descriptor = _open_to_append(path)
    try:
        _lock(descriptor, path)
        yield
    finally:
        _close(descriptor)


def is_written(path: Path) -> bool:
    """Return whether a process is writing a journal now; False if that cannot be found out.

    The lock is shared and held only for a moment. A writer that starts in that moment tries again: see `_lock`.
    """
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(file, fcntl.LOCK_UN)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    return False
