"""The journal: an append-only, checksummed, locked record of every proposal and every evaluation, the truth of a run.

One line an event: `{"checksum":"…","event":{…}}`. The checksum is the first 16 hexadecimal digits of the SHA-256 of the
event's text. Events are numbered, so that a missing or repeated line is noticed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evo.errors import RunError
from evo.files import append, sync_folder

FORMAT = 1
_HEAD = b'{"checksum":"'
_MIDDLE = b'","event":'
_DIGITS = 16

Event = dict[str, Any]


class Journal:
    """A run's events, in memory or in a file.

    Attributes:
        events: All of them, in order.
        path: The file; None keeps the journal in memory.
    """

    def __init__(self, path: Path | None = None):
        self.path = path
        self.events: list[Event] = []
        self._descriptor: int | None = None

    @classmethod
    def create(cls, path: Path | None) -> Journal:
        """Start a new journal and lock it.

        Raises:
            FileExistsError: The file exists.
        """
        journal = cls(path)
        if path is not None:
            journal._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666)
            _lock(journal._descriptor, path)
            sync_folder(path.parent)
        journal.append({"kind": "start", "format": FORMAT})
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
        try:
            journal._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            raise RunError(f"{path}: cannot be opened for writing: {error.strerror}") from None
        try:
            _lock(journal._descriptor, path)
            content = _content(path)
            kept = journal._load(content)
            if kept < len(content):
                warn(f"{path}: the last line was cut off in the middle and is dropped ({len(content) - kept} bytes)")
                os.ftruncate(journal._descriptor, kept)
                os.fsync(journal._descriptor)
        except BaseException:
            journal.close()
            raise
        return journal

    def append(self, event: Event) -> None:
        """Add an event; it is on disk when this returns."""
        event = {"number": len(self.events), **event}
        if self._descriptor is not None:
            append(self._descriptor, _encode(event))
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
        for number, line in enumerate(content[:kept].splitlines(keepends=True)):
            event = _decode(line)
            if event is None or event.get("number") != number:
                raise RunError(
                    f"{self.path}: line {number + 1} is damaged: its checksum or number does not fit. "
                    "Nothing was changed; restore the file from a copy, or delete that line and all after it to go on "
                    "from there."
                )
            self.events.append(event)
        if not self.events:
            raise RunError(f"{self.path}: is empty; the run never began")
        found = self.events[0].get("format")
        if found != FORMAT:
            raise RunError(f"{self.path}: has format {found}, this version of evo reads format {FORMAT}; update evo")
        return kept


def _encode(event: Event) -> bytes:
    body = json.dumps(event, separators=(",", ":"), allow_nan=False).encode()
    return b"".join((_HEAD, _digest(body), _MIDDLE, body, b"}\n"))


def _decode(line: bytes) -> Event | None:
    """Return the event of a line, or None if a single byte of it is not as it was written."""
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
    event = json.loads(body)
    return event if isinstance(event, dict) else None


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:_DIGITS].encode()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None


def _lock(descriptor: int, path: Path) -> None:
    """Take the kernel's lock, which dies with its holder."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunError(f"{path.parent}: another process is writing this run; wait for it or stop it") from None


def refuse_if_written(path: Path) -> None:
    """Check that no other process writes a journal, whatever it holds.

    Raises:
        RunError: One does, or the file cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise RunError(f"{path}: cannot be opened for writing: {error.strerror}") from None
    try:
        _lock(descriptor, path)
    finally:
        os.close(descriptor)
