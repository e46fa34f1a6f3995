"""Evaluates functions of COCO's suite bbob-mixint, line by line; runs in an environment that has coco-experiment.

A line in is {"function": 8, "dimension": 5, "instance": 1} with "x": [...] for a value, or without for the function's
optimum and the median of many random points; the answer is {"value": ...} or {"optimum": ..., "median": ...}.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import cocoex
import numpy as np

POINTS = 2001
"""Random points whose median stands for the start of a search without any knowledge."""


@functools.cache
def problem_of(function: int, dimension: int, instance: int) -> Any:
    """Return a problem of the suite."""
    suite = cocoex.Suite("bbob-mixint", "", f"dimensions:{dimension} instance_indices:{instance}")
    return suite.get_problem_by_function_dimension_instance(function, dimension, instance)


def describe(problem: Any) -> dict[str, float]:
    """Return the optimum and the median of random points."""
    with tempfile.TemporaryDirectory() as folder:
        # COCO tells the place of an optimum only by writing it into the working directory.
        os.chdir(folder)
        problem._best_parameter("print")
        text = Path("._bbob_problem_best_parameter.txt").read_text()
        os.chdir("/")
    generator = np.random.default_rng(0)
    low, high = problem.lower_bounds, problem.upper_bounds
    points = low + generator.random((POINTS, problem.dimension)) * (high - low)
    whole = problem.number_of_integer_variables
    # Every whole number of a range with the same probability.
    points[:, :whole] = np.floor(generator.random((POINTS, whole)) * (high[:whole] - low[:whole] + 1))
    values = [float(problem(point)) for point in points]
    return {"optimum": float(problem([float(part) for part in text.split()])), "median": float(np.median(values))}


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        message = json.loads(line)
        problem = problem_of(message["function"], message["dimension"], message["instance"])
        answer = {"value": float(problem(message["x"]))} if "x" in message else describe(problem)
        answers.write(json.dumps(answer) + "\n")
