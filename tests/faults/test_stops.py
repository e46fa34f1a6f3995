"""Signals and time limits end a search in order: the right exit code, in ten seconds, and nothing is lost."""

from __future__ import annotations

import csv
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import evo
from tests.command import alive, children, rows_of, run_command, tables, wait_until
from tests.faults.conftest import times
from tests.faults.objectives import FOLDER, SPACE, slow
from tests.faults.processes import WORKERS_GONE_SECONDS, DigitsSearch, FakeSearch, finish, lines_of, whole_lines

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 75}
SEED = 20190413
LINES_BETWEEN = 8
MOST_SECONDS = 10.0


def stop_again_and_again(search: FakeSearch | DigitsSearch, stops: int) -> tuple[int, float]:
    """Stop a search by signals in turn; return how often that was before its end, and the longest that it took."""
    draws, done, longest = random.Random(SEED), 0, 0.0
    while done < stops:
        before, number = whole_lines(search.run), list(CODES)[done % len(CODES)]
        process = search.start()
        moment = lines_of(search.run) + draws.randint(1, LINES_BETWEEN)
        wait_until(lambda: process.poll() is not None or lines_of(search.run) >= moment)  # noqa: B023
        time.sleep(draws.uniform(0, 0.06))
        workers, began = children(process.pid), time.monotonic()
        if done % 2:  # as a scheduler or a terminal does, to all processes of the job
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        longest = max(longest, time.monotonic() - began)
        if process.returncode == 0:
            break
        assert process.returncode == CODES[number], errors
        assert "evo.resume(" in errors or "evo resume " in errors  # an objective is known to Python only
        assert "Traceback" not in errors
        wait_until(lambda: not any(map(alive, workers)), WORKERS_GONE_SECONDS)  # noqa: B023
        after = whole_lines(search.run)
        assert after.startswith(before), "a recorded line is gone"
        assert (search.run / "evaluations.csv").exists()
        done += 1
    finish(search)
    return done, longest


def check_stops(killed: FakeSearch | DigitsSearch, whole: FakeSearch | DigitsSearch, wanted: int) -> str:
    finish(whole)
    stops, longest = stop_again_and_again(killed, wanted)
    assert stops > 0.6 * wanted, "the search was over too early for the test to say anything"
    assert longest <= MOST_SECONDS
    assert tables(killed.run) == tables(whole.run)
    return f"{stops} stops (seed {SEED}), the longest took {longest:.1f} s: 0 lost, equal tables"


@pytest.mark.slow
def test_a_fake_search_stopped_at_random_moments(folder: Path, figure: Callable[[str], None]) -> None:
    wanted = times(long=50, short=3)
    stopped, whole = (FakeSearch(folder / name, 4 * wanted + 20) for name in ("stopped", "whole"))
    figure(f"SIGINT, SIGTERM, SIGUSR1, fake trainings: {check_stops(stopped, whole, wanted)}")


@pytest.mark.slow
def test_a_search_on_the_digits_stopped_at_random_moments(folder: Path, figure: Callable[[str], None]) -> None:
    wanted = times(long=50, short=1)
    stopped, whole = (DigitsSearch(folder / f"digits {name}", 4 * wanted + 8) for name in ("stopped", "whole"))
    figure(f"SIGINT, SIGTERM, SIGUSR1, digits: {check_stops(stopped, whole, wanted)}")


@pytest.mark.slow
def test_what_finishes_while_a_search_is_stopped_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))

    def stop_check() -> None:
        if len(list(tmp_path.glob("begun-*"))) == 2:
            raise evo.Stop("enough", 75)

    with pytest.raises(evo.Stop):
        evo.search(SPACE, slow, budget=4, workers=2, output=tmp_path / "run", stop_check=stop_check)
    assert len(evo.load(tmp_path / "run").table) == 2
    run = evo.resume(tmp_path / "run", slow, workers=2)
    assert len(list(tmp_path.glob("begun-*"))) == len(run.evaluations), "a training was done twice"


LONG_TRAINING = """
model = "mlp"
dataset = "digits"

[training]
evaluate_every = 500
batch_size = 100
steps = {steps}

[genes.hidden_layers]
type = "layers"
depth = [1, 1]
width = [60, 64]

[genes.learning_rate]
type = "float"
low = 1e-4
high = 1e-2
log = true
"""


@pytest.mark.slow
def test_a_chain_of_jobs_with_a_time_limit_is_one_long_job(folder: Path, figure: Callable[[str], None]) -> None:
    """Each training takes longer than a job: only one that continues in the next job ever ends."""
    jobs = times(long=10, short=2)
    space, chain, whole = folder / "long.toml", folder / "chain", folder / "one job"
    space.write_text(LONG_TRAINING.format(steps=times(long=20_000, short=8_000)))
    search = ("search", space, "--strategy", "random", "--finalists", "0", "--workers", "1", "--quiet")
    budget = ("--budget", str(times(long=3, short=1)))
    began = time.monotonic()
    finished = run_command(*search, *budget, "-o", whole)
    wall = time.monotonic() - began
    assert finished.returncode == 0, finished.stderr
    seconds = sum(float(row["seconds"]) for row in read_rows(whole))
    # The start of a job takes a part of its limit, which depends on the machine and on what else it does.
    limit, count, command = (wall - seconds) / 2 + seconds / jobs / 2, 0, [*search, *budget, "-o", chain, "--no-finish"]
    while (finished := run_command(*command, "--time-budget", f"{limit:.1f}s")).returncode == 75:
        command = ["resume", chain, "--workers", "1", "--quiet", "--no-finish"]
        before, count = whole_lines(chain), count + 1
        limit *= 1.1
        assert count < 10 * jobs, "the jobs make no progress"
        assert whole_lines(chain).startswith(before)
    assert finished.returncode == 0, finished.stderr
    assert count >= jobs, "the limit was so long that it stopped nothing"
    for name in ("evaluations", "curves", "hall_of_fame"):
        assert rows_of(chain / f"{name}.csv") == rows_of(whole / f"{name}.csv")
    longest = max(float(row["seconds"]) for row in read_rows(whole))
    figure(f"time limit: {count + 1} jobs of {limit:.1f} s, the longest training {longest:.1f} s: equals one job")


def read_rows(run: Path) -> list[dict[str, str]]:
    with (run / "evaluations.csv").open(newline="") as file:
        return list(csv.DictReader(file))
