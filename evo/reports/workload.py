"""What a search cost: by status and reason, by generation, and which worker trained what when."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from evo.reports.features import Floats
from evo.reports.search_data import SearchData

PAUSE = 60.0
"""After this many seconds without a training, a search counts as having been stopped."""
SHORTEST = 0.5
"""Less training than these seconds has no figure: times are known to a millisecond."""
REASONS = 20
"""Most rows of the table of failures; rarer reasons are counted together."""
UNITS = ((7200.0, 3600.0, "hours"), (180.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))


def unit_of(seconds: float) -> tuple[float, str]:
    """Return the unit that suits a time: its seconds, and its name."""
    return next((size, name) for least, size, name in UNITS if seconds >= least)


def duration_text(seconds: float) -> str:
    """Return a time in the unit that suits it: 2.5 hours."""
    size, unit = unit_of(seconds)
    return f"{seconds / size:,.1f} {unit}"


def outcomes_table(data: SearchData) -> pd.DataFrame:
    """Return one row per status: `status, evaluations, share, seconds`.

    Evaluations that were read from another's curve are among the complete ones and cost nothing.
    """
    seconds = data.evaluations.groupby("status", sort=False)["seconds"]
    grouped = seconds.agg(evaluations="size", seconds="sum").reset_index()
    grouped.insert(2, "share", grouped["evaluations"] / max(1, len(data.evaluations)))
    return grouped.sort_values("evaluations", ascending=False, kind="stable").reset_index(drop=True)


def failures_table(data: SearchData) -> pd.DataFrame:
    """Return one row per reason of a failure or of a configuration that is not allowed, the most frequent first.

    Columns: `status, reason, evaluations, seconds, individual`.

    Reasons that differ only in their numbers count as one; `reason` and `individual` are of the first of them.
    """
    rows = pd.concat([data.failed, data.infeasible]).sort_index()
    reason = rows["error"].fillna("").astype(str).str.strip()
    without_numbers = reason.map(lambda text: re.sub(r"\d+(\.\d+)?([eE][-+]?\d+)?", "#", text))
    failed = rows.assign(reason=reason.str.slice(0, 300), key=without_numbers)
    grouped = failed.groupby(["status", "key"], sort=False).agg(
        reason=("reason", "first"),
        evaluations=("individual", "size"),
        seconds=("seconds", "sum"),
        individual=("individual", "first"),
    )
    table = grouped.reset_index().drop(columns="key").sort_values("evaluations", ascending=False, kind="stable")
    if len(table) > REASONS:
        rest = table.iloc[REASONS - 1 :]
        others = {"status": "various", "reason": f"{len(rest)} other reasons", "individual": rest["individual"].iloc[0]}
        others |= {name: rest[name].sum() for name in ("evaluations", "seconds")}
        table = pd.concat([table.iloc[: REASONS - 1], pd.DataFrame([others])])
    return table.reset_index(drop=True)


class Timeline(NamedTuple):
    """Which worker trained what when.

    Attributes:
        spans: One row per training: `individual, replicate, worker, status, fitness, start, end`; seconds from the
            first start, without the pauses.
        pauses: How often nothing ran for longer than `PAUSE`.
        wall: Seconds from the first start to the last end, without the pauses.
        times: When a training started or ended.
        running: How many trainings ran from each of these times on.
    """

    spans: pd.DataFrame
    pauses: int
    wall: float
    times: Floats
    running: Floats

    @property
    def workers(self) -> int:
        """The most trainings that ran at the same time."""
        # Starts are known to a millisecond: that must not count a worker twice.
        return min(int(self.running.max()), self.spans["worker"].nunique())

    @property
    def utilisation(self) -> float:
        """The share of the workers' time in which they trained; at most 1."""
        trained = float((self.spans["end"] - self.spans["start"]).sum())
        return min(1.0, trained / (self.wall * self.workers)) if self.wall > 0 else float("nan")


def timeline_of(data: SearchData) -> Timeline | None:
    """Return the timeline of a search; None where the trainings with a known start took hardly any time."""
    names = ("individual", "replicate", "worker", "status", "fitness")
    # The tables have only the last part of a continued training. What was trained before an interruption lies at an
    # unknown time before `started`.
    spans = pd.DataFrame(
        {**{name: getattr(part, name) for name in names}, "start": part.started, "end": part.ended}
        for part in data.run.results
        if part.phase == "search" and part.started and part.worker and part.ended > part.started
    )
    if not len(spans) or (spans["end"] - spans["start"]).sum() < SHORTEST:
        return None
    spans = spans.sort_values("start", kind="stable").reset_index(drop=True)
    spans[["start", "end"]] -= spans["start"].min()
    gaps = (spans["start"] - spans["end"].cummax().shift(1)).fillna(0.0)
    paused = gaps.where(gaps > PAUSE, 0.0)
    spans["start"] -= paused.cumsum()
    spans["end"] -= paused.cumsum()
    # A training that begins as another ends does not overlap it: ends come first.
    events = sorted([(end, -1) for end in spans["end"]] + [(start, 1) for start in spans["start"]])
    times, changes = np.array(events).T
    return Timeline(spans, int((paused > 0).sum()), float(spans["end"].max()), times, np.cumsum(changes))
