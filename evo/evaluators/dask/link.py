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
"""How often the scheduler is asked who its workers are."""
SCHEDULER_SECONDS = 10.0
"""How long the scheduler may be silent before it is taken for gone."""
PARTING_SECONDS = 2.0
"""How long workers are waited for when they are told that a search has ended."""
ASK_SECONDS = 5.0
"""How long a worker may take to say what it is at before it is taken for hanging."""
RELEASE_SECONDS = 0.1
"""When a call that has returned is released: what that sends would hold up the worker's next call by 5 to 15 ms."""


@dataclass(frozen=True)
class Present:
    """Who the workers are, by address; told whenever that has changed.

    Attributes:
        workers: All that are there.
        resting: Those of them that begin nothing: Dask has paused them for their memory, or they are about to leave.
        left: Those that have left in order since they were last told of: the time of a batch job was over, say.
    """

    workers: frozenset[str]
    resting: frozenset[str] = frozenset()
    left: frozenset[str] = field(default=frozenset(), compare=False)


@dataclass(frozen=True)
class Lost:
    """A call came to nothing, by no fault of what was called.

    Attributes:
        reason: Why.
    """

    reason: str


@dataclass(frozen=True)
class Returned:
    """What a call has returned, or the exception that it has raised, or `Lost`."""

    call: Call
    content: Any


@dataclass(frozen=True)
class Begun:
    """A worker tells that it has begun a call, which may have waited there behind what others have.

    Attributes:
        key: The call's.
    """

    key: str


@dataclass(frozen=True)
class NotRestarted:
    """A worker that was to be started again, and why it was not."""

    address: str
    reason: str


Event: TypeAlias = Present | Returned | Begun | NotRestarted


class Call:
    """A function that is called on a worker.

    Attributes:
        key: Its name, which no other call has.
    """

    def __init__(self, future: Future):
        self.key = str(future.key)
        self._future = future
        self._has_returned = False

    def release(self) -> None:
        """Wait no longer for it; a worker that is at it is told. What has returned is released by itself."""
        if not self._has_returned:
            self._future.release()


class Link:
    """A conversation with a cluster.

    Args:
        connection: Its other end.
        name: What the keys of all calls begin with; no other search has it.
        topic: Under which workers tell that they have begun a call.
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

        Every call has a key of its own, so that Dask takes no two for one: the same training may be wanted twice.

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
        """Call a quick function in the processes of workers, also while they do something else; nobody waits for it."""
        run = self._client.run(function, *arguments, workers=list(addresses), on_error="ignore", asynchronous=True)
        self._client.loop.add_callback(_quietly, run)

    def restart(self, address: str, key: str) -> None:
        """End a worker's process if it is still at a call that nobody waits for, and let its nanny start another.

        If it does not even say whether it is, it is. What others have there would go with it: then it is left alone.
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
                    raise ClusterLost(self._gone())
                found.append(event)
                event = self._events.get_nowait()
        return found

    def _gone(self) -> str:
        return f"the Dask scheduler at {self.address} is gone, or cannot be reached any more"

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
                self._client.unsubscribe_topic(self._topic)
                self._client.run(parting, *arguments, on_error="ignore", callback_timeout=PARTING_SECONDS)
        self._connection.close()

    # What runs in the client's thread.

    async def _watch(self) -> None:
        """Tell who the workers are, and when the scheduler is gone."""
        known: Present | None = None
        subscribed: object = None
        heard = time.monotonic()
        while not self._closed:
            with contextlib.suppress(Exception):  # an answer that does not come is what the clock is for
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
        """Return which of the workers that are gone were expected to go: they were not lost."""
        found = set()
        for address in gone:
            with contextlib.suppress(Exception):
                events = await asyncio.wait_for(self._client.scheduler.events(topic=address), SCHEDULER_SECONDS)
                ends = [told for _, told in events if told.get("action") == "remove-worker"]
                if ends and ends[-1].get("expected"):
                    found.add(address)
        return frozenset(found)

    def _hear(self, event: tuple[float, str]) -> None:
        """Take in that a worker has begun a call."""
        self._events.put(Begun(event[1]))

    async def _collect(self, call: Call, future: Future) -> None:
        """Bring back what a worker returns or raises."""
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
    """Return, on a worker, what it has to do or keeps; a call that was given up is there until it ends."""
    return [str(key) for key in (*dask_worker.state.tasks, *dask_worker.data)]


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    with contextlib.suppress(Exception):
        await work
