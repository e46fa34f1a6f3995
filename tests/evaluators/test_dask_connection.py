"""The way to a cluster: what cannot be an address, what is open to others, and a start that fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from distributed.comm.core import FatalCommClosedError

import evo
from evo.errors import ClusterLost, ConfigurationError, SearchError
from evo.evaluators.dask import connection as dask_connection
from evo.evaluators.dask.connection import _warn_if_open, connect
from evo.space import SearchSpace
from evo.space.genes import Float


class Listening:
    """A client whose scheduler listens at an address."""

    def __init__(self, address: str):
        self.address = address

    def scheduler_info(self, n_workers: int) -> dict[str, str]:
        return {"address": self.address}


@pytest.mark.parametrize(
    ("address", "listens", "open_at"),
    [
        ("ws://10.0.0.1:8786", "ws://10.0.0.1:8786", "ws://10.0.0.1:8786"),
        ("ucx://10.0.0.1:8786", "ucx://10.0.0.1:8786", "ucx://10.0.0.1:8786"),
        ("tcp://10.0.0.1:8786", "tcp://10.0.0.1:8786", "tcp://10.0.0.1:8786"),
        ("ws://127.0.0.1:8786", "ws://10.0.0.1:8786", "ws://10.0.0.1:8786"),
        ("ws://127.0.0.1:8786", "ws://127.0.0.1:8786", None),
        ("ucx://[::1]:8786", "ucx://[::1]:8786", None),
        ("wss://10.0.0.1:8786", "wss://10.0.0.1:8786", None),
        ("tls://10.0.0.1:8786", "tls://10.0.0.1:8786", None),
        ("inproc://10.0.0.1/1/1", "inproc://10.0.0.1/1/1", None),
        ("a client", "tls://10.0.0.1:8786", None),
    ],
)
def test_every_way_to_a_scheduler_that_is_not_encrypted_is_warned_of(
    address: str, listens: str, open_at: str | None
) -> None:
    warnings: list[str] = []
    client: Any = Listening(listens)
    _warn_if_open(client, address, warnings.append)
    if open_at is None:
        assert warnings == []
    else:
        [warning] = warnings
        assert f"the scheduler at {open_at} is not encrypted" in warning


def failing_client(error: BaseException) -> type:
    """Return a client that fails as Dask's does, and leaves no thread behind."""

    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    return type("Client", (), {"__init__": fail})


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("tcp://127.0.0.1", ValueError("missing port number in address '127.0.0.1'")),
        ("ucx://127.0.0.1:9", TypeError("Can't instantiate abstract class UCXConnector")),  # its package is missing
        ("tcp://127.0.0.1:9", RuntimeError("encryption required by Dask configuration")),
    ],
)
def test_what_cannot_be_an_address_is_a_mistake_and_not_a_cluster_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, address: str, error: Exception
) -> None:
    monkeypatch.setattr("distributed.Client", failing_client(error))
    with pytest.raises(ConfigurationError) as refused:
        connect(address, 1, str)
    for words in (address, str(error), "tls://host:8786", "scheduler file", "local"):
        assert words in str(refused.value)


def test_certificates_that_do_not_match_are_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distributed.Client", failing_client(FatalCommClosedError("TLS certificate does not match")))
    with pytest.raises(ConfigurationError, match="certificate does not match"):
        connect("tcp://127.0.0.1:9", 1, str)


def test_a_scheduler_that_does_not_answer_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_connection, "CONNECT_SECONDS", 0.3)
    with pytest.raises(ClusterLost, match="no scheduler answers"):
        connect("tcp://127.0.0.1:9", 1, str)


def test_another_encrypted_way_without_certificates_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="names none for clients"):
        connect("wss://127.0.0.1:9", 1, str)


def test_a_resume_with_what_is_no_address_does_not_ask_to_be_run_again(tmp_path: Path) -> None:
    space = SearchSpace({"x": Float(0.0, 1.0)})
    options: dict[str, Any] = {"population": 2, "strategy": "random", "finalists": 0}
    evo.search(space, lambda config: float(config["x"]), budget=2, output=tmp_path / "run", **options)
    with pytest.raises(ConfigurationError, match=r"--dask foo://x: cannot be used as an address"):
        evo.resume(tmp_path / "run", lambda config: float(config["x"]), budget=3, dask="foo://x")


class Cluster:
    """Stands in for a cluster on this machine, and notes its end."""

    def __init__(self, ended: list[str]):
        self.ended = ended

    def __call__(self, **options: Any) -> Cluster:
        return self

    def scale(self, workers: int) -> None:
        """Start none."""

    def close(self) -> None:
        self.ended.append("cluster")


@pytest.mark.parametrize("error", [OSError("no room"), RuntimeError("no loop"), TimeoutError("too late")])
def test_a_cluster_that_cannot_be_connected_to_is_ended(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    ended: list[str] = []
    monkeypatch.setattr("distributed.LocalCluster", Cluster(ended))
    monkeypatch.setattr("distributed.Client", failing_client(error))
    with pytest.raises(SearchError, match=str(error)):
        connect("local", 2, str)
    assert ended == ["cluster"]


@pytest.mark.parametrize(
    ("error", "raised"), [(TimeoutError("2 workers did not start"), SearchError), (KeyboardInterrupt(), BaseException)]
)
def test_a_cluster_whose_workers_do_not_start_is_ended_with_its_client(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, raised: type[BaseException]
) -> None:
    ended: list[str] = []

    class Client:
        def __init__(self, *arguments: Any, **options: Any):
            """Connect to nothing."""

        def wait_for_workers(self, *arguments: Any, **options: Any) -> None:
            raise error

        def close(self) -> None:
            ended.append("client")

    monkeypatch.setattr("distributed.LocalCluster", Cluster(ended))
    monkeypatch.setattr("distributed.Client", Client)
    with pytest.raises(raised):
        connect("local", 2, str)
    assert ended == ["client", "cluster"]
