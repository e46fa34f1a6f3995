"""`report2019-fixed`: the idea of the 2019 report without its faults, on any space.

Kept: self-adaptive mutation strengths that travel with the genome, mating with the best one time in two, the best kept.
Repaired: strengths are relative to each gene's (log) range and move by factors (Schwefel's log-normal rule, as in
DEAP's `mutESLogNormal`), learning rates vary in log space, every gene stays in its bounds, nothing is trained twice.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

from evo.individual import Genome
from evo.space.genes import Float, Gene, Number
from evo.strategies.members import Draft
from evo.strategies.report2019 import KeepTheBest
from evo.strategies.variation import mutate_gene

WEAKEST, STRONGEST = 0.01, 0.5
TRIES = 50


class Report2019Fixed(KeepTheBest):
    """Each gene carries a strength: a number's step in its unit range, or the probability that another gene changes."""

    name = "report2019-fixed"

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self._genes = {name: _in_log_space(name, gene) for name, gene in self.space.genes.items()}

    def propose(self, number: int, rng: random.Random) -> Draft | None:
        if number < self.population_size or not self.population:
            genome = self._draw(rng)
            strengths = {name: rng.uniform(0.05, 0.3) for name in self.space.genes}
            return Draft(genome, strategy_parameters=strengths) if genome is not None else None
        own, mate = self.parents_of(number, rng)
        strengths = self._strengths(own.individual.strategy_parameters, rng)
        parents = tuple(dict.fromkeys((own.individual.id, mate.individual.id)))
        for attempt in range(TRIES):
            widened = {name: min(STRONGEST, value * (1 + attempt / 5)) for name, value in strengths.items()}
            child = self._child(own.genome, mate.genome, widened, rng)
            if self.is_new(child):
                return Draft(child, parents, "crossover+mutation", strengths)
        sampled = self.sample_new(rng)
        return Draft(sampled, strategy_parameters=strengths) if sampled is not None else None

    def _draw(self, rng: random.Random) -> Genome | None:
        """Draw a new genome, its learning rate uniformly in log space."""
        genome = self.sample_new(rng)
        if genome is None:
            return None
        logarithmic = {name: gene.sample(rng) for name, gene in self._genes.items() if gene != self.space.genes[name]}
        drawn = {name: logarithmic.get(name, value) for name, value in genome.items()}
        return drawn if self.is_new(drawn) else genome

    def _strengths(self, parent: dict[str, Any], rng: random.Random) -> dict[str, float]:
        """Return the parent's strengths after a log-normal step; tau as in Schwefel 1995."""
        count = len(self.space.genes)
        common = rng.gauss(0.0, 1 / math.sqrt(2 * count))
        tau = 1 / math.sqrt(2 * math.sqrt(count))
        return {
            name: min(STRONGEST, max(WEAKEST, parent.get(name, 0.15) * math.exp(common + rng.gauss(0.0, tau))))
            for name in self.space.genes
        }

    def _child(self, own: Genome, mate: Genome, strengths: dict[str, float], rng: random.Random) -> Genome:
        def value_of(name: str, gene: Gene) -> Any:
            gene = self._genes[name]
            if name not in own:
                return mate[name] if name in mate else gene.sample(rng)
            return _vary(gene, own[name], mate.get(name, own[name]), strengths[name], rng)

        return self.space.assemble(value_of)


def _vary(gene: Gene, own: Any, mate: Any, strength: float, rng: random.Random) -> Any:
    """Return a value between the parents' (numbers) or one of them (others), mutated."""
    if isinstance(gene, Number):
        low, high = gene.scale.to_unit(own), gene.scale.to_unit(mate)
        return gene.from_unit(low + rng.random() * (high - low) + rng.gauss(0.0, strength))
    value = mate if rng.random() < strength else own
    return mutate_gene(gene, value, rng, strength) if rng.random() < strength else value


def _in_log_space(name: str, gene: Gene) -> Gene:
    """Return a learning rate on a logarithmic scale, whatever the space says; other genes as they are."""
    if name == "learning_rate" and isinstance(gene, Float) and gene.low > 0:
        return replace(gene, log=True)
    return gene
