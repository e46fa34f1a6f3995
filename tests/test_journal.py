"""Nothing that the journal has recorded is lost or changed without notice, and one process writes it at a time."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evo.errors import RunError, StorageError
from evo.record.journal import FORMAT, Journal, locked
from tests.command import environment


def no_warning(message: str) -> None:
    raise AssertionError(f"warned: {message}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a closed journal of four events."""
    journal = Journal.create(tmp_path / "journal.jsonl")
    journal.append({"kind": "proposal", "individual": {"id": 0, "rate": 0.1}})
    journal.append({"kind": "evaluation", "name": "Zoë \n"})
    journal.append({"kind": "winner", "individual": 0})
    journal.close()
    return tmp_path / "journal.jsonl"


def test_what_is_appended_is_read_back(path: Path) -> None:
    events = Journal.read(path).events
    assert [event["kind"] for event in events] == ["start", "proposal", "evaluation", "winner"]
    assert events[1]["individual"] == {"id": 0, "rate": 0.1}
    assert events[2]["name"] == "Zoë \n"
    assert len(path.read_bytes().splitlines()) == 4


def test_every_changed_byte_is_detected(path: Path) -> None:
    content = path.read_bytes()
    for position in range(len(content) - 1):
        old = content[position]
        for new in {old ^ 1, old ^ 0x20, old ^ 0xFF, ord("\n"), ord("\r"), 0} - {old}:
            changed = content[:position] + bytes([new]) + content[position + 1 :]
            path.write_bytes(changed)
            with pytest.raises(RunError, match="damaged"):
                Journal.read(path)
            with pytest.raises(RunError, match="damaged"):
                Journal.open(path, no_warning)
            assert path.read_bytes() == changed


def test_a_changed_last_newline_is_no_line_that_was_being_written(path: Path) -> None:
    content = path.read_bytes()
    for new in (0, ord("}"), ord("\n") ^ 1):
        path.write_bytes(content[:-1] + bytes([new]))
        with pytest.raises(RunError, match="line 4 is damaged"):
            Journal.read(path)
        with pytest.raises(RunError, match="line 4 is damaged"):
            Journal.open(path, no_warning)


def test_a_journal_cut_anywhere_in_its_last_line_keeps_the_others_and_goes_on(path: Path) -> None:
    content = path.read_bytes()
    last = content[:-1].rfind(b"\n") + 1
    for cut in range(last, len(content)):
        path.write_bytes(content[:cut])
        assert len(Journal.read(path).events) == 3
        warnings: list[str] = []
        journal = Journal.open(path, warnings.append)
        assert len(journal.events) == 3
        assert len(warnings) == (cut > last)
        journal.append({"kind": "winner", "individual": 0})
        journal.close()
        assert path.read_bytes() == content


def test_a_journal_cut_in_its_first_line_never_began(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(RunError, match="never began"):
        Journal.open(path, no_warning)


@pytest.mark.parametrize("line", [0, 1, 2])
def test_a_missing_line_is_noticed(path: Path, line: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:line] + lines[line + 1 :]))
    with pytest.raises(RunError, match=f"line {line + 1} is damaged"):
        Journal.read(path)


@pytest.mark.parametrize("line", [0, 1, 2, 3])
def test_a_repeated_line_is_noticed(path: Path, line: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: line + 1] + lines[line:]))
    with pytest.raises(RunError, match=f"line {line + 2} is damaged"):
        Journal.read(path)


def test_a_newer_format_is_refused_with_both_versions_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "newer.jsonl"
    with monkeypatch.context() as newer:
        newer.setattr("evo.record.journal.FORMAT", FORMAT + 1)
        Journal.create(path).close()
    path.write_bytes(path.read_bytes() + b"cut off")
    before = path.read_bytes()
    for open_it in (lambda: Journal.read(path), lambda: Journal.open(path, no_warning)):
        with pytest.raises(RunError, match=rf"format {FORMAT + 1}\b.*formats 1 to {FORMAT}; update evo"):
            open_it()
    assert path.read_bytes() == before


def test_a_second_writer_is_refused_and_a_reader_is_not(path: Path) -> None:
    writer = Journal.open(path, no_warning)
    with pytest.raises(RunError, match="another process is writing"):
        Journal.open(path, no_warning)
    assert len(Journal.read(path).events) == 4
    writer.close()
    Journal.open(path, no_warning).close()


def test_a_writer_that_was_killed_leaves_no_lock(path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from evo.record.journal import Journal\n"
        "journal = Journal.open(Path(sys.argv[1]), print); print('open', flush=True); time.sleep(600)"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, env=environment())
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"open\n"
        with pytest.raises(RunError, match="another process is writing"):
            Journal.open(path, no_warning)
    finally:
        writer.kill()
        writer.communicate()
    Journal.open(path, no_warning).close()


def forked(work: Callable[[], None]) -> Callable[[], int]:
    """Let a forked process work, which ends when it is waited for; return what waits and gives its exit code."""
    ready, end = os.pipe(), os.pipe()
    if (pid := os.fork()) == 0:
        code = 1
        os.close(end[1])  # before another process is forked, which would keep it open
        try:
            work()
            code = 0
        finally:
            os.write(ready[1], b"x")
            os.read(end[0], 1)
            os._exit(code)
    os.read(ready[0], 1)

    def wait() -> int:
        for descriptor in (*ready, *end):
            os.close(descriptor)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    return wait


def open_again(path: Path) -> None:
    Journal.open(path, warn=no_warning).close()


@pytest.mark.parametrize("generations", [1, 2])
def test_a_forked_process_keeps_no_lock(path: Path, generations: int) -> None:
    journal = Journal.open(path, warn=no_warning)
    waits: list[Callable[[], int]] = []

    def work() -> None:
        if generations == 2:
            waits.append(forked(lambda: None))

    wait = forked(work)
    with pytest.raises(RunError, match="another process is writing"):
        open_again(path)
    journal.close()
    open_again(path)
    assert wait() == 0


def test_a_lock_ends_at_the_close_even_if_a_copy_of_the_file_is_left(path: Path) -> None:
    journal = Journal.open(path, warn=no_warning)
    assert journal._descriptor is not None
    copy = os.dup(journal._descriptor)  # as a process has it that was forked by a library, without Python's notice
    journal.close()
    open_again(path)
    os.close(copy)


def test_what_a_forked_process_does_with_the_journal_changes_nothing(path: Path) -> None:
    journal, before = Journal.open(path, warn=no_warning), path.read_bytes()

    def work() -> None:
        taken = os.open(path.parent / "another file", os.O_CREAT | os.O_WRONLY)  # may get the journal's old number
        with pytest.raises(RunError, match="by another process"):
            journal.append({"kind": "winner", "individual": 1})
        journal.close()
        os.write(taken, b"its own")

    assert forked(work)() == 0
    with pytest.raises(RunError, match="another process is writing"):
        open_again(path)
    assert path.read_bytes() == before
    assert (path.parent / "another file").read_bytes() == b"its own"
    journal.append({"kind": "winner", "individual": 1})
    journal.close()


def test_a_process_forked_while_a_run_is_replaced_keeps_no_lock(path: Path) -> None:
    with locked(path):
        wait = forked(lambda: None)
    open_again(path)
    assert wait() == 0


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_are_never_written(path: Path, number: float) -> None:
    before = path.read_bytes()
    journal = Journal.open(path, no_warning)
    with pytest.raises(ValueError, match="JSON"):
        journal.append({"kind": "evaluation", "fitness": number})
    assert path.read_bytes() == before
    journal.append({"kind": "evaluation", "fitness": 0.5})
    journal.close()
    assert len(Journal.read(path).events) == 5


def test_an_existing_journal_is_not_created_again(path: Path) -> None:
    with pytest.raises(StorageError, match="File exists"):
        Journal.create(path)


def test_a_journal_that_was_read_cannot_be_written(path: Path) -> None:
    with pytest.raises(RunError, match="reading only"):
        Journal.read(path).append({"kind": "winner", "individual": 1})


def test_a_journal_in_memory_keeps_its_events() -> None:
    journal = Journal.create(None)
    journal.append({"kind": "winner", "individual": 1})
    assert [event["number"] for event in journal.events] == [0, 1]
