"""A disk that is full or broken at any call: a clear error, nothing older harmed, and the run can be resumed."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import evo
from evo import files
from evo.data import PreparedDataset
from evo.errors import StorageError
from evo.record.journal import Journal
from evo.record.run import Run
from tests.conftest import TINY_SPACE
from tests.faults.conftest import times
from tests.faults.objectives import SPACE, accuracy

BUDGET = 12
TORN_BYTES = 7
FEW = 7


class Disk:
    """Counts the calls that change the disk; from the call `breaks_at` on they all fail, as on a disk that is full."""

    def __init__(self, breaks_at: int, number: int):
        self.calls, self.breaks_at, self.number = 0, breaks_at, number

    @property
    def broken(self) -> bool:
        return self.calls >= self.breaks_at

    def __call__(self, call: str, path: Path) -> None:
        self.calls += 1
        if self.broken and call != "remove":  # a full disk lets files be removed
            raise OSError(self.number, os.strerror(self.number))


def tear_writes(patch: pytest.MonkeyPatch, disk: Disk) -> None:
    """Let the journal's write at which the disk breaks take a few bytes before it fails, as the kernel does."""
    write = os.write

    def torn(descriptor: int, data: Any) -> int:
        if disk.broken:
            raise OSError(disk.number, os.strerror(disk.number))
        if disk.calls == disk.breaks_at - 1:
            disk.calls += 1
            return write(descriptor, bytes(data)[:TORN_BYTES])
        return write(descriptor, data)

    patch.setattr(os, "write", torn)


def search(folder: Path) -> Run:
    return evo.search(SPACE, accuracy, strategy="ga", population=4, budget=BUDGET, seed=5, finalists=1, output=folder)


def resume(folder: Path) -> Run:
    return evo.resume(folder, accuracy)


def content(run: Run) -> dict[str, Any]:
    """Return what a search has found, times aside."""
    dropped = {"seconds", "seconds_before", "started", "worker"}
    tables = {"evaluations": run.table, "populations": run.populations, "finalists": run.finalist_table}
    return {name: json.loads(t.drop(columns=[*dropped & set(t)]).to_json()) for name, t in tables.items()}


def check_whole(folder: Path) -> None:
    """Every file in a folder is whole: tables can be read, the journal too, but for its last line."""
    assert not [path.name for path in folder.iterdir() if path.name.endswith(files.PARTIAL)]
    for path in folder.glob("*.csv"):
        pd.read_csv(path)
    json.loads((folder / "settings.json").read_text())
    Journal.read(folder / "journal.jsonl")


def places(total: int) -> Iterator[int]:
    """Return the calls at which the disk breaks: all of them, or a few."""
    few = times(long=total, short=FEW)
    return iter(sorted({round(1 + place * (total - 1) / (few - 1)) for place in range(few)}))


@pytest.mark.parametrize(
    ("number", "torn"),
    [(errno.ENOSPC, False), (errno.ENOSPC, True), (errno.EIO, False), (errno.EIO, True), (errno.EROFS, False)],
    ids=["full", "full-torn", "broken", "broken-torn", "read-only"],
)
def test_a_search_on_a_disk_that_breaks_at_any_call(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    figure: Callable[[str], None],
    number: int,
    torn: bool,
) -> None:
    counting = Disk(10**9, number)
    monkeypatch.setattr(files, "failpoint", counting)
    expected, total = content(search(tmp_path / "whole")), counting.calls
    tried, never_began = list(places(total)), 0
    for place in tried:
        disk, folder = Disk(place, number), tmp_path / f"run-{place}"
        with monkeypatch.context() as breaking:
            breaking.setattr(files, "failpoint", disk)
            if torn:
                tear_writes(breaking, disk)
            with pytest.raises(StorageError, match=f"{tmp_path}.*{os.strerror(number)}"):
                search(folder)
        monkeypatch.setattr(files, "failpoint", counting)
        if folder.exists():
            check_whole(folder)
            assert content(resume(folder)) == expected
            check_whole(folder)
        else:
            never_began += 1
            assert not [path for path in tmp_path.iterdir() if path.name.startswith(f".run-{place}.")]
            assert content(search(folder)) == expected
    kind = f"{errno.errorcode[number]}{', half a line written' if torn else ''}"
    figure(
        f"{kind} at {len(tried)} of {total} calls that change the disk: 0 corrupt files, "
        f"{len(tried) - never_began} resumed to equal tables, {never_began} started over"
    )


def test_a_search_that_is_extended_on_a_disk_that_breaks_at_any_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal and the settings are written one after the other: the run can be read whichever is missing."""
    first, counting = search(tmp_path / "first"), Disk(10**9, errno.ENOSPC)
    monkeypatch.setattr(files, "failpoint", counting)
    shutil.copytree(tmp_path / "first", tmp_path / "whole")
    expected = content(evo.resume(tmp_path / "whole", accuracy, budget=BUDGET + 4))
    for place in range(1, times(long=counting.calls, short=12) + 1):
        folder = tmp_path / f"run-{place}"
        shutil.copytree(tmp_path / "first", folder)
        monkeypatch.setattr(files, "failpoint", Disk(place, errno.ENOSPC))
        with pytest.raises(StorageError):
            evo.resume(folder, accuracy, budget=BUDGET + 4)
        monkeypatch.setattr(files, "failpoint", counting)
        assert len(evo.load(folder).evaluations) >= len(first.evaluations)
        assert content(evo.resume(folder, accuracy, budget=BUDGET + 4)) == expected


@pytest.mark.usefixtures("in_process")
def test_trainings_on_a_disk_that_breaks_at_any_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: PreparedDataset, figure: Callable[[str], None]
) -> None:
    """States and weights of trainings are written, too: no training fails because they cannot be."""
    space = tmp_path / "tiny.toml"
    space.write_text(TINY_SPACE)
    monkeypatch.setattr("evo.training.checkpoint.KEEP_EVERY_SECONDS", 0.0)
    monkeypatch.setattr("evo.training.checkpoint.WORTH_BYTES", 1e12)

    def train(folder: Path) -> Run:
        return evo.search(space, population=2, budget=2, seed=5, finalists=1, output=folder)

    counting = Disk(10**9, errno.ENOSPC)
    monkeypatch.setattr(files, "failpoint", counting)
    expected, total = content(train(tmp_path / "whole")), counting.calls
    tried = list(places(total))[:: times(long=max(1, total // 150), short=3)]
    for place in tried:
        disk, folder = Disk(place, errno.ENOSPC), tmp_path / f"run-{place}"
        monkeypatch.setattr(files, "failpoint", disk)
        with pytest.raises(StorageError, match="No space left"):
            train(folder)
        monkeypatch.setattr(files, "failpoint", counting)
        assert content(evo.resume(folder) if folder.exists() else train(folder)) == expected
    figure(f"ENOSPC at {len(tried)} of {total} calls of a search that trains: 0 failed rows, equal tables")


def test_a_disk_that_is_full_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal never writes behind half a line, even if there is room again."""
    journal = Journal.create(tmp_path / "journal.jsonl")
    disk = Disk(2, errno.ENOSPC)
    with monkeypatch.context() as breaking:
        breaking.setattr(files, "failpoint", disk)
        tear_writes(breaking, disk)
        with pytest.raises(StorageError):
            journal.append({"kind": "winner", "individual": 0})
    with pytest.raises(StorageError):
        journal.append({"kind": "winner", "individual": 1})
    journal.close()
    assert len(Journal.read(tmp_path / "journal.jsonl").events) == 1


def test_a_run_folder_that_is_moved_before_a_stop_is_not_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def stop_check() -> None:
        if folder.exists():
            folder.rename(tmp_path / "elsewhere")
            raise evo.Stop("enough", 75)

    with pytest.raises(StorageError, match="was moved or removed"):
        evo.search(SPACE, accuracy, budget=BUDGET, output=folder, stop_check=stop_check)
    assert not folder.exists()


@pytest.mark.parametrize("moved", [False, True])
def test_a_run_folder_that_vanishes(tmp_path: Path, moved: bool) -> None:
    """The system lets a removed file be written: the search must not continue as if nothing had happened."""
    folder, elsewhere, calls = tmp_path / "run", tmp_path / "elsewhere", []

    def removes(config: dict[str, Any], seed: int) -> float:
        calls.append(seed)
        if len(calls) == 3:
            folder.rename(elsewhere)
            if not moved:
                shutil.rmtree(elsewhere)
        return accuracy(config, seed)

    with pytest.raises(StorageError, match="was moved or removed while it was being written"):
        evo.search(SPACE, removes, strategy="ga", population=4, budget=BUDGET, seed=5, finalists=1, output=folder)
    assert len(calls) == 3
    assert not folder.exists(), "a part of the run was made again"
    if moved:
        assert content(resume(elsewhere)) == content(search(tmp_path / "whole"))
