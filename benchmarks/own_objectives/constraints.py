"""How many trainings a search wastes where part of its space is not allowed, and what it finds.

Both problems maximise x + y on [0, 2]²: everything above 3 is not allowed (*line*), or everything outside a disc that
covers a fifth of the square (*disc*). Each is searched with and without violations being told.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import evo
from benchmarks.markdown import table
from benchmarks.own_objectives.problems import GENES, HIGH, LOW, PROBLEMS, value_of, violation_of
from evo.training.hardware import processor_name

HERE = Path(__file__).resolve().parent
BUDGET, SEEDS = 60, 20
OURS = ("surrogate", "random")
TPE = "optuna-tpe"


@dataclass(frozen=True)
class Row:
    """One search.

    Attributes:
        problem: See `PROBLEMS`.
        violations: Whether a violation was told with what is not allowed.
        method: A strategy of evo, or Optuna's TPE.
        seed: Of the search.
        trainings: Its budget.
        infeasible: Trainings of configurations that are not allowed.
        best: The greatest value that is allowed; nan where there was none.
        shortfall: What it lacks to the greatest there is.
    """

    problem: str
    violations: bool
    method: str
    seed: int
    trainings: int
    infeasible: int
    best: float
    shortfall: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this experiment."""
    parser.add_argument("--optuna", type=Path, help="the Python of an environment with Optuna; without it, only evo")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--workers", type=int, default=1, help="searches of evo at a time; changes no result")
    parser.add_argument("--output", type=Path, default=HERE / "results")


def run(given: argparse.Namespace) -> None:
    """Search every problem by every method; write a row for each search, and a summary."""
    rows: list[Row] = []
    versions = {"python": platform.python_version(), "evo": evo.__version__}
    for row, version in _searches(given):
        rows.append(row)
        versions |= version
        print(row, flush=True)
    given.output.mkdir(parents=True, exist_ok=True)
    with (given.output / "constraints.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    (given.output / "constraints.md").write_text(summary(rows, versions), encoding="utf-8")


def _searches(given: argparse.Namespace) -> Iterator[tuple[Row, dict[str, str]]]:
    cells = [(problem, told) for problem in PROBLEMS for told in (True, False)]
    tasks = [(method, *cell, seed, given.budget) for method in OURS for cell in cells for seed in range(given.seeds)]
    with ProcessPoolExecutor(given.workers) as pool:
        for task, values in zip(tasks, pool.map(ours, *zip(*tasks, strict=True)), strict=True):
            method, problem, told, seed, _ = task
            yield _row(problem, told, method, seed, values), {}
    if given.optuna is None:
        return
    command = [str(given.optuna), str(HERE / "peers" / "optuna_constraints.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
        assert peer.stdin is not None
        assert peer.stdout is not None
        for problem, told in cells:
            for seed in range(given.seeds):
                asked = {"problem": problem, "violations": told, "seed": seed, "budget": given.budget}
                peer.stdin.write(json.dumps(asked) + "\n")
                peer.stdin.flush()
                answer = json.loads(peer.stdout.readline())
                yield _row(problem, told, TPE, seed, answer["values"]), {"optuna": answer["version"]}
        peer.stdin.close()


def ours(method: str, problem: str, told: bool, seed: int, budget: int) -> list[float | None]:
    """Return the values of a search of evo; None where a configuration was not allowed."""
    space = evo.SearchSpace({name: evo.Float(LOW, HIGH) for name in GENES})
    run = evo.search(space, objective(problem, told), strategy=method, budget=budget, seed=seed)
    return [evaluation.fitness for evaluation in run.search_evaluations]


def objective(problem: str, told: bool) -> Callable[[dict[str, Any]], float]:
    """Return the objective of a problem."""
    return partial(_evaluate, problem, told)


def _evaluate(problem: str, told: bool, config: dict[str, Any]) -> float:
    if (violation := violation_of(PROBLEMS[problem], config)) > 0:
        raise evo.Infeasible("not allowed", violation=violation if told else None)
    return value_of(config)


def _row(problem: str, told: bool, method: str, seed: int, values: Sequence[float | None]) -> Row:
    allowed = [value for value in values if value is not None]
    best = max(allowed, default=float("nan"))
    counts = len(values), len(values) - len(allowed)
    return Row(problem, told, method, seed, *counts, best, PROBLEMS[problem].best - best)


def summary(rows: Sequence[Row], versions: dict[str, str]) -> str:
    """Return a table of the means over the seeds, and on what they were measured."""
    groups: dict[tuple[str, bool, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.problem, row.violations, row.method), []).append(row)
    lines = []
    for (problem, told, method), own in sorted(groups.items()):
        wasted, best = [row.infeasible for row in own], [row.best for row in own]
        numbers = [
            f"{statistics.fmean(wasted):.1f}",
            str(max(wasted)),
            f"{statistics.fmean(best):.4f}",
            f"{min(best):.4f}",
        ]
        lines.append([problem, "yes" if told else "no", method, str(len(own)), *numbers])
    heads = ["problem", "violations", "method", "searches", "infeasible, mean", "most", "best, mean", "worst"]
    known = ", ".join(f"{name} {version}" for name, version in versions.items())
    text = "\n".join(table(heads, lines))
    return f"{text}\n{rows[0].trainings} trainings a search. {processor_name()}; {known}.\n"
