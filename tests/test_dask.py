"""A search on a Dask cluster: the table of a local one, whatever computes it; it can continue after every stop."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from distributed import Client

import evo
from evo.cli.commands.shell import watched
from evo.data import PreparedDataset
from evo.errors import ConfigurationError
from evo.evaluators import TrainingSetup
from evo.evaluators.base import Report
from evo.evaluators.dask import worker as dask_worker
from evo.evaluators.dask.connection import connect
from evo.evaluators.dask.link import Link
from evo.evaluators.dask.worker import _check_precision, _data_here, evaluate
from evo.loop.execution import Execution, make_cluster_evaluator
from evo.loop.search_loop import SilentObserver
from evo.record.run import Run
from evo.space.training_settings import TrainingSettings
from evo.training.hardware import visible_gpus
from tests.command import CLOCK_COLUMNS, children, journal_text, rows_of, run_command, start_command, tables, wait_until
from tests.conftest import SEARCH_DIGITS
from tests.evaluators.clusters import ProcessCluster, client_of
from tests.images import write_images
from tests.noted_model import NOTE
from tests.reporting_objective import STEPS, stepwise

SPACE = evo.SearchSpace({"x": evo.Float(-2.0, 2.0), "y": evo.Float(-2.0, 2.0), "up": evo.Boolean()})
RESUMABLE = 75


def objective(config: dict[str, Any], seed: int) -> float:
    """Take the longer the higher its seed is, so that results arrive in another order than they were asked for."""
    time.sleep((seed % 7) / 500)
    return -((config["x"] - 1) ** 2) - (config["y"] + 1) ** 2 + (seed % 100) / 1000 + config["up"]


def table_of(run: Run) -> pd.DataFrame:
    return run.table.drop(columns=[*CLOCK_COLUMNS])


@pytest.fixture(scope="module")
def three_workers() -> Iterator[Client]:
    with client_of(3) as client:
        yield client


@pytest.mark.parametrize("strategy", ["ga", "ageing", "cma", "random"])
def test_every_number_of_workers_gives_the_same_table(three_workers: Client, strategy: str) -> None:
    space = SPACE if strategy != "cma" else evo.SearchSpace({**SPACE.genes, "up": evo.Float(0.0, 1.0)})
    options: dict[str, Any] = {"strategy": strategy, "budget": 24, "population": 6, "seed": 5, "finalists": 1}
    here = evo.search(space, objective, **options)
    there = evo.search(space, objective, dask=three_workers, **options)
    alone = evo.search(space, objective, dask=three_workers, workers=1, **options)
    for run in (there, alone):
        pd.testing.assert_frame_equal(table_of(run), table_of(here))
        assert run.best.id == here.best.id
    assert (there.settings.workers, alone.settings.workers, here.settings.dask) == (3, 1, None)
    assert there.settings.dask == three_workers.scheduler.address
    assert len(set(there.table["worker"])) > 1


@pytest.mark.parametrize("sees_folder", [True, False])
@pytest.mark.parametrize("options", [{"pruner": "median"}, {"strategy": "halving"}], ids=["pruner", "halving"])
def test_an_objective_that_reports_has_the_same_table_whether_its_workers_see_the_folder(
    three_workers: Client, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], sees_folder: bool, tmp_path: Path
) -> None:
    """A worker that does not see it begins each part of a training at 0."""
    told: list[int] = []

    class Watcher(SilentObserver):
        def reported(self, run: Run, report: Report) -> None:
            told.append(report.points[-1].step)

    if not sees_folder:
        monkeypatch.setattr(dask_worker, "_sees", lambda invitation: False)
    space = evo.SearchSpace({"x": evo.Float(0.0, 0.5), "y": evo.Float(0.0, 0.5)})
    asked = {"max_steps": STEPS, "budget": 14, "seed": 2, "finalists": 1, "direction": "minimise", **options}
    here = evo.search(space, stepwise, **asked)
    there = evo.search(space, stepwise, **asked, dask=three_workers, observer=Watcher(), output=tmp_path / "run")
    pd.testing.assert_frame_equal(table_of(there), table_of(here))
    pd.testing.assert_frame_equal(there.curves, here.curves)
    assert max(told) == STEPS


def test_an_asynchronous_search_proposes_for_free_workers_alone(three_workers: Client) -> None:
    ahead = []

    class Watcher(SilentObserver):
        def evaluated(self, run: Run, evaluation: object, seconds_left: float | None) -> None:
            ahead.append(len(run.individuals) - len(run.evaluations))

    evo.search(
        SPACE,
        objective,
        strategy="ageing",
        asynchronous=True,
        budget=20,
        population=4,
        dask=three_workers,
        observer=Watcher(),
        finalists=0,
    )
    assert len(ahead) == 20
    assert max(ahead) <= 2, "a fourth was proposed before the result of one of three was known"


@pytest.mark.slow
def test_trainings_on_workers_that_share_a_process_do_not_disturb_each_other(
    three_workers: Client, uninterrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    evo.search("digits", budget=10, population=4, finalists=2, seed=7, dask=three_workers, output=run)
    assert tables(run) == tables(uninterrupted)
    assert not list(run.glob(".*")), "what the workers found the folder by is left behind"


@pytest.mark.slow
def test_workers_that_do_not_see_the_run_folder_write_nothing_and_send_trained_weights(
    three_workers: Client, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[Any, ...]] = []
    call = Link.call

    def watched(link: Link, address: str, name: str, function: Any, *arguments: Any, **options: Any) -> Any:
        if function is evaluate:
            sent.append(arguments)
        return call(link, address, name, function, *arguments, **options)

    monkeypatch.setattr(dask_worker, "_sees", lambda invitation: False)
    monkeypatch.setattr(Link, "call", watched)
    run, said = tmp_path / "run", []

    class Listener(SilentObserver):
        def notify(self, message: str) -> None:
            said.append(message)

    evo.search(
        "digits", budget=10, population=4, finalists=2, seed=7, dask=three_workers, output=run, observer=Listener()
    )
    assert tables(run) == tables(uninterrupted)
    assert all(weights is not None for _, _, weights in sent), "the worker took itself for one that sees the folder"
    weights = [content for _, [task], [content] in sent if task.measure == "test"]
    assert len(weights) == 6
    assert all(weights), "weights were not sent with the task, so the network was trained again"
    assert [message for message in said if "do not see the run folder" in message]
    assert not (run / "states").exists()
    assert not (run / "weights").exists()


@pytest.mark.slow
def test_the_command_on_a_local_cluster_gives_the_table_of_the_process_pool(
    uninterrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    finished = run_command(*SEARCH_DIGITS, "--workers", "2", "--dask", "local", "--output", run)
    assert finished.returncode == 0, finished.stderr
    assert "do not see the run folder" not in finished.stderr, "it was asked for before all had looked"
    assert tables(run) == tables(uninterrupted)
    assert json.loads((run / "settings.json").read_text())["dask"] == "local"


@pytest.mark.slow
def test_when_the_scheduler_is_gone_the_search_says_so_and_goes_on_elsewhere(
    uninterrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with ProcessCluster(tmp_path) as cluster:
        cluster.add_worker()
        process = start_command(*SEARCH_DIGITS, "--dask", cluster.file, "--output", run)
        wait_until(lambda: journal_text(run).count('"kind":"evaluation"') >= 3)
        cluster.scheduler.kill()
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == RESUMABLE
    assert "Traceback" not in stderr
    assert f"the Dask scheduler at {cluster.address} is gone" in stderr
    assert f"evo resume {run}" in stderr
    assert run_command("resume", run, "--dask", "local", "--workers", "1").returncode == 0
    assert tables(run) == tables(uninterrupted)


LONG_TRAINING = """
dataset = "digits"

[training]
evaluate_every = 1000
batch_size = 100
steps = 6000
learning_rate = 1e-3

[genes.hidden_layers]
type = "layers"
depth = [1, 1]
width = [60, 64]
"""


@pytest.mark.slow
def test_ctrl_c_saves_a_training_in_flight_and_the_resume_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, run, whole, note = (tmp_path / name for name in ("long.toml", "run", "whole", "note"))
    space.write_text(LONG_TRAINING)
    monkeypatch.setenv(NOTE, str(note))
    model = ("--model", "tests.noted_model:build")
    search = ("search", space, *model, "--strategy", "random", "--population", "1", "--budget", "1", "--finalists", "0")
    process = start_command(*search, "--workers", "1", "--dask", "local", "--output", run)
    wait_until(note.exists)
    for pid in (process.pid, *children(process.pid)):  # a terminal sends Ctrl-C to all of them
        os.kill(pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert f"evo resume {run} --dask local --model tests" in stderr
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["0-0.safetensors"]
    assert not list(run.glob(".*.cluster")), "what the workers found the folder by is left behind"
    assert run_command("resume", run, *model).returncode == 0
    assert run_command(*search, "--output", whole).returncode == 0
    for name in ("evaluations", "curves"):
        assert rows_of(run / f"{name}.csv") == rows_of(whole / f"{name}.csv")


@pytest.fixture
def soon_tired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evo.evaluators.dask.connection.CONNECT_SECONDS", 0.3)


NOBODY_THERE = "tcp://127.0.0.1:9"


def test_where_no_scheduler_answers_a_new_search_is_wrongly_asked_for_and_nothing_is_written(
    tmp_path: Path, soon_tired: None
) -> None:
    with pytest.raises(ConfigurationError, match="no scheduler answers at tcp://127"):
        evo.search(SPACE, objective, budget=3, dask=NOBODY_THERE, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_where_no_scheduler_answers_a_run_can_still_go_on_later(
    tmp_path: Path, soon_tired: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    options: dict[str, Any] = {"budget": 4, "population": 2, "strategy": "random", "finalists": 0}
    evo.search(SPACE, objective, **options, output=run)
    with pytest.raises(typer.Exit) as stopped:
        watched(evo.resume, {"quiet": True, "path": run, "objective": objective, "budget": 6, "dask": NOBODY_THERE})
    assert stopped.value.exit_code == RESUMABLE
    said = capsys.readouterr().err
    assert "no scheduler answers" in said
    assert f"evo.resume('{run}', objective=objective, dask='{NOBODY_THERE}')" in said
    assert len(evo.resume(run, objective, budget=6).evaluations) == 6


CALLS = itertools.count()
LET_GO = threading.Event()


def one_is_late(config: dict[str, Any]) -> float:
    """Do not return from the third call before the test's end."""
    if next(CALLS) == 2:
        LET_GO.wait(60)
    return -float(config["x"] ** 2)


def test_an_asynchronous_search_goes_on_without_what_is_over_its_time(three_workers: Client) -> None:
    try:
        run = evo.search(
            SPACE,
            one_is_late,
            strategy="ageing",
            asynchronous=True,
            budget=12,
            population=4,
            timeout=1.0,
            finalists=0,
            dask=three_workers,
        )
    finally:
        LET_GO.set()
    statuses = [evaluation.status for evaluation in run.search_evaluations]
    assert sorted(statuses) == ["complete"] * 11 + ["timeout"]


@pytest.mark.slow
def test_a_folder_of_images_under_the_home_folder_is_found_by_a_resume(
    three_workers: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_images(tmp_path / "images", train=40)
    space = tmp_path / "space.toml"
    space.write_text(LONG_TRAINING.replace("steps = 6000", "steps = 4").replace("batch_size = 100", "batch_size = 8"))
    options: dict[str, Any] = {"model": "mlp", "strategy": "random", "population": 1, "finalists": 0}
    run = tmp_path / "run"
    evo.search(space, budget=1, data_dir="~/images", output=run, workers=1, **options)
    (tmp_path / "images").rename(tmp_path / "moved")
    went_on = evo.resume(run, budget=2, data_dir="~/moved", dask=three_workers)
    assert [evaluation.status for evaluation in went_on.search_evaluations] == ["complete", "complete"]


# A cluster on this machine, and its GPUs.


@pytest.mark.parametrize(
    ("device", "workers", "expected"),
    [("auto", None, (2, ["0", "1"])), ("cuda", 4, (4, ["0", "1"])), ("cpu", None, (5, [])), ("cuda:1", None, (1, []))],
)
def test_a_cluster_on_this_machine_has_one_worker_a_gpu(
    setup: TrainingSetup,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    workers: int | None,
    expected: tuple[int, list[str]],
) -> None:
    asked = []
    monkeypatch.setattr("evo.loop.execution.visible_gpus", lambda: ["0", "1"])
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(5)))
    monkeypatch.setattr(
        "evo.loop.execution.connect", lambda dask, workers, warn, gpus, threads: asked.append((workers, gpus))
    )
    evaluator: Any = make_cluster_evaluator(
        setup, Execution(dask="local", workers=workers, device=device), SilentObserver(), lambda: None
    )
    evaluator._connect()
    assert asked == [expected]


def test_each_worker_of_a_cluster_on_this_machine_sees_a_gpu_of_its_own() -> None:
    connection = connect("local", 2, str, ["3", "7"])
    try:
        seen = connection.client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
        assert sorted(seen.values()) == ["3", "7"]
        assert set(connection.client.nthreads().values()) == {1}
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("chosen", "expected"), [("2,5", ["2", "5"]), ("", []), ("-1", []), (" GPU-1a , GPU-2b", ["GPU-1a", "GPU-2b"])]
)
def test_the_gpus_that_were_chosen_are_those_that_are_seen(
    monkeypatch: pytest.MonkeyPatch, chosen: str, expected: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert visible_gpus() == expected


def test_what_is_no_cluster_is_a_usage_error_and_nothing_is_written(tmp_path: Path) -> None:
    finished = run_command(*SEARCH_DIGITS, "--dask", "nowhere", "--output", tmp_path / "run")
    assert finished.returncode == 2
    assert "--dask nowhere: is not an address" in finished.stderr
    assert not (tmp_path / "run").exists()


def test_without_dask_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigurationError, match=r"-m pip install 'distributed>=\S+' 'cryptography>="):
        evo.search(SPACE, objective, dask="local")


# The data of a worker.


@pytest.fixture
def setup(tmp_path: Path) -> TrainingSetup:
    from evo.data import prepare_dataset

    write_images(tmp_path / "images")
    dataset = prepare_dataset(None, tmp_path / "images")
    return TrainingSetup(dataset, TrainingSettings(), "mlp", data_dir=str(tmp_path / "images"))


def elsewhere(setup: TrainingSetup, **changes: Any) -> TrainingSetup:
    """Return a setup as it reaches another machine: the search's decoded copy is not there."""
    return replace(setup, dataset=replace(setup.dataset, directory=Path("/nowhere")), **changes)


def test_data_that_lie_where_the_search_has_them_are_taken_as_they_are(setup: TrainingSetup) -> None:
    assert _data_here(setup) == setup.dataset


def test_data_are_decoded_from_the_same_folder_on_another_machine(setup: TrainingSetup) -> None:
    found = _data_here(elsewhere(setup))
    assert found.checksum == setup.dataset.checksum
    assert found.directory.is_dir()


def test_data_are_found_where_the_worker_has_them(setup: TrainingSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVO_DATA_DIR", str(setup.data_dir))
    assert _data_here(elsewhere(setup, data_dir="/nowhere")).checksum == setup.dataset.checksum


def test_a_damaged_copy_is_not_taken(setup: TrainingSetup) -> None:
    images = setup.dataset.directory / "train_images.npy"
    content = bytearray(images.read_bytes())
    content[-1] ^= 1
    images.write_bytes(bytes(content))
    assert _data_here(setup).checksum == setup.dataset.checksum


def test_a_worker_without_the_data_says_where_it_looked_and_what_to_do(setup: TrainingSetup) -> None:
    with pytest.raises(ConfigurationError, match=r"(?s)has no folder /nowhere.*EVO_DATA_DIR"):
        _data_here(elsewhere(setup, data_dir="/nowhere"))


def test_given_data_come_from_a_cache_that_is_shared_or_from_their_file(setup: TrainingSetup, tmp_path: Path) -> None:
    from evo.data import prepare_dataset
    from evo.data.prepared import with_share

    pixels, labels = np.zeros((20, 4, 4), np.uint8), np.arange(20) % 2
    given = replace(setup, dataset=prepare_dataset(None, data=(pixels, labels, pixels, labels)), data_dir=None)
    assert _data_here(given) == given.dataset
    with pytest.raises(
        ConfigurationError, match=r"were given to the search .*EVO_CACHE_DIR to a folder that all machines"
    ):
        _data_here(elsewhere(given))
    named = replace(given.dataset, name="my_data:load")
    with pytest.raises(ConfigurationError, match="were given to the search"):  # and nothing was imported
        _data_here(elsewhere(replace(given, dataset=named)))
    file = tmp_path / "d.npz"
    np.savez(file, x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    of_file = replace(given, dataset=with_share(prepare_dataset(None, file), 0.3), data_dir=str(file))
    assert _data_here(elsewhere(of_file)).validation_count == of_file.dataset.validation_count == 6
    with pytest.raises(ConfigurationError, match=r"has no file /nowhere.npz"):
        _data_here(elsewhere(of_file, data_dir="/nowhere.npz"))


def test_a_worker_with_other_data_is_refused(
    setup: TrainingSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "others", train=11)
    monkeypatch.setenv("EVO_DATA_DIR", str(tmp_path / "others"))
    with pytest.raises(ConfigurationError, match=rf"(?s)other data are at.*{setup.dataset.checksum[:12]}"):
        _data_here(elsewhere(setup, data_dir="/nowhere"))


def test_bfloat16_is_not_imitated(digits: PreparedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = TrainingSetup(digits, TrainingSettings(), "mlp", device="cpu", precision="bf16")
    monkeypatch.setattr("evo.training.hardware.processor_flags", lambda: {"avx2"})
    with pytest.raises(ConfigurationError, match="--precision fp32"):
        _check_precision(setup)
    monkeypatch.setattr("evo.training.hardware.processor_flags", lambda: {"avx512_bf16"})
    _check_precision(setup)
