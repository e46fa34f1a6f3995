"""A conversation with a Dask cluster: calls go out to workers, and all news wait in one queue.

Dask's client works in its own thread, which fills the queue with what is to be done about the news. The search's thread
empties it, and never waits for anything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from evo.errors import ClusterLost
from evo.evaluators.dask.connection import Connection
from evo.plain_text import reason_of

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


News: TypeAlias = Callable[[], None]
"""What to do, in the search's thread, about something that has happened."""


class Link:
    """A conversation with a cluster.

    Args:
        connection: Its other end.
        name: The search's unique name, part of the keys of all its calls.
        topic: The topic of Dask's events under which workers report about calls.
        look: Called, whenever these have changed, with the addresses of all workers; with those that begin nothing,
            because Dask has paused them for their memory or they are about to leave; and with those that have left as
            planned since the last time, for example because the time of their batch job was over.
        hear: Called with the key of a call and what its worker reports: see `evo.evaluators.dask.worker.evaluate`.
    """

    def __init__(
        self,
        connection: Connection,
        name: str,
        topic: str,
        *,
        look: Callable[[frozenset[str], frozenset[str], frozenset[str]], None],
        hear: Callable[[str, bytes], None],
    ):
        self.address = connection.address
        self._connection, self._client, self._name = connection, connection.client, name
        self._topic, self._look, self._hear = topic, look, hear
        self._news: queue.SimpleQueue[News | None] = queue.SimpleQueue()
        self._calls = 0
        self._closed = False
        self._client.loop.add_callback(self._watch)

    def call(
        self,
        address: str,
        name: str,
        function: Callable[..., Any],
        *arguments: Any,
        returned: Callable[[Future, Any], None],
        resources: dict[str, float] | None = None,
    ) -> Future:
        """Call a function on one worker and on no other.

        Every call has its own key, so that Dask does not merge two: the same training may be wanted twice.

        Args:
            address: The worker's.
            name: Part of the call's key.
            function: What to call there.
            *arguments: Its arguments.
            returned: Called with the call, and with what it has returned or the exception that it has raised;
                `ConnectionError` if the function is not to blame.
            resources: What Dask reserves on the worker for the call.

        Raises:
            ClusterLost: The client was closed, or has lost its scheduler.
        """
        self._calls += 1
        try:
            call = self._client.submit(
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
        self._client.loop.add_callback(self._collect, call, returned)
        return call

    def tell(self, addresses: Sequence[str], function: Callable[..., Any], *arguments: Any) -> None:
        """Call a quick function in the processes of workers, even while they are busy; its result is ignored."""
        run = self._client.run(function, *arguments, workers=list(addresses), on_error="ignore", asynchronous=True)
        self._client.loop.add_callback(_quietly, run)

    def restart(self, address: str, key: str, refused: Callable[[str], None]) -> None:
        """End a worker's process if it still runs an abandoned call, and let its nanny start another.

        A worker that does not even answer counts as still running it. A worker that holds tasks or results of others
        is left alone, since these would be lost too.

        Args:
            address: The worker's.
            key: The call's.
            refused: Called with the reason if the worker is not restarted.
        """

        async def restart() -> None:
            with contextlib.suppress(Exception):
                asked = self._client.run(_keys_there, workers=[address])
                there = (await asyncio.wait_for(asked, ASK_SECONDS))[address]
                if key not in there:
                    return
                if not all(name.startswith(KEYS) for name in there):
                    self._news.put(partial(refused, "others have tasks or results there"))
                    return
            try:
                await self._client.restart_workers([address])  # in the client's thread this is a coroutine
            except Exception as error:
                self._news.put(partial(refused, reason_of(error)))

        self._client.loop.add_callback(restart)

    def news(self, timeout: float | None) -> list[News]:
        """Wait for news, for `timeout` seconds at most, and return all that have come.

        Raises:
            ClusterLost: The scheduler is gone.
        """
        found: list[News] = []
        with contextlib.suppress(queue.Empty):
            act = self._news.get(timeout=timeout)
            while act is not None:
                found.append(act)
                act = self._news.get_nowait()
            if not found:
                raise ClusterLost(self._gone())
            self._news.put(None)  # handle what came before that first
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
        workers: frozenset[str] = frozenset()
        resting: frozenset[str] = frozenset()
        subscribed: object = None
        heard = time.monotonic()
        while not self._closed:
            with contextlib.suppress(Exception):  # the clock below notices answers that do not come
                if self.connected:
                    if self._client.scheduler_comm is not subscribed:  # also if the scheduler was lost and found again
                        self._client.subscribe_topic(self._topic, self._pass_on)
                        subscribed = self._client.scheduler_comm
                    before = workers, resting
                    workers, resting = await asyncio.wait_for(self._ask_for_workers(), SCHEDULER_SECONDS)
                    heard = time.monotonic()
                    if (workers, resting) != before:
                        left = await self._left_in_order(before[0] - workers)
                        self._news.put(partial(self._look, workers, resting, left))
            if self._client.status == "closed" or time.monotonic() > heard + SCHEDULER_SECONDS:
                self._news.put(None)
                return
            await asyncio.sleep(WATCH_SECONDS)

    async def _ask_for_workers(self) -> tuple[frozenset[str], frozenset[str]]:
        workers = frozenset(await self._client.nthreads(asynchronous=True))
        return workers, workers - frozenset(await self._client.scheduler.ncores_running())

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

    def _pass_on(self, event: tuple[float, tuple[str, bytes]]) -> None:
        self._news.put(partial(self._hear, *event[1]))

    async def _collect(self, call: Future, returned: Callable[[Future, Any], None]) -> None:
        """Fetch what a worker returns or raises."""
        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        try:
            content = await self._client.gather(call, asynchronous=True)
        except (KilledWorker, CommClosedError, CancelledError, asyncio.CancelledError) as error:
            content = ConnectionError(str(error) or type(error).__name__)
        except Exception as error:
            content = error
        self._news.put(partial(returned, call, content))
        await asyncio.sleep(RELEASE_SECONDS)
        call.release()


def _keys_there(dask_worker: Worker) -> list[str]:
    """Return, on a worker, the keys of its tasks and results; an abandoned call is among them until it ends."""
    return [str(key) for key in (*dask_worker.state.tasks, *dask_worker.data)]


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    with contextlib.suppress(Exception):
        await work
