"""Optuna's TPE with constraints, in an environment of its own: one line of JSON in and out for each search.

A line in is {"problem": name, "violations": true, "seed": 0, "budget": 60}, and is answered by
{"values": [2.1, null, …], "version": "…"}: the value of each trial, null where it was not allowed.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import optuna

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from problems import GENES, HIGH, LOW, PROBLEMS, value_of, violation_of  # it is not in a package here

warnings.filterwarnings("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)


def search(problem: str, *, violations: bool, seed: int, budget: int) -> list[float | None]:
    """Return the values of one search; every trial is told its value, and TPE ranks by violations first."""
    sampler = optuna.samplers.TPESampler(seed=seed, constraints_func=lambda trial: trial.user_attrs["excess"])
    study = optuna.create_study(direction="maximize", sampler=sampler)
    values: list[float | None] = []
    for _ in range(budget):
        trial = study.ask()
        config = {name: trial.suggest_float(name, LOW, HIGH) for name in GENES}
        excess = violation_of(PROBLEMS[problem], config)
        trial.set_user_attr("excess", [excess if violations else float(excess > 0)])
        study.tell(trial, value_of(config))
        values.append(None if excess > 0 else value_of(config))
    return values


for line in sys.stdin:
    asked = json.loads(line)
    found = search(asked.pop("problem"), **asked)
    print(json.dumps({"values": found, "version": optuna.__version__}), flush=True)
