"""A search listens on no port: it cannot be reached over a network."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from tests.command import children, wait_until
from tests.faults.processes import FakeSearch, lines_of

LISTENING = "0A"


def listening(pid: int) -> set[str]:
    """Return the local addresses on which a process listens: its sockets among the kernel's tables."""
    sockets = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            sockets.add(os.readlink(entry))
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in sockets and (fields[3] == LISTENING or table.startswith("udp")):
                found.add(fields[1])
    return found


def test_a_search_and_its_workers_listen_on_no_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)):
        assert len(listening(os.getpid())) == 1, "this test would see nothing"
    search = FakeSearch(tmp_path / "fake", 60)
    process = search.start()
    wait_until(lambda: process.poll() is not None or lines_of(search.run) > 4)
    processes = {process.pid, *children(process.pid)}
    assert len(processes) >= 3
    assert not [address for pid in processes for address in listening(pid)]
    process.terminate()
    process.communicate()
