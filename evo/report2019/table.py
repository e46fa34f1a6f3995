"""The report's Table 1 beside our trainings of the same networks, as one table, and what follows from it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from evo.individual import Genome
from evo.numbers import deviation, mean
from evo.record.run import Run
from evo.report2019.table1 import Row, chosen_rows
from evo.reports.training import Curve

AS_REPORTED, EVALUATION_MODE = "as reported", "evaluation mode"
LAST_STEP, MEDIAN = "last step", "median of the last five"
POINTS = {LAST_STEP: 1, MEDIAN: 5}
"""How many of a curve's last points each figure of the table is the median of."""
QUANTITIES = {
    ("train", AS_REPORTED): "minibatch_accuracy",
    ("train", EVALUATION_MODE): "whole_train_accuracy",
    ("test", AS_REPORTED): "training_mode_accuracy",
    ("test", EVALUATION_MODE): "test_accuracy",
}
"""The name of each measurement in a learning curve."""
TEST_TOLERANCE = 0.02
ROUNDING = 1e-9
"""A difference that is the tolerance itself is within it, whatever the last digit of a float says."""
SPIKE_AFTER, SPIKE_ABOVE = 0.1, 0.5
"""A training loss, as the mean between two evaluations, that has been below the first and rises above the second is a
spike (nats); a shorter one is averaged away."""
HEADINGS = (
    *("row", "report", f"{AS_REPORTED}: {LAST_STEP}", "difference (percentage points)", f"{AS_REPORTED}: {MEDIAN}"),
    *(f"{EVALUATION_MODE}: {LAST_STEP}", f"{EVALUATION_MODE}: {MEDIAN}", "n"),
)
COLUMNS = ["row", "part", "measurement", "point", "report", "ours", "std", "n"]
COLUMNS += ["difference", "tolerance", "within", "spikes"]

GA1, DROPOUT, BATCH_NORM = "GA1", "GA1 + dropout", "GA1 + dropout + batchnorm"
COMPARED = (GA1, DROPOUT, BATCH_NORM)
"""The rows from which the report concludes that dropout and batch norm do not help."""


def table1_table(run: Run) -> pd.DataFrame:
    """Return what the report measured and what we did, one row per figure.

    Columns: `row`, `part` (train, test), `measurement` (as reported, evaluation mode), `point` (last step, median of
    the last five), `report` and `ours` (accuracies, fractions; ours the mean over seeds), `std` (of a sample, over
    seeds), `n` (complete seeds), `difference` (ours minus the report's), `tolerance` and `within` (as reported only),
    `spikes` (of the training loss, over all seeds of the row).

    Args:
        run: Of `evo table1`, finished or not: a row that no seed has finished has n = 0 and empty cells.
    """
    records = [record for row in rows_of(run) for record in _records(row, curves_of(run, row.genome))]
    table = pd.DataFrame(records, columns=COLUMNS)
    numbers = dict.fromkeys(("report", "ours", "std", "difference", "tolerance"), "float64")
    return table.astype({**numbers, "n": "int64", "within": object, "spikes": "Int64"})


def _records(row: Row, curves: Sequence[Curve]) -> Iterator[tuple[Any, ...]]:
    spikes = sum(map(count_spikes, curves)) if curves else None
    for (part, measurement), quantity in QUANTITIES.items():
        for point, count in POINTS.items():
            values = [value for curve in curves if (value := _median(curve[-count:], quantity)) is not None]
            report = row.train if part == "train" else row.test
            ours = mean(values) if values else None
            difference = None if ours is None else ours - report
            spread = deviation(values, of_sample=True) if len(values) > 1 else None
            tolerance = within = None
            if ours is not None and measurement == AS_REPORTED:
                tolerance = TEST_TOLERANCE if part == "test" else _minibatch_tolerance(row, ours, len(values))
                within = abs(ours - report) <= tolerance + ROUNDING
            measured = (report, ours, spread, len(values), difference, tolerance, within, spikes)
            yield (row.name, part, measurement, point, *measured)


def count_spikes(curve: Curve) -> int:
    """Return how often the mean training loss rose above 0.5 after it had fallen below 0.1."""
    spikes, low = 0, False
    for point in curve:
        loss = point.values.get("train_loss", math.nan)
        if loss < SPIKE_AFTER:
            low = True
        elif loss > SPIKE_ABOVE and low:
            spikes, low = spikes + 1, False
    return spikes


def _median(points: Curve, quantity: str) -> float | None:
    known = [value for point in points if (value := point.values.get(quantity)) is not None]
    return statistics.median(known) if known else None


def _minibatch_tolerance(row: Row, ours: float, seeds: int) -> float:
    """Return two standard errors of the difference of the report's one minibatch and the mean of ours."""
    share = row.train if 0 < row.train < 1 else ours
    variance = share * (1 - share) / row.batch_size
    return max(2 * math.sqrt(variance + variance / seeds), 1 / row.batch_size)


def rows_of(run: Run) -> list[Row]:
    """Return the rows that a run was asked for, in the order of the report."""
    return [row for row in chosen_rows([]) if row.genome in run.configurations]


def curves_of(run: Run, genome: Genome) -> list[Curve]:
    """Return the curves of a network's complete trainings; others are no result."""
    individuals = {individual.id for individual in run.individuals if individual.genome == genome}
    return [entry.curve for entry in run.search_evaluations if entry.individual in individuals and entry.complete]


def accuracy_rows(run: Run, table: pd.DataFrame, part: str) -> list[list[str]]:
    """Return the accuracies of one part of the data as text, a row per network; the columns are `HEADINGS`."""
    return [_accuracy_cells(run, table[(table["row"] == row.name) & (table["part"] == part)]) for row in rows_of(run)]


def _accuracy_cells(run: Run, here: pd.DataFrame) -> list[str]:
    cells = {(entry["measurement"], entry["point"]): entry for entry in here.to_dict("records")}
    last, n = cells[AS_REPORTED, LAST_STEP], max(entry["n"] for entry in cells.values())
    ours = {key: _mean_and_deviation(entry) for key, entry in cells.items()}
    return [
        *(last["row"], f"{100 * last['report']:.1f}", ours[AS_REPORTED, LAST_STEP], _difference(last)),
        *(ours[AS_REPORTED, MEDIAN], ours[EVALUATION_MODE, LAST_STEP], ours[EVALUATION_MODE, MEDIAN]),
        str(n) if n == run.settings.seeds else f"{n} of {run.settings.seeds}",
    ]


def _mean_and_deviation(entry: Mapping[Any, Any]) -> str:
    if pd.isna(entry["ours"]):
        return ""
    return f"{100 * entry['ours']:.1f}" + ("" if pd.isna(entry["std"]) else f" ± {100 * entry['std']:.1f}")


def _difference(entry: Mapping[Any, Any]) -> str:
    if pd.isna(entry["difference"]):
        return ""
    shown = round(100 * entry["difference"], 1) + 0.0  # minus zero becomes zero
    return f"{shown:+.1f} ({'within' if entry['within'] else 'beyond'} {100 * entry['tolerance']:.1f})"


def spikes_sentence(table: pd.DataFrame) -> str:
    """Return how often the training loss of each row rose again, in words."""
    counts = table[["row", "spikes"]].drop_duplicates().dropna()
    found = [f"{row} {spikes}" for row, spikes in zip(counts["row"], counts["spikes"], strict=True) if spikes]
    if len(found) < len(counts):
        found.append("none in the others" if found else "none")
    return (
        "Spikes of the training loss (its mean between two evaluations, "
        f"from below {SPIKE_AFTER} to above {SPIKE_ABOVE} nats, all seeds together): "
        f"{', '.join(found) or 'no training is complete'}."
    )


def conclusion(table: pd.DataFrame) -> list[str]:
    """Return whether the report's conclusion on dropout and batch norm holds, where its rows have been trained."""
    here = table[(table["part"] == "test") & (table["point"] == LAST_STEP) & table["row"].isin(COMPARED)]
    ours = here.set_index(["row", "measurement"])["ours"].dropna()
    if len(ours) < 2 * len(COMPARED):
        return []
    said = {
        how: ", ".join(f"{row} {100 * ours[row, how]:.1f}" for row in COMPARED)
        for how in (AS_REPORTED, EVALUATION_MODE)
    }
    better = [row for row in COMPARED[1:] if ours[row, EVALUATION_MODE] > ours[GA1, EVALUATION_MODE]]
    verdict = f"does not hold: {' and '.join(better)} reached more than {GA1}" if better else "holds"
    return [
        f"The report concludes from the test accuracies as it measured them (ours: {said[AS_REPORTED]}) that dropout "
        f"and batch norm do not help. In evaluation mode ({said[EVALUATION_MODE]}) this {verdict}."
    ]
