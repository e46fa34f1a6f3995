"""The tracebacks of what failed in a run: files in its folder, or texts in memory. Only the last ones are kept.

They help a person, and nothing else reads them: where the disk is full there are none, and the search goes on.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from evo.errors import RunError, StorageError
from evo.evaluation import Evaluation
from evo.files import own_folder, read_file, remove_file, replacing
from evo.plain_text import made_plain
from evo.record.folder import ERRORS
from evo.tracebacks import LONGEST

KEPT = 200
"""Tracebacks of a run. A cause shows itself in the last ones, and hundreds of the first would be the same."""
_NAME = re.compile(r"\d+-\d+\.txt")


class Tracebacks:
    """Keeps the traceback of each evaluation that failed, by (individual, replicate).

    Args:
        run: The run folder; None to keep them in memory.
    """

    def __init__(self, run: Path | None):
        self._folder = run / ERRORS if run is not None else None
        self._texts: dict[tuple[int, int], str] = {}

    def keep(self, evaluation: Evaluation) -> None:
        """Keep the traceback of an evaluation, if it has one, in the place of an earlier one."""
        with contextlib.suppress(StorageError, RunError, OSError):
            if self._folder is None:
                self._keep_in_memory(evaluation)
            elif evaluation.traceback:
                with replacing(self._file(evaluation.individual, evaluation.replicate), durable=False) as temporary:
                    temporary.write_text(evaluation.traceback, encoding="utf-8", newline="")
                self._prune(self._folder)
            elif self._folder.is_dir():
                remove_file(self._file(evaluation.individual, evaluation.replicate))

    def of(self, individual: int, replicate: int) -> str:
        """Return the traceback of an evaluation; empty if there is none."""
        if self._folder is None:
            return self._texts.get((individual, replicate), "")
        with contextlib.suppress(OSError, RunError):
            if (file := self._file(individual, replicate)).stat().st_size <= 4 * LONGEST:  # evo writes no more
                return made_plain(read_file(file).decode(errors="replace")).replace("\r", "\n")
        return ""

    def _file(self, individual: int, replicate: int) -> Path:
        assert self._folder is not None
        return own_folder(self._folder) / f"{individual}-{replicate}.txt"

    def _keep_in_memory(self, evaluation: Evaluation) -> None:
        key = evaluation.individual, evaluation.replicate
        self._texts.pop(key, None)
        if evaluation.traceback:
            self._texts[key] = evaluation.traceback
        while len(self._texts) > KEPT:
            del self._texts[next(iter(self._texts))]

    def _prune(self, folder: Path) -> None:
        files = [entry for entry in os.scandir(folder) if _NAME.fullmatch(entry.name)]
        if len(files) > KEPT:
            files.sort(key=lambda entry: (entry.stat().st_mtime_ns, entry.name))
            for entry in files[: len(files) - KEPT]:
                remove_file(Path(entry.path))
