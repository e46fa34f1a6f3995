"""What a report of a search is made from: the tables of its run, each made once, and what follows from them at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from evo.record.run import Run
from evo.reports.features import Feature, features_of

if TYPE_CHECKING:
    from evo.record.settings import Settings
    from evo.space import SearchSpace


@dataclass(frozen=True)
class SearchData:
    """The tables of a run, as in its CSV files: figures and numbers of a report are made from these alone.

    Attributes:
        name: What the report calls the run.
        run: Where the tables are from.
    """

    name: str
    run: Run

    @property
    def settings(self) -> Settings:
        """What was asked for, as in settings.json."""
        return self.run.settings

    @property
    def space(self) -> SearchSpace:
        """The search space, as in settings.json."""
        return self.run.space

    @cached_property
    def evaluations(self) -> pd.DataFrame:
        """All evaluations of the search, in the order of (individual, replicate); fitness as floats."""
        table = self.run.table
        return table.assign(fitness=table["fitness"].astype(float))

    @cached_property
    def first(self) -> pd.DataFrame:
        """The first evaluation of every individual, in the order of the proposals, with its row number as index."""
        return self.evaluations[self.evaluations["replicate"] == 0].reset_index(drop=True)

    @cached_property
    def fitness_by_individual(self) -> dict[int, float]:
        """`fitness` as a dictionary: thousands of look-ups take no time."""
        return {int(number): float(value) for number, value in zip(self.fitness.index, self.fitness, strict=True)}

    @cached_property
    def fitness(self) -> pd.Series[float]:
        """The fitness of every individual's first evaluation, by its id; nan where it failed."""
        return pd.Series(self.first["fitness"].to_numpy(), index=self.first["individual"].astype(int), dtype=float)

    @cached_property
    def best_so_far(self) -> pd.Series[float]:
        """The best first evaluation so far, by individual; of halving only that of the longest trainings."""
        return self.comparable.cummax().ffill()

    @cached_property
    def comparable(self) -> pd.Series[float]:
        """`fitness` of the longest trainings: without paused ones, and in older runs of halving without lower rungs."""
        paused = (self.first["status"] == "partial").to_numpy()
        if paused.any() and not paused.all():
            return self.fitness.mask(paused)
        if "rung" not in self.first or self.first.empty:
            return self.fitness
        rungs = self.first["rung"].astype(float).fillna(0).to_numpy()
        return self.fitness.where(rungs == rungs.max())

    @cached_property
    def generations(self) -> pd.DataFrame:
        """As in generations.csv."""
        return self.run.generation_table

    @cached_property
    def populations(self) -> pd.DataFrame:
        """As in populations.csv."""
        return self.run.populations

    @cached_property
    def curves(self) -> pd.DataFrame:
        """As in curves.csv."""
        return self.run.curves

    @cached_property
    def hall_of_fame(self) -> pd.DataFrame:
        """As in hall_of_fame.csv."""
        return self.run.hall_of_fame

    @cached_property
    def finalists(self) -> pd.DataFrame:
        """As in finalists.csv."""
        return self.run.finalist_table

    @cached_property
    def features(self) -> list[Feature]:
        """The genes of `first` as what can be drawn: see `evo.reports.features`."""
        return features_of(self.space, self.first)

    @cached_property
    def best(self) -> int | None:
        """The winner's id: of the finalists, or else the first of the hall of fame; None where nothing is complete."""
        if len(self.finalists) and self.finalists["winner"].any():
            return int(self.finalists.loc[self.finalists["winner"].astype(bool), "individual"].iloc[0])
        return int(self.hall_of_fame["individual"].iloc[0]) if len(self.hall_of_fame) else None

    @property
    def fitness_label(self) -> str:
        """What the fitness is, in words."""
        return "fitness" if self.settings.objective is not None else f"{self.settings.fitness} accuracy (fraction)"


def fitness_label(runs: list[SearchData]) -> str:
    """Return what the fitness of several runs is, in words."""
    labels = {run.fitness_label for run in runs}
    if len(labels) == 1:
        return labels.pop()
    return "fitness" if "fitness" in labels else "accuracy (fraction)"
