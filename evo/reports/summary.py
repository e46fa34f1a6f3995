"""What is said first of a search: its winner, what it scored where, and what the search cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from evo.individual import SUCCESSES
from evo.reports.page import Facts
from evo.reports.search_data import SearchData
from evo.reports.workload_figures import unit_of


def cards_of(data: SearchData, row: Mapping[Any, Any]) -> Facts:
    """Return the figures of a search's winner.

    Args:
        data: The search.
        row: The winner's row of the comparison.
    """
    facts = {"best genome": f"#{row['individual']}", "fitness in the search": _number(row["fitness"])}
    notes = {
        "best genome": "named winner" if row["winner"] else "of the search",
        "fitness in the search": str(row["fitness_on"]),
    }
    count = int((data.finalists["individual"] == row["individual"]).sum()) if len(data.finalists) else 0
    if pd.notna(row["retrained_fitness"]):
        facts["on new seeds"] = _number(row["retrained_fitness"])
        notes["on new seeds"] = f"{_interval(row, 'retrained')}n = {count}"
    if pd.notna(row["test_accuracy"]):
        facts |= {"test accuracy": _number(row["test_accuracy"]), "gap": f"{row['gap']:+.4f}"}
        notes |= {"test accuracy": f"{_interval(row, 'test')}n = {row['n']}", "gap": "fitness less test accuracy"}
    size, unit = unit_of(float(data.evaluations["seconds"].sum()))
    failed = int((~data.evaluations["status"].isin(SUCCESSES)).sum())
    facts |= {
        "evaluations": f"{len(data.evaluations):,}",
        "cost of the search": f"{data.evaluations['seconds'].sum() / size:,.1f} {unit}",
        "failures": f"{failed:,}",
    }
    notes |= {"cost of the search": "of training", "evaluations": f"of {len(data.first):,} individuals"}
    return Facts(facts, notes, cards=True)


def facts_of(data: SearchData) -> dict[str, str]:
    """Return how a search was made."""
    settings = data.settings
    names = {"strategy": settings.strategy, "population": settings.population, "seed": settings.seed}
    facts = {
        "state": _state(data),
        "space": settings.space_name,
        "strategy": f"{names['strategy']}, population {names['population']}, seed {names['seed']}",
        "fitness": f"of the function {settings.objective}"
        if settings.objective
        else f"accuracy on the {settings.fitness} set, of the model {settings.model}",
        "data": str((settings.dataset or {}).get("variant", "")),
        "device": " ".join(filter(None, [settings.device, settings.device_name, settings.precision, settings.engine]))
        if settings.model
        else "",
        "versions": ", ".join(f"{name} {version}" for name, version in settings.versions.items()),
    }
    return {name: value for name, value in facts.items() if value}


def side_by_side(data: Sequence[SearchData], winners: Mapping[str, Mapping[Any, Any]]) -> pd.DataFrame:
    """Return one row a run: its winner, what that scored, and what the search cost.

    Args:
        data: The searches.
        winners: Rows of the comparison by run; those of runs without a complete evaluation are missing.
    """
    columns = ["individual", "fitness", "retrained_fitness", "test_accuracy", "test_low", "test_high", "n", "gap"]
    rows = [
        {
            "run": entry.name,
            "strategy": entry.settings.strategy,
            **{name: winners.get(entry.name, {}).get(name) for name in columns},
            "evaluations": len(entry.evaluations),
            "failures": int((~entry.evaluations["status"].isin(SUCCESSES)).sum()),
            "seconds": float(entry.evaluations["seconds"].sum()),
        }
        for entry in data
    ]
    return pd.DataFrame(rows)


def _state(data: SearchData) -> str:
    """Return how far a run is, and, if it is not finished, when that was."""
    from evo.loop.finished import is_finished, total_of

    if is_finished(data.run):
        return "finished"
    when = datetime.now(UTC).isoformat(sep=" ", timespec="minutes").removesuffix("+00:00")
    done = len(data.evaluations)
    return f"not finished: {done:,} of at most {total_of(data.run):,} evaluations when this was written, at {when} UTC"


def _number(value: Any) -> str:
    return f"{value:.4f}" if 0.001 <= abs(value) < 10 else f"{value:.4g}"


def _interval(row: Mapping[Any, Any], name: str) -> str:
    """Return a 95 % interval in words; nothing where one value has none."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if pd.isna(low) else f"95 %: {_number(low)} to {_number(high)}, "
