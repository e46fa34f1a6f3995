"""The journal: an append-only, checksummed, locked record of every proposal and every evaluation, the truth of a run.

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

FORMAT = 1
_HEAD = b'{"checksum":"'
_MIDDLE = b'","event":'
_DIGITS = 16
LOCK_PAUSES = (0.01, 0.04, 0.0)
"""Seconds between the attempts to take the lock: whoever asks whether it is taken holds it for microseconds."""

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
            StorageError: It cannot be made, or exists.
        """
        journal = cls(path)
        if path is not None:
            journal._descriptor = create_to_append(path)
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
        """Read a journal without locking it; a line that is still being written is left out.

        Raises:
            RunError: There is none, it is damaged, or of a newer format.
        """
        journal = cls(path)
        journal._load(_content(path))
        return journal

    @classmethod
    def open(cls, path: Path, warn: Callable[[str], None]) -> Journal:
        """Open a journal to go on writing, and lock it.

        A last line without its end, as a crash leaves behind, is cut off; `warn` is told.

        Raises:
            RunError: There is none, another process writes it, it is damaged, or of a newer format.
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
            StorageError: It cannot be written, now or at an earlier call: only reading the file anew tells how much of
                it is on disk, and a further line would stand behind half a one.
            RunError: The journal was opened for reading, or is closed.
        """
        event = {"number": len(self.events), **event}
        if self._broken is not None:
            raise self._broken
        if self._descriptor is not None and self.path is not None:
            line = _encode(event)
            try:
                append(self._descriptor, line, self.path)
            except StorageError as error:
                self._broken = error
                raise
        elif self.path is not None:
            raise RunError(f"{self.path}: the journal was opened for reading only")
        self.events.append(event)

    def close(self) -> None:
        """Release the lock; the journal can still be read."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _load(self, content: bytes) -> int:
        """Take the events of a file; return the number of bytes that whole lines take."""
        kept = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:kept].splitlines(keepends=True), start=len(self.events)):
            event = _decode(line)
            if event is None or event.get("number") != number:
                raise self._damaged(number)
            if number == 0 and event.get("format") != FORMAT:
                found = event.get("format")
                raise RunError(
                    f"{self.path}: has format {found}, this version of evo reads format {FORMAT}; update evo"
                )
            self.events.append(event)
        if _decode(content[kept:-1] + b"\n") is not None:
            raise self._damaged(len(self.events))  # whole, but for its end: no line that was being written
        self._read_to += kept
        self.torn = kept < len(content)
        if not self.events:
            raise RunError(f"{self.path}: is empty; the run never began, or the file was damaged: begin it anew")
        return kept

    def _damaged(self, number: int) -> RunError:
        return RunError(
            f"{self.path}: line {number + 1} is damaged: its checksum or number does not fit. "
            "Nothing was changed; restore the file from a copy"
            + (", or delete that line and all after it to go on from there." if number > 0 else ".")
        )


def _encode(event: Event) -> bytes:
    body = json.dumps(event, separators=(",", ":"), allow_nan=False).encode()
    return b"".join((_HEAD, _digest(body), _MIDDLE, body, b"}\n"))


def _decode(line: bytes) -> Event | None:
    """Return the event of a line, or None if a byte of it is not as it was written, or as evo would write it."""
    digest_end = len(_HEAD) + _DIGITS
    body_start = digest_end + len(_MIDDLE)
    body = line[body_start:-2]
    intact = (
        line.startswith(_HEAD)
        and line[digest_end:body_start] == _MIDDLE
        and line.endswith(b"}\n")
        and line[len(_HEAD) : digest_end] == _digest(body)
    )
    if not intact:
        return None
    try:
        event = read_json(body)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:_DIGITS].encode()


def _content(path: Path, start: int = 0) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read()
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None


def _open_to_append(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except OSError as error:
        raise RunError(f"{path}: cannot be opened for writing: {error.strerror}") from None


def _lock(descriptor: int, path: Path) -> None:
    """Take the kernel's lock, which dies with its holder; tried again for as long as `is_written` may hold it."""
    for pause in LOCK_PAUSES:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            time.sleep(pause)
        except OSError as error:
            raise StorageError(
                f"{path}: cannot be locked: {error.strerror}; put the run on a file system that has locks (flock)"
            ) from None
    else:
        raise _written_by_another(path, _holder(descriptor))
    if not (path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())):
        # Between opening and locking, its holder has put another run in its place.
        raise _written_by_another(path, None)


def _written_by_another(path: Path, holder: int | None) -> RunError:
    which = "" if holder is None else f" (pid {holder})"
    return RunError(f"{path.parent}: another process is writing this run{which}; wait for it or stop it")


def _holder(descriptor: int) -> int | None:
    """Return the id of the process that holds the lock of a file, where the kernel says so (Linux, this machine)."""
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
    """Keep other processes from writing a journal, whatever it holds.

    Raises:
        RunError: One does, or the file cannot be opened.
    """
    descriptor = _open_to_append(path)
    try:
        _lock(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def is_written(path: Path) -> bool:
    """Return whether a process writes a journal now; False, too, where it cannot be asked.

    The lock is shared and held for a moment only. A writer that starts in that moment tries again: see `_lock`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    else:
        return False
    finally:
        os.close(descriptor)
