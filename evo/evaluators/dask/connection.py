"""Connecting to a Dask cluster: a running one, one that is started here, or a client that the caller made."""

from __future__ import annotations

import ipaddress
import json
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from evo.errors import ClusterLost, ConfigurationError, SearchError
from evo.extras import install_command
from evo.places import with_home
from evo.processes import (
    THREAD_VARIABLES,
    deaf_to_interrupts,
    refuse_in_worker,
    threads_of_children,
    without_main,
)

if TYPE_CHECKING:
    from distributed import Client

Where: TypeAlias = "str | Path | Client"
"""A scheduler's address, a scheduler file, "local", or a client."""

LOCAL = "local"
LOCAL_WORKER = "evo.evaluators.dask.local_worker"
LOOPBACK = "127.0.0.1"
CONNECT_SECONDS = 15.0
START_SECONDS = 120.0
"""How long the workers of a local cluster may take to start, on a busy machine."""
ENCRYPTED = ("tls://", "wss://")
"""Beginnings of addresses where certificates are required to take part."""
WITHIN = "inproc://"
"""The beginning of addresses inside this process."""


@dataclass(frozen=True)
class Connection:
    """A client, and what ends it.

    Attributes:
        client: Connected.
        address: The scheduler's address.
        close: Ends what was started for this search; does nothing for the caller's client.
    """

    client: Client
    address: str
    close: Callable[[], None]


def name_of_cluster(where: Where) -> str:
    """Return what a run records about where it was evaluated.

    Raises:
        ConfigurationError: It is neither an address nor a file nor a client.
    """
    if isinstance(where, str | Path):
        return str(where)
    if not hasattr(where, "scheduler"):
        raise ConfigurationError(f"dask: must be an address, a scheduler file or a distributed.Client, got {where!r}")
    return str(getattr(where.scheduler, "address", "a client"))


def connect(
    where: Where,
    workers: int,
    warn: Callable[[str], None],
    gpus: Sequence[str] = (),
    threads: int | None = None,
) -> Connection:
    """Connect to a cluster.

    Args:
        where: See `Where`.
        workers: How many processes of one thread each a local cluster has.
        warn: Called with what the user must know.
        gpus: GPUs of which each worker of a local cluster sees one, in turn.
        threads: See `Setup`; of the workers of a local cluster.

    Raises:
        ConfigurationError: The address cannot be used, or Dask is not installed.
        ClusterLost: No scheduler answers there.
        SearchError: A local cluster cannot be started.
    """
    try:
        import distributed
    except ImportError:
        raise ConfigurationError(
            f"--dask: needs the package distributed, which is not installed: {install_command('dask')}"
        ) from None
    if isinstance(where, distributed.Client):
        if where.asynchronous:
            raise ConfigurationError("dask: the client is asynchronous; give one that was made without asynchronous")
        if where.status != "running":
            raise ConfigurationError(f"dask: the client is {where.status}, not connected to a scheduler")
        _warn_if_open(where, name_of_cluster(where), warn)
        return Connection(where, name_of_cluster(where), lambda: None)
    if not isinstance(where, str | Path):
        raise ConfigurationError(f"dask: must be a distributed.Client, got {where!r}")
    _be_silent()
    if str(where) == LOCAL:
        with threads_of_children(threads):
            return _local(workers, gpus)
    address = _address(where)
    if address.startswith(ENCRYPTED) and not distributed.Security().get_connection_args("client").get("ssl_context"):
        raise ConfigurationError(
            f"--dask {address}: needs certificates, and Dask's configuration names none for clients: "
            "docs/dask.md, Security"
        )
    from distributed.comm.core import FatalCommClosedError

    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name="evo")
    except FatalCommClosedError as error:
        raise ConfigurationError(
            f"--dask {where}: cannot reach the scheduler at {address} ({_first_line(error)}): docs/dask.md, Security"
        ) from None
    except OSError as error:
        raise ClusterLost(
            f"--dask {where}: no scheduler answers at {address} ({_first_line(error)}); "
            "is it running, and can it be reached from here?"
        ) from None
    except (ValueError, TypeError, RuntimeError) as error:  # not an address, or of a kind that Dask is not set up for
        raise ConfigurationError(
            f"--dask {where}: cannot be used as an address ({_first_line(error)}); "
            f"give tcp://host:8786, tls://host:8786, a scheduler file, or {LOCAL}"
        ) from None
    _warn_if_open(client, address, warn)
    return Connection(client, address, client.close)


def _warn_if_open(client: Client, address: str, warn: Callable[[str], None]) -> None:
    """Warn about a scheduler that others can reach: even one addressed by the loopback may listen everywhere."""
    listens = str(client.scheduler_info(n_workers=0).get("address", address))
    if beyond := [one for one in (address, listens) if _is_open(one)]:
        warn(
            f"warning: the scheduler at {beyond[0]} is not encrypted and asks for no password: anyone who can reach "
            "its port can run code as you, on all its workers. Use a tls:// address, or let it listen only on the "
            "loopback (dask scheduler --host 127.0.0.1): docs/dask.md, Security"
        )


def _is_open(address: str) -> bool:
    """Return whether others can reach an address without a certificate."""
    return "://" in address and not address.startswith((*ENCRYPTED, WITHIN)) and not is_loopback(address)


def is_loopback(address: str) -> bool:
    """Return whether an address such as tcp://127.0.0.1:8786 can only be reached from this machine."""
    host = address.partition("://")[2].rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address(where: str | Path) -> str:
    """Return the given address, or the one in a scheduler file."""
    text = str(where)
    if "://" in text:
        return text
    path = with_home(Path(text))
    if path.is_file():
        try:
            return str(json.loads(path.read_text(encoding="utf-8-sig"))["address"])
        except (OSError, ValueError, KeyError, TypeError):
            raise ConfigurationError(f"--dask {text}: is a file, but was not written by a Dask scheduler") from None
    host, _, port = text.rpartition(":")
    if host and port.isdigit():
        return f"tcp://{text}"
    raise ConfigurationError(
        f"--dask {text}: is not an address (tcp://host:8786, tls://host:8786), a scheduler file, or {LOCAL}"
    )


def _local(workers: int, gpus: Sequence[str]) -> Connection:
    """Start a scheduler and workers on this machine; they listen only on its loopback, and end with this process."""
    import dask
    from distributed import Client, LocalCluster, Security

    refuse_in_worker('; put the call of evo.search under `if __name__ == "__main__":`')
    options: dict[str, Any] = {
        "distributed.scheduler.worker-ttl": None,  # a worker here is gone when its process is gone
        "distributed.worker.memory.terminate": False,  # evo plans memory itself
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        # Dask takes what the environment has, also for the process that replaces a worker.
        "distributed.nanny.pre-spawn-environ": {
            **dask.config.get("distributed.nanny.pre-spawn-environ"),
            **{name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
        },
    }
    try:
        # If anything fails before all of it runs, what has been started is ended.
        with ExitStack() as started, dask.config.set(options), without_main(), deaf_to_interrupts():
            cluster = LocalCluster(
                n_workers=0,
                threads_per_worker=1,
                processes=True,
                host=LOOPBACK,
                dashboard_address=f"{LOOPBACK}:0",
                worker_dashboard_address=f"{LOOPBACK}:0",
                memory_limit=0,
                preload=[LOCAL_WORKER],
                silence_logs=logging.CRITICAL,
                security=Security.temporary(),  # other users of the machine can reach its loopback too
            )
            started.callback(cluster.close)
            for number in range(workers):
                if gpus:
                    own = {"env": {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]}}
                    cluster.new_spec = {**cluster.new_spec, "options": {**cluster.new_spec["options"], **own}}
                cluster.scale(number + 1)
            client = Client(cluster, set_as_default=False, name="evo")
            started.callback(client.close)
            client.wait_for_workers(workers, timeout=START_SECONDS)  # they must start within this block
            close = started.pop_all().close
    except ImportError as error:
        raise ConfigurationError(
            f"--dask {LOCAL}: needs certificates, and a package to make them is missing: {error}"
        ) from None
    except (OSError, RuntimeError) as error:
        raise SearchError(f"--dask {LOCAL}: cannot start a cluster: {_first_line(error)}") from error
    return Connection(client, str(cluster.scheduler_address), close)


def _be_silent() -> None:
    """Keep Dask's own log lines out of the terminal: evo reports what the user must know."""
    for handler in logging.getLogger("distributed").handlers:
        handler.setLevel(logging.CRITICAL + 1)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
