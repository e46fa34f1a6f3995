"""What the report of a search is made from: the tables of its run, each built once, and what follows directly."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from evo.evaluation import INFEASIBLE, SUCCESSES
from evo.record.run import Run
from evo.record.tables import with_texts
from evo.reports.features import Feature, Floats, features_of, floats
from evo.reports.importance import Importance, importance_of


class SearchData:
    """The tables of a run, as in its CSV files: the report's figures and numbers are made only from these.

    Attributes:
        name: What the report calls the run.
        run: Where the tables are from; `settings` and `space` are its own.
    """

    def __init__(self, name: str, run: Run):
        self.name, self.run, self.settings, self.space = name, run, run.settings, run.space

    @cached_property
    def evaluations(self) -> pd.DataFrame:
        """All evaluations of the search, in the order of (individual, replicate); fitness as `floats` has it."""
        table = with_texts(self.run.table, self.space)
        return table.assign(fitness=floats(table["fitness"]))

    @property
    def earlier(self) -> int:
        """How many of them are results that the search began with, and no trainings."""
        return int((self.evaluations["status"] == "earlier").sum())

    @property
    def sign(self) -> float:
        """1 where a higher fitness is better, -1 where a lower one is."""
        return self.settings.sign

    @property
    def seconds(self) -> float:
        """Seconds of training in the search."""
        return float(self.evaluations["seconds"].sum())

    @property
    def failed(self) -> pd.DataFrame:
        """The evaluations that failed; those of configurations that are not allowed have not."""
        return self.evaluations[~self.evaluations["status"].isin((*SUCCESSES, INFEASIBLE))]

    @property
    def infeasible(self) -> pd.DataFrame:
        """The evaluations of configurations that are not allowed."""
        return self.evaluations[self.evaluations["status"] == INFEASIBLE]

    @cached_property
    def first(self) -> pd.DataFrame:
        """The first evaluation of every individual, in the order of the proposals, with its row number as index."""
        return self.evaluations[self.evaluations["replicate"] == 0].reset_index(drop=True)

    @cached_property
    def fitness(self) -> pd.Series[float]:
        """The fitness of every individual's first evaluation, by its id; nan where it failed."""
        return pd.Series(self.first["fitness"].to_numpy(), index=self.first["individual"].astype(int), dtype=float)

    @property
    def reach(self) -> Floats:
        """How far each first evaluation was trained: a rung (older runs of halving), the step where it paused, or 0."""
        paused = self.first["steps_trained"].where(self.first["status"] == "partial").fillna(0)
        return floats(self.first["rung"].fillna(0)) if "rung" in self.first else floats(paused)

    @cached_property
    def comparable(self) -> pd.Series[float]:
        """`fitness` of the longest trainings: without paused ones, and in older runs of halving without lower rungs."""
        paused, complete = ((self.first["status"] == status).to_numpy() for status in ("partial", "complete"))
        if paused.any():
            return self.fitness if paused.all() else self.fitness.where(complete)
        return self.fitness.where(complete & (self.reach == self.reach.max(initial=0)))

    @cached_property
    def best_so_far(self) -> pd.Series[float]:
        """The best `comparable` fitness so far, by individual."""
        return (self.sign * self.comparable).cummax().ffill() * self.sign

    @property
    def new_bests(self) -> npt.NDArray[np.bool_]:
        """Whether each first evaluation was better than all before."""
        best = self.best_so_far
        return (best.notna() & best.ne(best.shift())).to_numpy()

    @cached_property
    def hall_of_fame(self) -> pd.DataFrame:
        """As in hall_of_fame.csv."""
        return with_texts(self.run.hall_of_fame, self.space)

    @cached_property
    def finalists(self) -> pd.DataFrame:
        """As in finalists.csv."""
        return with_texts(self.run.finalist_table, self.space)

    @cached_property
    def confusion(self) -> pd.DataFrame:
        """As in confusion.csv."""
        return self.run.confusion

    @cached_property
    def features(self) -> list[Feature]:
        """The genes of `first` in a form that can be drawn: see `evo.reports.features`."""
        return features_of(self.space, self.first)

    @cached_property
    def importance(self) -> Importance:
        """How much each gene matters; the run's seed decides what is shuffled."""
        return importance_of(self.features, floats(self.comparable), self.settings.seed % 2**32)

    @cached_property
    def best(self) -> int | None:
        """The winner's id: of the finalists, or else the first of the hall of fame; None where nothing is complete."""
        winners = self.finalists.loc[self.finalists["winner"].astype(bool), "individual"]
        return next(map(int, [*winners, *self.hall_of_fame["individual"]]), None)

    @cached_property
    def objectives(self) -> pd.DataFrame:
        """The complete first evaluations that have all objectives: `individual`, one column each, and `front`.

        The front is that of all evaluations; the last population of the search may have no room for all of it.
        """
        goals = self.settings.objectives or {}
        columns = [name for name in goals if name in self.first]
        table = self.first.loc[self.first["status"] == "complete", ["individual", *columns]]
        table = table.astype(dict.fromkeys(columns, float)).dropna().reset_index(drop=True)
        return table.assign(front=table["individual"].isin(self.front["individual"]))

    @cached_property
    def front(self) -> pd.DataFrame:
        """As in front.csv."""
        return self.run.front

    @property
    def fitness_label(self) -> str:
        """What an axis of the fitness says."""
        settings = self.settings
        if settings.objective is None:
            return (
                f"{settings.fitness_name}{' (nats, lower is better)' if settings.measure == 'loss' else ' (fraction)'}"
            )
        return settings.goal + (" (lower is better)" if self.sign < 0 else "")
