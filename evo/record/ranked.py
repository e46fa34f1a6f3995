"""An individual as a run ranks it: what was proposed, with what the search measured of it."""

from __future__ import annotations

from dataclasses import dataclass

from evo.evaluation import Evaluation
from evo.individual import Genome, Individual
from evo.numbers import mean
from evo.ranking import reach


@dataclass(frozen=True)
class RankedIndividual:
    """An individual with what the search measured of it."""

    individual: Individual
    evaluation: Evaluation

    config: Genome
    """The configuration: gene values by name, inactive genes absent; see `History.config_of`."""
    replicates: tuple[float, ...] = ()
    """Fitness of each of its evaluations in the search, if there are several."""

    def __repr__(self) -> str:
        return f"RankedIndividual({self.id}: fitness {self.evaluation.fitness}, {self.config})"

    @property
    def id(self) -> int:
        """The individual's id."""
        return self.individual.id

    @property
    def reach(self) -> tuple[bool, int]:
        """How far its training went: see `evo.ranking.reach`."""
        return reach(self.individual, paused=self.evaluation.paused)

    @property
    def fitness(self) -> float:
        """The fitness that the search measured; the mean, if it evaluated the individual several times."""
        if self.replicates:
            return mean(self.replicates)
        assert self.evaluation.fitness is not None
        return self.evaluation.fitness
