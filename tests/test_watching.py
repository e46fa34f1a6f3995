"""A run can be followed from outside while it is written; the writer never notices."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import evo
from evo.cli.app import app
from evo.cli.watching import Follower, follow, now
from evo.display.progress import Progress
from evo.errors import RunError
from evo.evaluation import Evaluation
from evo.loop.finished import is_finished
from evo.record import journal
from evo.record.journal import is_written
from evo.record.run import Run
from tests.command import environment, wait_until
from tests.test_run import contents, evaluation, individual, make_settings

pytestmark = pytest.mark.usefixtures("quick_models")

LINE = evo.SearchSpace({"x": evo.Float(0.0, 1.0)}, name="line")


@pytest.fixture
def written(tmp_path: Path) -> Any:
    run = Run.create(make_settings(budget=8, finalists=0), tmp_path / "run")
    add(run, 0)
    yield run
    run.close()


def add(run: Run, number: int) -> None:
    run.record_proposal(individual(number, x=number / 1000))
    run.record(evaluation(number, number / 10, started=100.0 + number, seconds=1.0))


class Shown:
    """Remembers what it should show."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.evaluations: list[int] = []
        self.states: list[str] = []

    def show(self, progress: Progress) -> None:
        self.progress = progress

    def evaluated(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
        assert self.progress is not None
        self.progress.take(evaluation, seconds_left)
        self.evaluations.append(evaluation.individual)

    def status(self, text: str) -> None:
        if [text] != self.states[-1:]:
            self.states.append(text)


def test_a_retry_takes_failures_out_of_the_picture_until_they_have_a_result(written: Run) -> None:
    assert written.path is not None
    written.record_proposal(individual(1, x=0.1))
    written.record(evaluation(1, None, error="no disk"))
    follower = Follower(written.path)
    assert (follower.progress.done, follower.progress.failures["failed"]) == (2, 1)
    written.record_retry([(1, 0)])
    assert follower.poll() == []
    assert (follower.progress.done, follower.progress.failures["failed"]) == (1, 0)
    written.record(evaluation(1, 0.9))
    assert [entry.individual for entry in follower.poll()] == [1]
    assert follower.run.results == written.results


def test_what_is_added_is_read_once_and_whole(written: Run) -> None:
    assert written.path is not None
    follower = Follower(written.path)
    assert follower.poll() == []
    for number in (1, 2):
        add(written, number)
    assert follower.poll() == [written.evaluations[1, 0], written.evaluations[2, 0]]
    assert follower.poll() == []
    assert follower.run.evaluations == written.evaluations
    assert follower.run.individuals == written.individuals


def test_a_line_that_is_half_written_waits_for_its_other_half(written: Run) -> None:
    assert written.path is not None
    follower = Follower(written.path)
    file = written.path / "journal.jsonl"
    before = file.read_bytes()
    add(written, 1)
    lines = file.read_bytes()[len(before) :]
    with file.open("r+b") as raw:
        raw.truncate(len(before) + len(lines) - 9)
        assert follower.poll() == []
        assert len(follower.run.individuals) == 2, "the whole line before it is read"
        raw.seek(0, os.SEEK_END)
        raw.write(lines[-9:])
        raw.flush()
    assert [found.individual for found in follower.poll()] == [1]


def test_only_what_is_new_is_read(written: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert written.path is not None
    for number in range(1, 300):
        add(written, number)
    follower = Follower(written.path)
    follower.poll()
    size = (written.path / "journal.jsonl").stat().st_size
    starts: list[int] = []
    read = journal._content

    def noting(path: Path, start: int = 0) -> bytes:
        starts.append(start)
        return read(path, start)

    monkeypatch.setattr(journal, "_content", noting)
    follower.poll()
    assert starts == [], "nothing is read where nothing was added"
    add(written, 300)
    assert len(follower.poll()) == 1
    assert starts == [size]


def test_a_damaged_line_is_an_error(written: Run) -> None:
    assert written.path is not None
    follower = Follower(written.path)
    with (written.path / "journal.jsonl").open("ab") as file:
        file.write(b'{"checksum":"0000000000000000","event":{}}\n')
    with pytest.raises(RunError, match="damaged"):
        follower.poll()


def test_asking_for_the_lock_never_blocks_the_writer(written: Run) -> None:
    assert written.path is not None
    file = written.path / "journal.jsonl"
    assert is_written(file)
    written.close()
    assert not is_written(file)
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            is_written(file)
            time.sleep(0.001)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(200):
            Run.open(written.path, warn=print).close()
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_writer_tries_again_while_another_process_asks(written: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert written.path is not None
    written.close()
    asking = os.open(written.path / "journal.jsonl", os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    monkeypatch.setattr("evo.record.journal.time.sleep", lambda seconds: os.close(asking))
    Run.open(written.path, warn=print).close()


def test_watching_changes_nothing(written: Run) -> None:
    assert written.path is not None
    before = contents(written.path)
    progress, status = now(written.path)
    assert (progress.done, progress.total, progress.busy, status) == (1, 8, 0, "being written now")
    written.close()
    progress, status = now(written.path)
    assert status == f"stopped: no process writes this run. Resume it:  {written.command('resume')}"
    assert contents(written.path) == before


def test_workers_are_busy_while_proposals_wait_and_the_run_is_written(written: Run) -> None:
    assert written.path is not None
    written.settings.workers = 2
    written.settings.save(written.path)
    for number in (1, 2, 3):
        written.record_proposal(individual(number, x=number / 10))
    progress, _ = now(written.path)
    assert progress.busy == 2
    written.close()
    progress, _ = now(written.path)
    assert progress.busy == 0
    assert progress.elapsed(time.time()) == 1.0, "the clock of a run that is stopped stands still"


def test_a_larger_budget_and_a_replaced_run_are_noticed(written: Run) -> None:
    assert written.path is not None
    follower = Follower(written.path)
    settings = written.settings
    settings.budget = 20
    written.record_resume(settings)
    follower.poll()
    assert follower.progress.total == 20
    written.close()
    other = Run.create(make_settings(budget=5, finalists=0), written.path, overwrite=True)
    follower.poll()
    assert (follower.progress.total, len(follower.run.evaluations)) == (5, 0)
    add(other, 0)
    assert len(follower.poll()) == 1
    other.close()


def slow(config: dict[str, Any]) -> float:
    time.sleep(0.02)
    return float(config["x"])


@pytest.mark.parametrize("strategy", ["ga", "surrogate"])
def test_a_running_search_is_followed_to_its_end(tmp_path: Path, strategy: str) -> None:
    path = tmp_path / "run"
    search = threading.Thread(
        target=evo.search, args=(LINE, slow), kwargs={"strategy": strategy, "budget": 30, "output": path, "seed": 3}
    )
    search.start()
    wait_until(lambda: (path / "journal.jsonl").exists())
    shown = Shown()
    run = follow(path, shown)
    search.join()
    whole = Run.load(path)
    assert run.evaluations == whole.evaluations
    assert shown.states == ["", "finished"]
    assert shown.progress is not None
    assert shown.progress.finished
    assert shown.progress.done == 30
    assert shown.evaluations == [found.individual for found in whole.evaluations.values()][-len(shown.evaluations) :]
    assert shown.progress.best is not None
    assert shown.progress.best.individual == whole.best.id


def test_what_is_finished_and_what_is_not(tmp_path: Path) -> None:
    def objective(config: dict[str, float], seed: int) -> float:
        return config["x"]

    def stopped_after(name: str, calls: int, **more: Any) -> Run:
        left = [calls]

        def stop() -> None:
            left[0] -= 1
            if not left[0]:
                raise evo.api.Stop("enough", 75)

        with pytest.raises(evo.api.Stop):
            evo.search(LINE, objective, output=tmp_path / name, stop_check=stop, population=3, **more)
        return Run.load(tmp_path / name)

    assert not is_finished(stopped_after("in the search", 4, budget=9, finalists=0))
    assert not is_finished(stopped_after("before the finalists", 11, budget=9, finalists=2))
    assert not is_finished(stopped_after("among the finalists", 14, budget=9, finalists=2))
    evo.search(LINE, objective, budget=9, population=3, finalists=2, output=tmp_path / "done")
    assert is_finished(Run.load(tmp_path / "done"))
    evo.search(LINE, objective, generations=2, population=3, finalists=0, output=tmp_path / "short")
    assert is_finished(Run.load(tmp_path / "short"))
    few = evo.SearchSpace({"kind": evo.Categorical(["a", "b"])})
    evo.search(few, lambda config: 1.0, budget=9, population=3, output=tmp_path / "exhausted")
    assert is_finished(Run.load(tmp_path / "exhausted")), "a space of two points ends before its budget"


def test_an_extended_run_is_not_finished_though_its_old_winner_stands(tmp_path: Path) -> None:
    def objective(config: dict[str, float], seed: int) -> float:
        return config["x"]

    def stop_after(calls: int) -> Any:
        left = [calls]

        def stop() -> None:
            left[0] -= 1
            if not left[0]:
                raise evo.api.Stop("enough", 75)

        return stop

    folder = tmp_path / "run"
    evo.search(LINE, objective, budget=6, population=3, finalists=2, output=folder)
    assert is_finished(Run.load(folder))
    for calls in (2, 4):
        with pytest.raises(evo.api.Stop):
            evo.resume(folder, objective, budget=20, stop_check=stop_after(calls))
        stopped = Run.load(folder)
        assert stopped.winner is not None
        assert not is_finished(stopped)
    evo.resume(folder, objective)
    assert is_finished(Run.load(folder))
    done = Run.load(folder)
    done.finalists = done.finalists[::-1]
    assert not is_finished(done), "killed after the larger search, before its finalists were named"


def test_a_run_whose_finalists_all_failed_is_finished(tmp_path: Path) -> None:
    searched: list[int] = []

    def objective(config: dict[str, float], seed: int) -> float:
        searched.append(seed)
        if len(searched) > 6:
            raise ValueError("no more")
        return config["x"]

    run = evo.search(LINE, objective, strategy="random", budget=6, finalists=2, output=tmp_path / "run")
    assert run.finalists
    assert run.winner is None
    assert is_finished(Run.load(tmp_path / "run"))


def test_a_run_that_was_resumed_ended_when_it_did(tmp_path: Path) -> None:
    run = Run.create(make_settings(budget=8, finalists=0), tmp_path / "run")
    run.record_proposal(individual(0))
    run.record(evaluation(0, 0.1, started=1000.0, seconds=3600.0, seconds_before=3590.0))
    run.close()
    progress, _ = now(tmp_path / "run")
    assert progress.ended == 1010.0


def test_the_time_left_is_predicted_from_the_journal(written: Run) -> None:
    assert written.path is not None
    for number in range(1, 4):
        add(written, number)
    left = Follower(written.path).progress.seconds_left(time.time())
    assert left == pytest.approx(4.0, abs=0.5), "four more, of a second each"


# The command.


def test_a_finished_run_ends_with_its_result(tmp_path: Path, cli: CliRunner) -> None:
    evo.search(LINE, slow, budget=4, population=2, output=tmp_path / "run")
    result = cli.invoke(app, ["watch", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert "Best of 4 evaluations" in result.stdout
    assert result.stderr == "finished\n"
    once = cli.invoke(app, ["watch", str(tmp_path / "run"), "--once"])
    assert once.exit_code == 0, once.output
    assert re.search(r"^evaluations +4 of 4$", once.stdout, re.MULTILINE)
    assert re.search(r"^state +finished$", once.stdout, re.MULTILINE)


def test_no_run_is_an_error_at_once(tmp_path: Path, cli: CliRunner) -> None:
    result = cli.invoke(app, ["watch", str(tmp_path / "nowhere")])
    assert result.exit_code == 2
    assert "nowhere: no such run folder" in result.stderr
    (tmp_path / "empty").mkdir()
    assert "is not a run folder" in cli.invoke(app, ["watch", str(tmp_path / "empty"), "--once"]).stderr


def test_the_command_waits_follows_and_is_interrupted_without_the_search(tmp_path: Path) -> None:
    path = tmp_path / "run"
    watcher = subprocess.Popen(
        [sys.executable, "-m", "evo", "watch", str(path), "--wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert watcher.stderr is not None
    assert "waiting for a run" in watcher.stderr.readline()
    run = Run.create(make_settings(budget=900, finalists=0), path)
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.1):
            add(run, len(run.individuals))

    writer = threading.Thread(target=write)
    writer.start()
    seen = watcher.stderr.readline()
    watcher.send_signal(signal.SIGINT)
    out, err = watcher.communicate(timeout=30)
    over.set()
    writer.join()
    run.close()
    assert re.match(r"#\d+ generation \d+: \d\.\d000 in 1\.0 s \| best \d\.\d000 \(#\d+\) \| ", seen)
    assert watcher.returncode == 130
    assert "stopped watching" in err
    assert "Traceback" not in err
    assert out == ""
