"""Whatever can be called travels to workers, wherever it is defined; what cannot is refused by its name."""

from __future__ import annotations

import functools
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evo
from evo.errors import ConfigurationError
from evo.evaluators import ObjectiveSetup
from evo.evaluators.sending import packed, received
from tests.command import environment

SPACE = evo.SearchSpace({"x": evo.Float(0.0, 1.0)})
REMEDY = "leave workers at 1"


def power(config: dict[str, Any], seed: int, exponent: float = 2.0) -> float:
    return float(config["x"] ** exponent)


class Objective:
    """Can be called, and has a method that can be."""

    def __init__(self, exponent: float):
        self.exponent = exponent

    def __call__(self, config: dict[str, Any], seed: int) -> float:
        return power(config, seed, self.exponent)

    def method(self, config: dict[str, Any], seed: int) -> float:
        return self(config, seed)


def closure(exponent: float) -> Callable[..., float]:
    def inner(config: dict[str, Any], seed: int) -> float:
        return power(config, seed, exponent)

    return inner


KINDS: dict[str, Callable[..., float]] = {
    "function": power,
    "lambda": lambda config, seed: config["x"] ** 2,
    "closure": closure(2.0),
    "partial": functools.partial(power, exponent=2.0),
    "bound method": Objective(2.0).method,
    "object": Objective(2.0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_can_be_called_arrives_and_computes_the_same(kind: str) -> None:
    there = received(packed(ObjectiveSetup(KINDS[kind]), REMEDY))
    assert isinstance(there, ObjectiveSetup)
    assert there.objective({"x": 0.5}, seed=1) == 0.25


def test_workers_give_the_table_of_this_process_for_a_lambda() -> None:
    here, there = (
        evo.search(SPACE, KINDS["lambda"], budget=6, population=3, finalists=0, workers=workers) for workers in (1, 2)
    )
    columns = ["individual", "x", "seed", "fitness"]
    assert here.table[columns].equals(there.table[columns])
    assert set(there.table["worker"]) <= {"worker-0", "worker-1"}


LOCK = threading.Lock()


def locked(config: dict[str, Any]) -> float:
    with LOCK:
        return float(config["x"])


locked.__module__ = "__main__"  # as in a script, where it travels whole


class Logging:
    """Has an open file."""

    def __init__(self, path: Path):
        self.log = path.open("w")

    def __call__(self, config: dict[str, Any]) -> float:
        return float(config["x"])


def of_a_file(path: Path) -> Callable[..., float]:
    log = path.open("w")

    def objective(config: dict[str, Any]) -> float:
        log.write("called")
        return float(config["x"])

    return objective


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda path: locked, '"LOCK", which the function uses, is <unlocked _thread.lock'),
        (of_a_file, '"log", which the function uses, is <_io.TextIOWrapper'),
        (Logging, "its attribute log is <_io.TextIOWrapper"),
        (
            lambda path: functools.partial(power, exponent=threading.Lock()),
            "the argument exponent of functools.partial",
        ),
        (lambda path: lambda config, lock=LOCK: 1.0, "a default of a parameter is"),
    ],
)
def test_what_cannot_be_sent_is_named_with_the_remedy(make: Callable[[Path], Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        evo.search(SPACE, make(tmp_path / "file"), budget=2, workers=2, output=tmp_path / "run")
    assert named in str(refused.value)
    assert "make it inside the function, or leave workers at 1" in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_module_that_workers_do_not_find_is_named(tmp_path: Path) -> None:
    (tmp_path / "hidden_module.py").write_text("def objective(config):\n    return config['x']\n")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from hidden_module import objective\n"
        "sys.path.pop(0)\n"
        "import evo\n"
        "evo.search(evo.SearchSpace({'x': evo.Float(0.0, 1.0)}), objective, budget=2, workers=2)\n"
    )
    finished = run("-c", program)
    assert finished.returncode == 1
    assert "cannot be made again in a worker (ModuleNotFoundError: No module named 'hidden_module')" in finished.stderr


PROGRAM = """
import os
import evo
print("the script runs")
FACTOR = 2.0
def helper(x):
    return FACTOR * x

class Objective:
    def __call__(self, config, seed):
        return helper(config["x"])

run = evo.search(evo.SearchSpace({"x": evo.Float(0.0, 1.0)}), OBJECTIVE, budget=4, population=2, finalists=0, workers=2)
assert list(run.table["status"]) == ["complete"] * 4, run.table["error"]
assert (run.table["fitness"] == 2 * run.table["x"]).all()
print(run.settings.workers, "workers")
"""
OBJECTIVES = ("lambda config: helper(config['x'])", "Objective()")


def run(*arguments: str, text: str | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        input=text,
        capture_output=True,
        text=True,
        env=environment(),
        cwd=cwd,
        check=False,
        timeout=100,
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_script_without_a_guard_runs_once_and_its_functions_work(objective: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(PROGRAM.replace("OBJECTIVE", objective))
    finished = run("script.py", cwd=tmp_path)
    assert (finished.stdout, finished.stderr) == ("the script runs\n2 workers\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["-c", "-", "-i"])
def test_a_program_without_a_file_works_as_well(way: str) -> None:
    program = PROGRAM.replace("OBJECTIVE", OBJECTIVES[0])
    finished = run("-c", program) if way == "-c" else run(way, text=program)
    assert "2 workers" in finished.stdout, finished.stderr


POOL = """
import multiprocessing
import evo
def double(x):
    return 2 * x
def objective(config):
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.map(double, [config["x"]])[0]
run = evo.search(evo.SearchSpace({"x": evo.Float(0.0, 1.0)}), objective, budget=2, population=2, workers=2)
assert (run.table["fitness"] == 2 * run.table["x"]).all(), run.table["error"]
"""


def test_processes_that_an_objective_of_a_script_starts_find_its_helpers(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(POOL)
    finished = run("script.py", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr


FAILS = """
import evo
def helper(x):
    return 1 / (x - x)
def objective(config):
    return helper(config["x"]) if config["x"] < 0.4 else config["x"]
run = evo.search(evo.SearchSpace({"x": evo.Float(0.0, 1.0)}), objective, budget=8, population=8, workers=2, finalists=0)
[*_, number] = run.table.loc[run.table["status"] == "failed", "individual"]
print(run.traceback(number))
"""


def test_tracebacks_from_workers_have_the_lines_of_the_script(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(FAILS)
    finished = run("script.py", cwd=tmp_path)
    shown = finished.stdout
    assert 'script.py", line 4, in helper\n    return 1 / (x - x)\nZeroDivisionError' in shown, finished.stderr
