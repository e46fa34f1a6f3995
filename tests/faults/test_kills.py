"""A search that is killed at any moment, and resumed, loses no evaluation and ends as one that nothing disturbed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import tables, wait_until
from tests.faults.conftest import times
from tests.faults.processes import DigitsSearch, FakeSearch, finish, kill, lines_of, was_killed, whole_lines

SEED = 20190412
LINES_BETWEEN = 6
"""Most lines of the journal between two kills."""


def kill_again_and_again(search: FakeSearch | DigitsSearch, kills: int) -> int:
    """Kill a search at random moments, resuming it each time; return how often it was killed before its end."""
    draws, done = random.Random(SEED), 0
    while done < kills:
        before = whole_lines(search.run)
        process = search.start()
        moment = lines_of(search.run) + draws.randint(1, LINES_BETWEEN)
        wait_until(lambda: process.poll() is not None or lines_of(search.run) >= moment)  # noqa: B023
        time.sleep(draws.uniform(0, 0.06))
        kill(process)
        assert whole_lines(search.run).startswith(before), "a recorded line is gone"
        if not was_killed(process):
            break
        done += 1
    finish(search)
    return done


def test_a_fake_search_killed_at_random_moments(folder: Path, figure: Callable[[str], None]) -> None:
    wanted = times(long=100, short=4)
    killed, whole = (FakeSearch(folder / name, 6 * wanted + 10) for name in ("killed", "whole"))
    finish(whole)
    kills = kill_again_and_again(killed, wanted)
    assert kills > 0.8 * wanted, "the search was over too early for the test to say anything"
    assert tables(killed.run) == tables(whole.run)
    repeated = killed.calls - whole.calls
    assert 0 <= repeated <= 2 * kills
    assert not list(killed.run.glob(".*")), "something half written is left behind"
    figure(
        f"SIGKILL: {kills} kills of a search of {whole.calls} fake trainings by 2 workers (seed {SEED}): "
        f"0 evaluations lost, equal tables, {repeated / kills:.2f} trainings repeated a kill"
    )


@pytest.mark.slow
def test_a_search_on_the_digits_killed_at_random_moments(folder: Path, figure: Callable[[str], None]) -> None:
    wanted = times(long=100, short=2)
    killed, whole = (DigitsSearch(folder / f"digits {name}", 4 * wanted + 8) for name in ("killed", "whole"))
    finish(whole)
    kills = kill_again_and_again(killed, wanted)
    assert kills > 0.8 * wanted, "the search was over too early for the test to say anything"
    assert tables(killed.run) == tables(whole.run)
    assert not (killed.run / "checkpoints").exists()
    assert not list(killed.run.glob(".*"))
    figure(f"SIGKILL: {kills} kills of a search on the digits (seed {SEED}): 0 evaluations lost, equal tables")


@pytest.fixture(scope="module", autouse=True)
def cache(session_cache: Path) -> None:
    """Let all processes share the decoded images."""
