"""A conversation with a Dask cluster: calls go out to workers, and everything that comes back waits in one queue.

Dask's client works in a thread of its own, which fills the queue. The search's thread empties it, and never waits for
anything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from evo.errors import ClusterLost
from evo.evaluators.base import reason_of
from evo.evaluators.dask.connection import Connection

if TYPE_CHECKING:
    from distributed import Future, Worker

KEYS = "evo-"
"""What the keys of all searches begin with."""
WATCH_SECONDS = 1.0
"""How often the scheduler is asked for its workers."""
SCHEDULER_SECONDS = 10.0
"""How long the scheduler may be silent before it counts as gone."""
PARTING_SECONDS = 2.0
"""How long to wait for workers that are told that a search has ended."""
ASK_SECONDS = 5.0
"""How long a worker may take to list its tasks before it counts as hanging."""
RELEASE_SECONDS = 0.1
"""Delay before a returned call is released: the messages would hold up the worker's next call by 5 to 15 ms."""


@dataclass(frozen=True)
class Present:
    """The addresses of the workers; sent whenever they have changed.

    Attributes:
        workers: All workers.
        resting: Those that begin nothing: Dask has paused them for their memory, or they are about to leave.
        left: Those that have left as planned since the last message, say because their batch job's time was over.
    """

    workers: frozenset[str]
    resting: frozenset[str] = frozenset()
    left: frozenset[str] = field(default=frozenset(), compare=False)


@dataclass(frozen=True)
class Lost:
    """Why a call came to nothing, where the called function is not to blame."""

    reason: str


@dataclass(frozen=True)
class Returned:
    """What a call has returned, or the exception that it has raised, or `Lost`."""

    call: Call
    content: Any


@dataclass(frozen=True)
class Told:
    """What a worker says during a call: see `evo.evaluators.dask.worker.evaluate`.

    Attributes:
        key: The call's.
        content: What it says; empty when the call begins, which may have waited behind other tasks on the worker.
    """

    key: str
    content: bytes


@dataclass(frozen=True)
class NotRestarted:
    """Why a worker was not restarted that should have been."""

    address: str
    reason: str


Event: TypeAlias = Present | Returned | Told | NotRestarted


class Call:
    """A function that is called on a worker.

    Attributes:
        key: Its unique name.
    """

    def __init__(self, future: Future):
        self.key = str(future.key)
        self._future = future
        self._has_returned = False

    def release(self) -> None:
        """Stop waiting for it, and tell its worker so. A call that has returned is released by itself."""
        if not self._has_returned:
            self._future.release()


class Link:
    """A conversation with a cluster.

    Args:
        connection: Its other end.
        name: The search's unique name, part of the keys of all its calls.
        topic: The topic of Dask's events under which workers tell about calls.
    """

    def __init__(self, connection: Connection, name: str, topic: str):
        self.address = connection.address
        self._connection, self._client, self._name = connection, connection.client, name
        self._topic = topic
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._calls = 0
        self._closed = False
        self._client.loop.add_callback(self._watch)

    def call(
        self, address: str, name: str, function: Callable[..., Any], *arguments: Any, resources: dict[str, float] | None
    ) -> Call:
        """Call a function on one worker and on no other.

        Every call has its own key, so that Dask does not merge two: the same training may be wanted twice.

        Raises:
            ClusterLost: The client was closed, or has lost its scheduler.
        """
        self._calls += 1
        try:
            future = self._client.submit(
                function,
                *arguments,
                key=f"{KEYS}{self._name}-{name}-{self._calls}",
                pure=False,
                workers=[address],
                allow_other_workers=False,
                resources=resources,
            )
        except Exception as error:
            if self._client.status != "closed":
                raise
            raise ClusterLost(self._gone()) from error
        call = Call(future)
        self._client.loop.add_callback(self._collect, call, call._future)
        return call

    def tell(self, addresses: Sequence[str], function: Callable[..., Any], *arguments: Any) -> None:
        """Call a quick function in the processes of workers, even while they are busy; its result is ignored."""
        run = self._client.run(function, *arguments, workers=list(addresses), on_error="ignore", asynchronous=True)
        self._client.loop.add_callback(_quietly, run)

    def restart(self, address: str, key: str) -> None:
        """End a worker's process if it still runs an abandoned call, and let its nanny start another.

        A worker that does not even answer counts as still running it. A worker that holds tasks or results of others
        is left alone, since these would be lost too.
        """

        async def restart() -> None:
            with contextlib.suppress(Exception):
                asked = self._client.run(_keys_there, workers=[address])
                there = (await asyncio.wait_for(asked, ASK_SECONDS))[address]
                if key not in there:
                    return
                if not all(name.startswith(KEYS) for name in there):
                    self._events.put(NotRestarted(address, "others have tasks or results there"))
                    return
            try:
                await self._client.restart_workers([address])  # in the client's thread this is a coroutine
            except Exception as error:
                self._events.put(NotRestarted(address, reason_of(error)))

        self._client.loop.add_callback(restart)

    def events(self, timeout: float | None) -> list[Event]:
        """Wait for an event, for `timeout` seconds at most, and return all that have come.

        Raises:
            ClusterLost: The scheduler is gone.
        """
        found: list[Event] = []
        with contextlib.suppress(queue.Empty):
            event = self._events.get(timeout=timeout)
            while True:
                if event is None and found:  # handle what came before that first
                    self._events.put(None)
                    break
                if event is None:
                    raise ClusterLost(self._gone())
                found.append(event)
                event = self._events.get_nowait()
        return found

    def _gone(self) -> str:
        return f"the Dask scheduler at {self.address} is gone, or can no longer be reached"

    @property
    def connected(self) -> bool:
        """Whether the client has a scheduler."""
        return bool(self._client.status == "running")

    def close(self, parting: Callable[..., Any], *arguments: Any) -> None:
        """End the conversation, after calling `parting` in the process of every worker."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(Exception):  # workers that are gone need no parting
            if self.connected:
                self._client.unsubscribe_topic(self._topic)
                self._client.run(parting, *arguments, on_error="ignore", callback_timeout=PARTING_SECONDS)
        self._connection.close()

    # Below: what runs in the client's thread.

    async def _watch(self) -> None:
        """Report which workers there are, and when the scheduler is gone."""
        known: Present | None = None
        subscribed: object = None
        heard = time.monotonic()
        while not self._closed:
            with contextlib.suppress(Exception):  # the clock below notices answers that do not come
                if self.connected:
                    if self._client.scheduler_comm is not subscribed:  # also if the scheduler was lost and found again
                        self._client.subscribe_topic(self._topic, self._hear)
                        subscribed = self._client.scheduler_comm
                    found = await asyncio.wait_for(self._ask_for_workers(), SCHEDULER_SECONDS)
                    heard = time.monotonic()
                    if found != known:
                        gone = known.workers - found.workers if known is not None else frozenset()
                        known = replace(found, left=await self._left_in_order(gone))
                        self._events.put(known)
            if self._client.status == "closed" or time.monotonic() > heard + SCHEDULER_SECONDS:
                self._events.put(None)
                return
            await asyncio.sleep(WATCH_SECONDS)

    async def _ask_for_workers(self) -> Present:
        workers = frozenset(await self._client.nthreads(asynchronous=True))
        return Present(workers, resting=workers - frozenset(await self._client.scheduler.ncores_running()))

    async def _left_in_order(self, gone: frozenset[str]) -> frozenset[str]:
        """Return which of the workers that are gone had been expected to leave."""
        found = set()
        for address in gone:
            with contextlib.suppress(Exception):
                events = await asyncio.wait_for(self._client.scheduler.events(topic=address), SCHEDULER_SECONDS)
                ends = [told for _, told in events if told.get("action") == "remove-worker"]
                if ends and ends[-1].get("expected"):
                    found.add(address)
        return frozenset(found)

    def _hear(self, event: tuple[float, tuple[str, bytes]]) -> None:
        self._events.put(Told(*event[1]))

    async def _collect(self, call: Call, future: Future) -> None:
        """Fetch what a worker returns or raises."""
        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        try:
            content = await self._client.gather(future, asynchronous=True)
        except (KilledWorker, CommClosedError, CancelledError, asyncio.CancelledError) as error:
            content = Lost(reason_of(error))
        except Exception as error:
            content = error
        call._has_returned = True
        self._events.put(Returned(call, content))
        await asyncio.sleep(RELEASE_SECONDS)
        future.release()


def _keys_there(dask_worker: Worker) -> list[str]:
    """Return, on a worker, the keys of its tasks and results; an abandoned call is among them until it ends."""
    return [str(key) for key in (*dask_worker.state.tasks, *dask_worker.data)]


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    with contextlib.suppress(Exception):
        await work
