"""Workers of a Dask cluster come, go, are lost and late; every task is done, and its result is taken once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, get_worker

from evo.errors import ClusterLost, ConfigurationError, SearchError
from evo.evaluation import Evaluation
from evo.evaluators import ObjectiveSetup, Task
from evo.evaluators.base import Evaluate, StopRequest
from evo.evaluators.dask import worker as dask_worker
from evo.evaluators.dask.cluster import DaskEvaluator
from evo.evaluators.dask.connection import Connection, _warn_if_open, connect, is_loopback
from tests.command import alive, wait_until
from tests.evaluators.arithmetic import Arithmetic
from tests.evaluators.clusters import ProcessCluster, client_of, own_cluster


def square(config: dict[str, Any]) -> float:
    time.sleep(float(config.get("sleep", 0)))
    return float(config["x"]) ** 2


def task(individual: int, **config: Any) -> Task:
    return Task(individual, 0, 100 + individual, {"x": individual, **config})


def evaluator_of(client: Client, **options: Any) -> DaskEvaluator:
    connection = Connection(client, str(client.scheduler.address), lambda: None)
    return DaskEvaluator(options.pop("setup", ObjectiveSetup(square)), lambda: connection, **options)


def all_of(evaluator: DaskEvaluator, seconds: float = 60) -> list[Evaluation]:
    found, end = [], time.monotonic() + seconds
    while evaluator.pending:
        assert time.monotonic() < end, f"{evaluator.pending} tasks do not come back"
        if (evaluation := evaluator.next_completed(timeout=0.2)) is not None:
            found.append(evaluation)
    return found


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Client]:
    with client_of(2) as client:
        yield client


def test_workers_work_at_the_same_time_and_the_table_says_who(two_workers: Client) -> None:
    with evaluator_of(two_workers) as evaluator:
        evaluator.start()
        assert evaluator.workers == 2
        for individual in range(4):
            evaluator.submit(task(individual, sleep=0.3))
        assert evaluator.running == 2
        found = all_of(evaluator)
    assert {evaluation.worker for evaluation in found} == {"worker-0", "worker-1"}


def test_no_more_run_at_a_time_than_was_asked_for(two_workers: Client) -> None:
    with evaluator_of(two_workers, most=1) as evaluator:
        evaluator.start()
        assert evaluator.workers == 1
        for individual in range(3):
            evaluator.submit(task(individual, sleep=0.1))
        assert evaluator.running == 1
        assert len(all_of(evaluator)) == 3


def test_the_costliest_starts_first(two_workers: Client) -> None:
    with evaluator_of(two_workers, most=1) as evaluator:
        evaluator.start()
        evaluator.submit(task(0, sleep=0.1))
        for individual in (1, 2, 3):
            evaluator.submit(replace(task(individual), cost=float(individual)))
        assert [evaluation.individual for evaluation in all_of(evaluator)] == [0, 3, 2, 1]


def test_an_objective_that_no_module_holds_travels_as_it_is(two_workers: Client) -> None:
    factor = 3.0
    with evaluator_of(two_workers, setup=ObjectiveSetup(lambda config: factor * config["x"])) as evaluator:
        evaluator.start()
        evaluator.submit(task(2))
        [evaluation] = all_of(evaluator)
    assert evaluation.fitness == 6.0


def test_an_objective_that_cannot_travel_is_refused(two_workers: Client) -> None:
    lock = __import__("threading").Lock()
    with (
        evaluator_of(two_workers, setup=ObjectiveSetup(lambda config: lock)) as evaluator,
        pytest.raises(ConfigurationError, match="objective cannot be sent"),
    ):
        evaluator.start()


def test_a_client_of_the_users_own_stays_open(two_workers: Client) -> None:
    with evaluator_of(two_workers) as evaluator:
        evaluator.start()
    assert two_workers.status == "running"
    assert two_workers.submit(square, {"x": 3}).result() == 9.0


LET_GO = threading.Event()


def wait_to_be_let_go(config: dict[str, Any]) -> float:
    """Wait until the test lets those go that are to be late; the others answer at once."""
    if config.get("late"):
        LET_GO.wait(60)
    return float(config["x"])


def test_what_takes_too_long_is_given_up_and_a_result_that_comes_later_is_not_taken(two_workers: Client) -> None:
    LET_GO.clear()
    with evaluator_of(two_workers, setup=ObjectiveSetup(wait_to_be_let_go), timeout=2.0) as evaluator:
        evaluator.start()
        evaluator.submit(task(0, late=True))
        [late] = all_of(evaluator)
        assert (late.status, late.seed) == ("timeout", 100)
        assert "--timeout 2 s" in late.error
        assert evaluator.workers == 1, "the worker is still at it"
        LET_GO.set()
        wait_until(lambda: evaluator.next_completed(0.05) is None and evaluator.workers == 2, seconds=30)
        evaluator.submit(task(1))
        assert [evaluation.individual for evaluation in all_of(evaluator)] == [1], "the late result was taken"


def test_a_result_that_arrives_twice_is_taken_once(two_workers: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with evaluator_of(two_workers) as evaluator:
        evaluator.start()
        assert evaluator._link is not None
        heard = evaluator._link.news
        monkeypatch.setattr(evaluator._link, "news", lambda timeout: [e for e in heard(timeout) for _ in (1, 2)])
        for individual in range(4):
            evaluator.submit(task(individual))
        assert sorted(evaluation.individual for evaluation in all_of(evaluator)) == [0, 1, 2, 3]


def test_a_worker_that_has_forgotten_the_search_is_made_ready_again(two_workers: Client) -> None:
    with evaluator_of(two_workers) as evaluator:
        evaluator.start()
        two_workers.run(dask_worker.forget, evaluator._name)
        evaluator.submit(task(3))
        [evaluation] = all_of(evaluator)
    assert evaluation.fitness == 9.0


def test_two_searches_share_a_cluster(two_workers: Client) -> None:
    with evaluator_of(two_workers) as first, evaluator_of(two_workers) as second:
        for evaluator in (first, second):
            evaluator.start()
        for individual in range(4):
            first.submit(task(individual, sleep=0.05))
            second.submit(task(individual + 10, sleep=0.05))
        assert sorted(evaluation.individual for evaluation in all_of(first)) == [0, 1, 2, 3]
        assert sorted(evaluation.individual for evaluation in all_of(second)) == [10, 11, 12, 13]


VERSIONS = dask_worker.versions_here()
OTHER_VERSIONS = {**VERSIONS, "evo's source": "0123456789ab"}


def versions_of_a_mixed_cluster() -> dict[str, str]:
    """Return the versions of the worker that asks; those of worker 0 are others."""
    try:
        name = str(get_worker().name)
    except ValueError:
        name = "none"
    return OTHER_VERSIONS if name == "0" else VERSIONS


def test_a_worker_with_other_sources_takes_no_part_and_the_search_says_so(
    two_workers: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(dask_worker, "versions_here", versions_of_a_mixed_cluster)
    with evaluator_of(two_workers, warn=warnings.append) as evaluator:
        evaluator.start()
        evaluator.submit(task(1))
        [evaluation] = all_of(evaluator)
    assert evaluation.worker == "worker-1"
    [warning] = warnings
    assert "worker-0" in warning
    assert "cannot take part in the search: worker-0" in warning
    assert "evo's source is" in warning
    assert "0123456789ab" in warning
    assert "install" in warning


def test_without_a_worker_that_can_take_part_nothing_begins(
    two_workers: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_worker, "versions_here", lambda: OTHER_VERSIONS)
    evaluator = evaluator_of(two_workers)
    evaluator._prepare()
    monkeypatch.setattr(dask_worker, "versions_here", lambda: VERSIONS)
    monkeypatch.setattr(evaluator, "_prepare", lambda: None)
    with evaluator, pytest.raises(ConfigurationError, match=r"no worker can take part(.|\n)*worker-0(.|\n)*worker-1"):
        evaluator.start()


class Facts(Arithmetic):
    """Says of worker 0 that it computes in another precision."""

    def build(self, stop: StopRequest) -> tuple[Evaluate, dict[str, Any]]:
        function, facts = super().build(stop)
        return function, {**facts, "precision": next(PRECISIONS)}


PRECISIONS: Iterator[str] = iter(())


def test_workers_that_would_compute_in_different_ways_are_not_mixed(two_workers: Client, tmp_path: Path) -> None:
    global PRECISIONS
    PRECISIONS = iter(("bf16", "fp32"))
    with (
        evaluator_of(two_workers, setup=Facts(tmp_path)) as evaluator,
        pytest.raises(ConfigurationError, match=r"cpu, bf16, eager: 1(.|\n)*--precision"),
    ):
        evaluator.start()


def test_workers_that_join_later_are_given_tasks(tmp_path: Path) -> None:
    connection = own_cluster(1)
    with DaskEvaluator(ObjectiveSetup(square), lambda: connection) as evaluator:
        evaluator.start()
        for individual in range(8):
            evaluator.submit(task(individual, sleep=0.5))
        connection.client.cluster.scale(4)
        found = all_of(evaluator)
    assert len({evaluation.worker for evaluation in found}) == 4


@pytest.mark.slow
def test_lost_workers_tasks_are_done_again_elsewhere_and_too_many_losses_are_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evo.evaluators.dask.cluster.LOSSES", 2)
    with ProcessCluster(tmp_path) as cluster:
        for _ in range(2):
            cluster.add_worker()
        said: list[str] = []
        evaluator = DaskEvaluator(
            Arithmetic(tmp_path), lambda: connect(cluster.file, 1, said.append), notify=said.append, warn=said.append
        )
        with evaluator:
            evaluator.start()
            wait_until(lambda: evaluator.next_completed(0.1) is None and evaluator.workers == 2)
            evaluator.submit(task(0, sleep=3))
            evaluator.submit(task(1, sleep=3))
            cluster.workers[0].kill()
            found = {evaluation.individual: evaluation for evaluation in all_of(evaluator)}
            assert {n: e.fitness for n, e in found.items()} == {0: 0.0, 1: 1.0}
            assert len({evaluation.worker for evaluation in found.values()}) == 1, "one worker was left"

            evaluator.submit(task(2, deaths=99))
            for _ in range(2):
                cluster.add_worker()
            [evaluation] = all_of(evaluator)
        assert (evaluation.status, evaluation.seed) == ("failed", 102)
        assert "workers were lost or failed 2 times" in evaluation.error


@pytest.mark.slow
def test_a_scheduler_that_is_gone_ends_the_search_with_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evo.evaluators.dask.link.SCHEDULER_SECONDS", 2.0)
    with ProcessCluster(tmp_path) as cluster:
        cluster.add_worker()
        with DaskEvaluator(Arithmetic(tmp_path), lambda: connect(cluster.address, 1, str)) as evaluator:
            evaluator.start()
            evaluator.submit(task(0, sleep=600))
            cluster.scheduler.kill()
            with pytest.raises(ClusterLost, match=cluster.address):
                all_of(evaluator)


def test_a_local_cluster_listens_on_the_loopback_alone_and_nothing_of_it_is_left() -> None:
    import psutil

    connection = connect("local", 2, str)
    try:
        assert len(connection.client.nthreads()) == 2
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        listening = [c.laddr.ip for p in processes for c in p.net_connections() if c.status == "LISTEN"]
        assert listening
        assert set(listening) == {"127.0.0.1"}
        assert connection.address.startswith("tls://"), "other users of the machine reach its loopback, too"
        workers = connection.client.run(__import__("os").getpid)
    finally:
        connection.close()
    wait_until(lambda: not any(alive(pid) for pid in workers.values()), seconds=10)


@pytest.mark.parametrize("where", ["nowhere", "tcp:/host", "host", 5])
def test_what_is_no_cluster_is_refused_before_anything_is_tried(where: Any) -> None:
    with pytest.raises(ConfigurationError, match="dask"):
        connect(where, 1, str)


def test_a_file_of_something_else_is_no_scheduler_file(tmp_path: Path) -> None:
    path = tmp_path / "scheduler.json"
    path.write_text("{}")
    with pytest.raises(ConfigurationError, match="was not written by a Dask scheduler"):
        connect(path, 1, str)


def test_where_no_scheduler_answers_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evo.evaluators.dask.connection.CONNECT_SECONDS", 0.5)
    with pytest.raises(SearchError, match=r"no scheduler answers at tcp://127\.0\.0\.1:9"):
        connect("127.0.0.1:9", 1, str)


def test_an_encrypted_address_without_certificates_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="names none for clients"):
        connect("tls://127.0.0.1:9", 1, str)


@pytest.mark.parametrize(
    ("address", "listens", "named"),
    [
        ("tcp://192.0.2.1:8786", "tcp://192.0.2.1:8786", "192.0.2.1"),
        ("tcp://127.0.0.1:8786", "tcp://192.0.2.1:8786", "192.0.2.1"),  # reached by the loopback, listens everywhere
        ("tcp://localhost:8786", "tcp://127.0.0.1:8786", None),
        ("tls://192.0.2.1:8786", "tls://192.0.2.1:8786", None),
        ("inproc://192.0.2.1/1/1", "inproc://192.0.2.1/1/1", None),
    ],
)
def test_an_open_scheduler_that_others_reach_is_warned_of(address: str, listens: str, named: str | None) -> None:
    class Connected:
        def scheduler_info(self, n_workers: int) -> dict[str, str]:
            return {"address": listens}

    warnings: list[str] = []
    client: Any = Connected()
    _warn_if_open(client, address, warnings.append)
    assert [f"the scheduler at tcp://{named}:8786 is not encrypted" in warning for warning in warnings] == [True] * (
        named is not None
    )


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("tcp://127.0.0.1:8786", True),
        ("tcp://localhost:1", True),
        ("tcp://[::1]:8786", True),
        ("tcp://10.0.0.1:8786", False),
        ("tcp://127.example.org:8786", False),
    ],
)
def test_what_leads_to_this_machine_alone(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback
