"""When the first evaluations show that nothing works: the same cause three times, or twenty failures."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evo
from evo.errors import SearchError

SPACE = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})


def failing(reason: Callable[[int], BaseException | None]) -> Callable[[dict[str, Any]], float]:
    """Return an objective that raises what `reason` says of the number of the call."""
    calls: list[float] = []

    def objective(config: dict[str, Any]) -> float:
        calls.append(config["x"])
        if (problem := reason(len(calls) - 1)) is not None:
            raise problem
        return float(config["x"])

    return objective


def evaluated(objective: Callable[[dict[str, Any]], float], folder: Path) -> int:
    """Return after how many evaluations a search of forty is stopped."""
    with contextlib.suppress(SearchError):
        evo.search(SPACE, objective, strategy="random", budget=40, output=folder)
    return evo.load(folder).trainings


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (lambda call: FileNotFoundError("data.npz"), 3),
        (lambda call: RuntimeError(f"<model at {hex(2**40 + call)}>"), 3),
        (lambda call: MemoryError(f"tried to allocate {call} GiB"), 3),
        (lambda call: ValueError(f"{call / 7} is too large"), 3),
        (lambda call: ValueError(f"returned {call % 2 == 0}"), 3),
        (lambda call: (ValueError, KeyError, TypeError)[call % 3]("width"), 20),
        (lambda call: ValueError("no") if call else None, 40),
        (lambda call: evo.Infeasible("no"), 40),
        (lambda call: evo.Infeasible("no") if call % 2 == 0 else OSError("gone"), 6),
        (lambda call: (ValueError, KeyError, TypeError)[call % 3]("width") if call < 12 else None, 40),
    ],
    ids=[
        *(
            "the same reason",
            "but for a place in memory",
            "memory",
            "a number that differs",
            "a truth that differs",
            "several causes",
        ),
        *("one works", "not allowed", "not allowed in between", "some of the space works"),
    ],
)
def test_a_search_stops_when_its_first_evaluations_show_that_nothing_works(
    tmp_path: Path, reason: Callable[[int], BaseException | None], expected: int
) -> None:
    assert evaluated(failing(reason), tmp_path / "run") == expected


def test_after_a_resume_the_next_ones_are_looked_at(tmp_path: Path) -> None:
    objective = failing(lambda call: FileNotFoundError("data.npz"))
    assert evaluated(objective, tmp_path / "run") == 3
    for total, numbers in ((6, "individuals 3 to 5"), (9, "individuals 6 to 8")):
        with pytest.raises(SearchError, match=f"{numbers} all failed, so the search was stopped"):
            evo.resume(tmp_path / "run", objective)
        assert evo.load(tmp_path / "run").trainings == total
