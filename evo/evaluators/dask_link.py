"""A conversation with a Dask cluster: calls go out to workers, and all that comes back waits in one queue.

Dask's client works in a thread of its own. What it hears is put into the queue there, and taken out by the search's
thread, which never waits for anything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from evo.errors import ClusterLost
from evo.evaluators.base import reason_of
from evo.evaluators.dask_connection import Connection

if TYPE_CHECKING:
    from distributed import Future

WATCH_SECONDS = 1.0
"""How often the scheduler is asked who its workers are."""
SCHEDULER_SECONDS = 10.0
"""How long the scheduler may be silent before it is taken for gone."""
PARTING_SECONDS = 2.0
"""How long the workers are waited for when they are told that a search has ended."""


@dataclass(frozen=True)
class Present:
    """Who the workers are, by address; told whenever that has changed."""

    workers: frozenset[str]


@dataclass(frozen=True)
class Returned:
    """What a call has returned, or the exception that it has raised or was lost with."""

    call: Call
    content: Any


@dataclass(frozen=True)
class NotRestarted:
    """A worker that was to be started again, and why it was not."""

    address: str
    reason: str


Event: TypeAlias = Present | Returned | NotRestarted


class Call:
    """A function that is called on a worker."""

    def __init__(self, future: Future):
        self._future = future

    def release(self) -> None:
        """Wait no longer for it; a worker that is at it is told."""
        self._future.release()


class Link:
    """A conversation with a cluster.

    Args:
        connection: Its other end.
        name: What the keys of all calls begin with; no other search has it.
    """

    def __init__(self, connection: Connection, name: str):
        self.address = connection.address
        self._connection, self._client, self._name = connection, connection.client, name
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._calls = 0
        self._closed = False
        self._client.loop.add_callback(self._watch)

    def call(
        self, address: str, name: str, function: Callable[..., Any], *arguments: Any, resources: dict[str, float] | None
    ) -> Call:
        """Call a function on one worker and on no other.

        Every call has a key of its own, so that Dask takes no two for one: the same training may be wanted twice.
        """
        self._calls += 1
        call = Call(
            self._client.submit(
                function,
                *arguments,
                key=f"evo-{self._name}-{name}-{self._calls}",
                pure=False,
                workers=[address],
                allow_other_workers=False,
                resources=resources,
            )
        )
        self._client.loop.add_callback(self._collect, call, call._future)
        return call

    def tell(self, addresses: Sequence[str], function: Callable[..., Any], *arguments: Any) -> None:
        """Call a quick function in the processes of workers, also while they do something else; nobody waits for it."""
        run = self._client.run(function, *arguments, workers=list(addresses), on_error="ignore", asynchronous=True)
        self._client.loop.add_callback(_quietly, run)

    def restart(self, address: str) -> None:
        """End a worker's process, and let its nanny start another."""

        async def restart() -> None:
            try:
                await self._client.restart_workers([address])  # in the client's thread this is a coroutine
            except Exception as error:
                self._events.put(NotRestarted(address, reason_of(error)))

        self._client.loop.add_callback(restart)

    def events(self, timeout: float | None) -> list[Event]:
        """Wait for something that happens, for `timeout` seconds at most, and return all that has happened.

        Raises:
            ClusterLost: The scheduler is gone.
        """
        found: list[Event] = []
        with contextlib.suppress(queue.Empty):
            event = self._events.get(timeout=timeout)
            while True:
                if event is None and found:  # what has come before is taken in first
                    self._events.put(None)
                    break
                if event is None:
                    raise ClusterLost(f"the Dask scheduler at {self.address} is gone, or cannot be reached any more")
                found.append(event)
                event = self._events.get_nowait()
        return found

    @property
    def connected(self) -> bool:
        """Whether the scheduler is there, as far as one knows."""
        return bool(self._client.status == "running")

    def close(self, parting: Callable[..., Any], *arguments: Any) -> None:
        """End the conversation; `parting` is called in the process of every worker first."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(Exception):  # whoever is gone needs no parting
            if self.connected:
                self._client.run(parting, *arguments, on_error="ignore", callback_timeout=PARTING_SECONDS)
        self._connection.close()

    # What runs in the client's thread.

    async def _watch(self) -> None:
        """Tell who the workers are, and when the scheduler is gone."""
        known: frozenset[str] | None = None
        heard = time.monotonic()
        while not self._closed:
            with contextlib.suppress(Exception):  # an answer that does not come is what the clock is for
                if self.connected:
                    asked = self._client.nthreads(asynchronous=True)
                    found = frozenset(await asyncio.wait_for(asked, SCHEDULER_SECONDS))
                    heard = time.monotonic()
                    if found != known:
                        self._events.put(Present(known := found))
            if self._client.status == "closed" or time.monotonic() > heard + SCHEDULER_SECONDS:
                self._events.put(None)
                return
            await asyncio.sleep(WATCH_SECONDS)

    async def _collect(self, call: Call, future: Future) -> None:
        """Bring back what a worker returns or raises."""
        try:
            content = await self._client.gather(future, asynchronous=True)
        except (Exception, asyncio.CancelledError) as error:
            content = error
        self._events.put(Returned(call, content))


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    with contextlib.suppress(Exception):
        await work
