"""Files of a run appear whole or not at all."""

from __future__ import annotations

import json
import math
import os
import select
import threading
from pathlib import Path

import pytest

from evo.errors import StorageError
from evo.files import append, is_stream, output, replacing, write_json, write_text


def test_a_file_is_written_as_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    write_text(path, "Zoë\nsecond\r\n")
    assert path.read_bytes() == "Zoë\nsecond\r\n".encode()
    assert os.listdir(path.parent) == ["file.txt"]


def test_an_error_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail_in_the_middle() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail_in_the_middle()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_file_is_as_readable_as_any_other_of_the_user(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    write_text(tmp_path / "written", "")
    assert (tmp_path / "written").stat().st_mode == plain.stat().st_mode


def test_json_is_written_for_people_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    write_json(path, {"name": "Zoë", "layers": [1, 2]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "Zoë", "layers": [1, 2]}
    assert "Zoë" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_json_with_a_number_that_json_lacks_is_refused(tmp_path: Path, number: float) -> None:
    path = tmp_path / "settings.json"
    path.write_text("old")
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"fitness": number})
    assert path.read_text() == "old"


def test_append_writes_every_byte_where_the_system_takes_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:3]))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    append(descriptor, b"0123456789", path)
    append(descriptor, b"ab", path)
    os.close(descriptor)
    assert path.read_bytes() == b"0123456789ab"


def write(path: Path, text: str) -> None:
    with output(path) as temporary:
        temporary.write_text(text)


def test_an_output_that_is_a_device_is_written_to_and_stays_what_it_is() -> None:
    # A terminal, not /dev/null: were it replaced, nothing would work any more on this machine.
    ours, theirs = os.openpty()
    device = Path(os.ttyname(theirs))
    before = device.stat()
    write(device, "text")
    assert os.read(ours, 100) == b"text"
    assert os.path.samestat(before, device.stat())
    for descriptor in (ours, theirs):
        os.close(descriptor)


def test_an_output_that_is_a_pipe_is_written_to_where_somebody_reads(tmp_path: Path) -> None:
    pipe, text = tmp_path / "pipe", "0123456789" * 100_000  # more than a pipe holds
    os.mkfifo(pipe)
    with pytest.raises(StorageError, match="no process reads from this pipe"):
        write(pipe, text)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    writer = threading.Thread(target=write, args=(pipe, text))
    writer.start()
    select.select([reader], [], [])  # before there is a writer, reading would find the end
    with open(reader) as file:
        assert file.read() == text
    writer.join()
    assert pipe.is_fifo()


@pytest.mark.parametrize("linked", [False, True])
def test_an_output_that_is_an_open_file_of_this_process_is_written_to(tmp_path: Path, linked: bool) -> None:
    target, link = tmp_path / "file.txt", tmp_path / "link"
    with target.open("w") as file:
        path = Path(f"/dev/fd/{file.fileno()}")
        link.symlink_to(path)
        write(link if linked else path, "text")
        assert os.path.samestat(os.fstat(file.fileno()), target.stat())
    assert target.read_text() == "text"
    assert link.is_symlink()


def test_an_output_that_is_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    for text in ("old", "new"):
        assert not is_stream(path)
        write(path, text)
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file.txt"]
