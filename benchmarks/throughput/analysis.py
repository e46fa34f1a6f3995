"""What follows from the measured times: ratios with their intervals, the order of the rungs, a search's idle time."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

CONFIDENCE = 0.95
LOSS_TOLERANCE = 0.2
"""How far the mean loss of a rung may lie from that of `resident`: the batches come in a different order."""

Item = TypeVar("Item")


def interleaved(items: Sequence[Item], repeats: int) -> list[list[Item]]:
    """Return the order of each repeat: A B C, C B A, A B C, …, so that a drift of the machine affects all alike."""
    return [list(items) if repeat % 2 == 0 else list(reversed(items)) for repeat in range(repeats)]


def interval_of(ratios: Sequence[float]) -> dict[str, float]:
    """Return geometric mean, 95 % interval, median, smallest and largest of ratios.

    The interval is Student's t over the logarithms of the ratios; of a single ratio there is none (NaN).
    """
    logarithms = [math.log(ratio) for ratio in ratios]
    mean, half = statistics.fmean(logarithms), math.nan
    if len(ratios) > 1:
        from scipy.stats import t

        quantile = float(t.ppf((1 + CONFIDENCE) / 2, len(ratios) - 1))
        half = quantile * statistics.stdev(logarithms) / math.sqrt(len(ratios))
    return {
        "ratio": math.exp(mean),
        "low": math.exp(mean - half),
        "high": math.exp(mean + half),
        "median": statistics.median(ratios),
        "min": min(ratios),
        "max": max(ratios),
    }


def ratios_table(timings: pd.DataFrame, bases: Sequence[str]) -> pd.DataFrame:
    """Return how many times as fast as each base a rung is, repeat by repeat of the same population.

    Args:
        timings: Columns `population`, `rung`, `repeat`, `wall_seconds` and `void`; others than
            those with an empty `void` are ignored.
        bases: Rungs to compare with.
    """
    rows: list[dict[str, Any]] = []
    valid = timings[timings["void"] == ""] if len(timings) else pd.DataFrame(columns=["population", "rung"])
    for population in dict.fromkeys(valid["population"]):
        walls = valid[valid["population"] == population].pivot(index="repeat", columns="rung", values="wall_seconds")
        for base in (name for name in bases if name in walls):
            for rung in (name for name in dict.fromkeys(valid["rung"]) if name in walls and name != base):
                ratios = (walls[base] / walls[rung]).dropna().tolist()
                if ratios:
                    named = {"population": population, "base": base, "rung": rung, "repeats": len(ratios)}
                    rows.append(named | interval_of(ratios))
    columns = ["population", "base", "rung", "repeats", "ratio", "low", "high", "median", "min", "max"]
    return pd.DataFrame(rows, columns=columns)


def problem_of_work(
    done: dict[int, tuple[int | None, int, float | None]],
    expected: dict[int, tuple[int, int]],
    reference_loss: float | None,
) -> str:
    """Return why a rung's time does not count, or an empty text.

    Args:
        done: Steps, images and mean loss of each member, as the rung counted them.
        expected: Steps and images of each member.
        reference_loss: Mean over the members of the mean losses of `resident`; None where there is none yet.
    """
    if done.keys() != expected.keys():
        return f"trained the members {sorted(done)}, not {sorted(expected)}"
    for member, (steps, images) in expected.items():
        if done[member][:2] != (steps, images):
            return f"member {member}: {done[member][0]} steps of {done[member][1]} images, not {steps} of {images}"
    losses = [loss for _, _, loss in done.values() if loss is not None and math.isfinite(loss)]
    if len(losses) < len(expected):
        return "a mean loss is not finite"
    mean = statistics.fmean(losses)
    if reference_loss is not None and abs(mean - reference_loss) > LOSS_TOLERANCE * abs(reference_loss):
        return f"mean loss {mean:.4g}, that of `resident` is {reference_loss:.4g}"
    return ""


def overhead_table(evaluations: pd.DataFrame) -> pd.DataFrame:
    """Return where the workers' time of a search went, in seconds and as a share of workers × wall time.

    The parts add up to the whole: training; waiting at the end of a generation for its last training; from there to the
    worker's next training (the proposals of the next generation among it); other gaps between two trainings of one
    worker (scheduling, journal, progress, building the network); before a worker's first training; after its last.

    Args:
        evaluations: Columns `worker`, `started` (seconds since the epoch), `seconds` and `generation`; rows whose
            `phase` (if there is one) is not "search" are left out.
    """
    rows = evaluations[evaluations["phase"] == "search"] if "phase" in evaluations else evaluations
    rows = rows.assign(end=rows["started"] + rows["seconds"]).sort_values("started")
    first, last = float(rows["started"].min()), float(rows["end"].max())
    workers = rows["worker"].nunique()
    generation_ends = rows.groupby("generation")["end"].max().sort_index().cummax()
    parts = dict.fromkeys(("training", "barrier", "proposing", "gaps", "before", "after"), 0.0)
    parts["training"] = float(rows["seconds"].sum())
    for _, own in rows.groupby("worker"):
        parts["before"] += float(own["started"].iloc[0]) - first
        parts["after"] += last - float(own["end"].iloc[-1])
        ends, starts, generations = own["end"].tolist(), own["started"].tolist(), own["generation"].tolist()
        for place in range(len(own) - 1):
            gap = starts[place + 1] - ends[place]
            if generations[place + 1] <= generations[place]:
                parts["gaps"] += gap
                continue
            closed = generation_ends[generation_ends.index < generations[place + 1]].iloc[-1]
            # A steady-state search has no barrier: there the next generation begins before the last one ends.
            waited = min(max(float(closed) - ends[place], 0.0), gap)
            parts["barrier"] += waited
            parts["proposing"] += gap - waited
    return _shares(parts, workers, last - first, len(rows))


def _shares(parts: dict[str, float], workers: int, wall: float, trainings: int) -> pd.DataFrame:
    words = {
        "training": "training",
        "barrier": "idle: waiting for the last training of a generation",
        "proposing": "between that and the worker's first training of the next generation",
        "gaps": "other gaps between two trainings of one worker",
        "before": "before a worker's first training",
        "after": "idle: after a worker's last training",
    }
    capacity = workers * wall
    rows = [(words[name], seconds, seconds / capacity) for name, seconds in parts.items()]
    rows.append((f"all: {workers} workers × {wall:.3f} s of wall time, {trainings} trainings", capacity, 1.0))
    return pd.DataFrame(rows, columns=["part", "worker_seconds", "share"])


def evaluations_of_search(folder: Path) -> pd.DataFrame:
    """Return the search's evaluations of a run folder with their exact times.

    They are read from the journal: `evaluations.csv` rounds them.

    Raises:
        RunError: The folder holds no run.
    """
    import evo

    run = evo.load(folder)
    rows = [
        {
            "worker": evaluation.worker,
            "started": evaluation.started,
            "seconds": evaluation.seconds,
            "generation": run.individuals[evaluation.individual].generation,
            "phase": evaluation.phase,
        }
        for evaluation in run.search_evaluations
    ]
    if not rows:
        raise evo.RunError(f"run {folder}: has no evaluations yet")
    return pd.DataFrame(rows)
