"""What a worker finds out and keeps: whether it can use the run folder, and the searches that it is ready for."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict, defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evo.evaluators import ObjectiveSetup, Task
from evo.evaluators.dask import worker as dask_worker
from evo.evaluators.dask.cluster import DaskEvaluator
from evo.evaluators.dask.worker import KEPT, Invitation, _sees
from evo.evaluators.sending import packed
from evo.record.folder import remove_leftovers

SEARCH = "0123456789abcdef" * 2


def marked(folder: Path, content: str = SEARCH) -> Invitation:
    marker = folder / f".{SEARCH}.cluster"
    marker.write_text(content)
    return Invitation(SEARCH, b"", {}, {}, marker)


def test_a_worker_that_finds_the_marker_and_can_write_beside_it_sees_the_folder(tmp_path: Path) -> None:
    assert _sees(marked(tmp_path))
    assert os.listdir(tmp_path) == [f".{SEARCH}.cluster"], "what it tried with is left behind"


def test_the_folder_of_another_search_is_not_seen(tmp_path: Path) -> None:
    assert not _sees(marked(tmp_path, "f" * 32))
    assert not _sees(Invitation(SEARCH, b"", {}, {}, tmp_path / "nothing"))
    assert not _sees(Invitation(SEARCH, b"", {}, {}, None))


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_folder_that_can_only_be_read_is_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    invitation = marked(tmp_path)
    assert invitation.marker is not None

    def refused(*arguments: Any, **options: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("os.open", refused)
    assert invitation.marker.read_text() == SEARCH
    assert not _sees(invitation)


@pytest.mark.skipif(not Path("/proc/self/comm").is_file(), reason="needs a folder in which no file can be made")
def test_a_folder_in_which_no_file_can_be_made_is_not_seen() -> None:
    marker = Path("/proc/self/comm")
    assert not _sees(Invitation(marker.read_text(), b"", {}, {}, marker))


def test_what_a_killed_search_has_left_for_its_workers_is_removed_by_the_resume(tmp_path: Path) -> None:
    def no_connection() -> Any:
        raise AssertionError("nothing is to be connected to")

    DaskEvaluator(ObjectiveSetup(float), no_connection)._mark(tmp_path)
    marked(tmp_path)
    (tmp_path / f".{SEARCH}.cluster.k3j_x9").touch()  # of a worker that was killed while it tried
    kept = {".notes.cluster", "results.cluster", f"{SEARCH}.cluster"}
    for name in kept:
        (tmp_path / name).touch()
    assert len(os.listdir(tmp_path)) == 3 + len(kept)
    remove_leftovers(tmp_path)
    assert set(os.listdir(tmp_path)) == kept


def invitation_to(search: str) -> Invitation:
    setup = ObjectiveSetup(lambda config: float(config["x"]))
    return Invitation(search, packed(setup, "do something else"), dask_worker.versions_here(), {})


def test_the_search_that_a_worker_works_for_is_not_the_one_that_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    here = SimpleNamespace(
        address="tcp://127.0.0.1:1",
        name="0",
        state=SimpleNamespace(total_resources={}, nthreads=1, tasks={"key": SimpleNamespace(state="executing")}),
        get_current_task=lambda: "key",
        log_event=lambda topic, event: None,
    )
    monkeypatch.setattr("distributed.get_worker", lambda: here)
    monkeypatch.setattr(dask_worker, "_ready", defaultdict(OrderedDict))
    assert not dask_worker.accept(invitation_to("busy")).problem
    for number in range(2 * KEPT):
        assert not dask_worker.accept(invitation_to(f"other {number}")).problem
        assert dask_worker.evaluate("busy", [Task(number, 0, 1, {"x": 0.5})], None) is not None
    assert len(dask_worker._ready[here.address]) == KEPT
    assert dask_worker.evaluate("other 0", [Task(0, 0, 1, {"x": 0.5})], None) is None
