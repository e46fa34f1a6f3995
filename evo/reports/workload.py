"""What a search cost: by status and reason, by generation, and which worker trained what when."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

from evo.individual import SUCCESSES
from evo.reports.search_data import SearchData

PAUSE = 60.0
"""Seconds without a training from which on a search is taken to have been stopped."""
SHORTEST = 0.5
"""Seconds of training below which there is no figure of them: they are known to a millisecond."""
REASONS = 20
"""Most rows of the table of failures; rarer reasons are counted together."""
REASON_LENGTH = 300


def outcomes_table(data: SearchData) -> pd.DataFrame:
    """Return one row a status: `status, evaluations, share, seconds`.

    Evaluations that were read from another's curve are among the complete ones and cost nothing.
    """
    grouped = data.evaluations.groupby("status", sort=False)["seconds"].agg(["size", "sum"]).reset_index()
    grouped.columns = pd.Index(["status", "evaluations", "seconds"])
    grouped.insert(2, "share", grouped["evaluations"] / max(1, len(data.evaluations)))
    return grouped.sort_values("evaluations", ascending=False, kind="stable").reset_index(drop=True)


def failures_table(data: SearchData) -> pd.DataFrame:
    """Return one row a reason: `status, reason, evaluations, seconds, individual`, the most frequent first.

    Reasons that differ in their numbers alone are one; `reason` and `individual` are of the first of them.
    """
    failed = data.evaluations[~data.evaluations["status"].isin(SUCCESSES)]
    reason = failed["error"].fillna("").astype(str).str.strip()
    failed = failed.assign(reason=reason.str.slice(0, REASON_LENGTH), key=reason.map(_without_numbers))
    grouped = failed.groupby(["status", "key"], sort=False).agg(
        reason=("reason", "first"),
        evaluations=("individual", "size"),
        seconds=("seconds", "sum"),
        individual=("individual", "first"),
    )
    table = grouped.reset_index().drop(columns="key").sort_values("evaluations", ascending=False, kind="stable")
    if len(table) > REASONS:
        rest = table.iloc[REASONS - 1 :]
        others = {
            "status": "various",
            "reason": f"{len(rest)} other reasons",
            "evaluations": rest["evaluations"].sum(),
            "seconds": rest["seconds"].sum(),
            "individual": rest["individual"].iloc[0],
        }
        table = pd.concat([table.iloc[: REASONS - 1], pd.DataFrame([others])])
    return table.reset_index(drop=True)


def seconds_by_generation(data: SearchData) -> pd.Series[float]:
    """Return the seconds of training by generation, those of unfinished generations included."""
    return data.evaluations.groupby("generation")["seconds"].sum().astype(float)


@dataclass(frozen=True)
class Timeline:
    """Who trained what when.

    Attributes:
        spans: One row a training: `individual, replicate, worker, status, fitness, start, end`; seconds from the first
            start, without the pauses.
        pauses: How often nothing ran for longer than `PAUSE`.
        wall: Seconds from the first start to the last end, without the pauses.
        workers: The most trainings that ran at the same time.
    """

    spans: pd.DataFrame
    pauses: int
    wall: float
    workers: int

    @property
    def utilisation(self) -> float:
        """The share of the workers' time in which they trained; at most 1."""
        trained = float((self.spans["end"] - self.spans["start"]).sum())
        return min(1.0, trained / (self.wall * self.workers)) if self.wall > 0 else float("nan")


def timeline_of(data: SearchData) -> Timeline | None:
    """Return the timeline of a search; None where what has a start took hardly any time."""
    table = data.evaluations
    table = table[(table["started"].astype(str) != "") & (table["seconds"] > 0) & (table["worker"].astype(str) != "")]
    if table["seconds"].sum() < SHORTEST:
        return None
    started = pd.to_datetime(table["started"], utc=True, format="ISO8601")
    start = (started - started.min()).dt.total_seconds().astype(float)
    # What was trained before an interruption lies before `started`, nobody knows where.
    before = table["seconds_before"].astype(float)
    spans = table[["individual", "replicate", "worker", "status", "fitness"]].assign(
        start=start, end=start + table["seconds"].astype(float) - before
    )
    spans = spans.sort_values("start", kind="stable").reset_index(drop=True)
    reached = spans["end"].cummax().shift(1)
    gaps = (spans["start"] - reached).fillna(0.0)
    paused = gaps.where(gaps > PAUSE, 0.0)
    spans["start"] -= paused.cumsum()
    spans["end"] -= paused.cumsum()
    return Timeline(spans, int((paused > 0).sum()), float(spans["end"].max()), _most_at_a_time(spans))


def _most_at_a_time(spans: pd.DataFrame) -> int:
    """Return the most spans that overlap; one that begins as another ends does not overlap it."""
    events = sorted([(end, -1) for end in spans["end"]] + [(start, 1) for start in spans["start"]])
    running = most = 0
    for _, change in events:
        running += change
        most = max(most, running)
    # Starts are known to a millisecond: no worker is counted twice for that.
    return min(most, spans["worker"].nunique())


def _without_numbers(text: str) -> str:
    return re.sub(r"\d+(\.\d+)?([eE][-+]?\d+)?", "#", text)
