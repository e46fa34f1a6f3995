"""The report's Table 1 beside our trainings of the same networks, as one table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from evo.individual import Individual
from evo.record.run import Run
from evo.report2019.table1 import Row, chosen_rows
from evo.reports.training import Curve, complete_trainings

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
COLUMNS = ["row", "part", "measurement", "point", "report", "ours", "std", "n"]
COLUMNS += ["difference", "tolerance", "within", "spikes"]

GA1, DROPOUT, BATCH_NORM = "GA1", "GA1 + dropout", "GA1 + dropout + batchnorm"
COMPARED = (GA1, DROPOUT, BATCH_NORM)
"""The rows from which the report concludes that dropout and batch norm do not help."""


def table1_table(run: Run) -> pd.DataFrame:
    """Return what the report measured and what we did, one row a figure.

    Columns: `row`, `part` (train, test), `measurement` (as reported, evaluation mode), `point` (last step, median of
    the last five), `report` and `ours` (accuracies, fractions; ours the mean over seeds), `std` (of a sample, over
    seeds), `n` (complete seeds), `difference` (ours minus the report's), `tolerance` and `within` (as reported only),
    `spikes` (of the training loss, over all seeds of the row).

    Args:
        run: Of `evo table1`, finished or not: a row that no seed has finished has n = 0 and empty cells.
    """
    records = [record for row in rows_of(run) for record in _records(row, curves_of_row(run, row))]
    table = pd.DataFrame({name: pd.Series([record[name] for record in records]) for name in COLUMNS}, columns=COLUMNS)
    numbers = dict.fromkeys(("report", "ours", "std", "difference", "tolerance"), "float64")
    return table.astype({**numbers, "n": "int64", "within": object, "spikes": "Int64"})


def _records(row: Row, curves: Sequence[Curve]) -> Iterator[dict[str, Any]]:
    for (part, measurement), quantity in QUANTITIES.items():
        for point, count in POINTS.items():
            values = [value for curve in curves if (value := _median(curve[-count:], quantity)) is not None]
            report = row.train if part == "train" else row.test
            ours = statistics.fmean(values) if values else None
            difference = None if ours is None else ours - report
            tolerance = None
            if ours is not None and measurement == AS_REPORTED:
                tolerance = TEST_TOLERANCE if part == "test" else _minibatch_tolerance(row, ours, len(values))
            yield {
                "row": row.name,
                "part": part,
                "measurement": measurement,
                "point": point,
                "report": report,
                "ours": ours,
                "std": statistics.stdev(values) if len(values) > 1 else None,
                "n": len(values),
                "difference": difference,
                "tolerance": tolerance,
                "within": None if tolerance is None or difference is None else abs(difference) <= tolerance + ROUNDING,
                "spikes": sum(map(count_spikes, curves)) if curves else None,
            }


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


def individual_of(run: Run, row: Row) -> Individual | None:
    """Return the individual of a row; None where the run has none."""
    return next((individual for individual in run.individuals if individual.genome == row.genome), None)


def curves_of_row(run: Run, row: Row) -> list[Curve]:
    """Return the curves of a row's complete trainings."""
    return complete_curves(run, individual_of(run, row))


def complete_curves(run: Run, individual: Individual | None) -> list[Curve]:
    """Return the curves of the complete trainings; others are no result."""
    return [entry.curve for entry in complete_trainings(run, individual)] if individual is not None else []
