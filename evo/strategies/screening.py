"""Children of the best, screened by a model: hundreds are made, and the most promising one is proposed.

The winner of the 2020 black-box challenge works like this (Cowen-Rivers et al., HEBO, JAIR 2022). Most of such a pool
should be mutants of the best (White et al., BANANAS, 2021; Schneider et al., Mutation is all you need, 2021). The model
is trusted if its last predictions put results in the right order (Hansen, lq-CMA-ES, GECCO 2019).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from deap import base

from evo.individual import DURATION, Genome, genome_key
from evo.space import SearchSpace
from evo.space.genes import Gene, Layers, Number
from evo.strategies.encoding import Encoder
from evo.strategies.feasibility import EXEMPT, Feasibility, first_to_try
from evo.strategies.members import Draft

IsNew: TypeAlias = Callable[[Genome], bool]
CostOf: TypeAlias = Callable[[Genome], float]
"""What the training of a genome costs, in any unit; above 0, and the same whenever it is asked for."""

if TYPE_CHECKING:
    from evo.strategies.gaussian_process import GaussianProcess, Vectors

POOL, REFINED, REFINEMENTS = 400, 100, 2
"""Children in the first pool; children of its best in each refinement; refinements."""
IMMIGRANTS, CROSSED = 0.25, 0.15
"""Shares of the pool: draws from the whole space; children of two parents. The rest are mutants."""
PARENTS, MEMORY = 5, 40
"""How many parents there are, and from how many of the last evaluations; the best of all is always one of them."""
TRUST_WINDOW, TRUST_AFTER, TRUST = 15, 8, 0.2
"""The model is trusted from this correlation (Kendall's) of its last predictions with their results on."""
STRENGTH, WEAKEST, STRONGEST = 0.2, 0.05, 0.5
SUCCESS, FAILURE = 1.22, 0.95
"""Factors of the mutation strength after a better and a worse child: the one-fifth rule (Rechenberg, 1973)."""
RISE = 1.0
"""Where costs are weighed: by how much longer trainings are expected to be better, in standard deviations of the known
results over the whole range of their length. Few of the first trainings are long, so results say it late."""
WORTHWHILE = 0.05
"""The smallest improvement to look for, in standard deviations of the known results."""
FEWEST_MODELLED, MOST_MODELLED = 4, 250
"""Evaluations that the model is fitted to. If there are more: the best ones, half of the most, and the last ones."""


@dataclass
class Evidence:
    """What a child is made from.

    Attributes:
        genomes: The genomes of evaluations that have a result, by number, in the order of evaluation.
        fitness: Their results.
        pending: Genomes whose results are not known yet.
        predictions: The model's predictions of earlier children, with their results.
        hyperparameters: Those of the last model.
        refused: The genomes of evaluations that failed or are not allowed, where a search learns from them.
        violations: How far each of these is from being allowed; None where that is not known.
        recent: Whether each evaluation was refused, the last one last.
    """

    genomes: dict[int, Genome]
    fitness: dict[int, float]
    pending: list[Genome] = field(default_factory=list)
    predictions: list[tuple[float, float]] = field(default_factory=list)
    hyperparameters: list[float] | None = None
    refused: list[Genome] = field(default_factory=list)
    violations: list[float | None] = field(default_factory=list)
    recent: list[bool] = field(default_factory=list)

    def parents(self) -> list[int]:
        """Return the numbers of the evaluations whose genomes may have children, best first."""
        best = sorted(self.fitness, key=lambda number: (-self.fitness[number], number))
        recent = set(list(self.fitness)[-MEMORY:])
        return (best[:1] + [number for number in best[1:] if number in recent])[:PARENTS]

    def modelled(self) -> list[int]:
        """Return the numbers of the evaluations that the model is fitted to."""
        every = list(self.fitness)
        if len(every) <= MOST_MODELLED:
            return every
        best = sorted(every, key=lambda number: (-self.fitness[number], number))[: MOST_MODELLED // 2]
        return sorted({*best, *every[-(MOST_MODELLED - len(best)) :]})

    def is_trustworthy(self) -> bool:
        """Return whether the model predicted roughly the right order of its last children."""
        from scipy.stats import kendalltau

        last = self.predictions[-TRUST_WINDOW:]
        if len(last) < TRUST_AFTER:
            return True
        correlation = kendalltau(*zip(*last, strict=True)).statistic
        return bool(math.isnan(correlation) or correlation >= TRUST)


@dataclass(frozen=True)
class Chances:
    """What decides which child is the most promising.

    Attributes:
        model: Predicts warped fitness.
        best: What is to be improved on.
        allowed: Says which children are probably allowed; None if all may be.
    """

    model: GaussianProcess
    best: float
    allowed: Feasibility | None


class Screening:
    """Makes children and chooses among them.

    Args:
        space: The genes.
        toolbox: DEAP's, with `mate` and `mutate`.
        cost: The most promising child is then the one of the greatest expected improvement per cost (Snoek, Larochelle
            and Adams, NeurIPS 2012). Without it, all trainings count alike.
    """

    def __init__(self, space: SearchSpace, toolbox: base.Toolbox, cost: CostOf | None = None):
        self._space, self._toolbox, self._cost = space, toolbox, cost
        self._encoder = Encoder(space)
        self._slope = self._expected_slope() if cost is not None else None
        self._strengths = {"numbers": STRENGTH, "layers": STRENGTH}

    def _expected_slope(self) -> Vectors:
        columns = np.zeros(len(self._encoder.groups))
        for name in DURATION:
            if isinstance(self._space.genes.get(name), Number):
                columns[self._encoder.column(name)] = RISE
        return columns

    def adapt(self, parent: Genome, child: Genome, *, better: bool) -> None:
        """Strengthen or weaken the mutation of the kinds of genes in which a child differs from its parent."""
        changed = {
            _kind(self._space.genes[name])
            for name, value in child.items()
            if name in self._space.genes and parent.get(name, value) != value
        }
        for kind in changed:
            factor = SUCCESS if better else FAILURE
            self._strengths[kind] = min(STRONGEST, max(WEAKEST, self._strengths[kind] * factor))

    def child(self, evidence: Evidence, is_new: IsNew, rng: random.Random) -> Draft | None:
        """Return a new genome made from the best; None if there is nothing to make it from, or nothing new was found.

        Its parents are numbers of `evidence`.
        """
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):  # more threads would add numbers in another order
            return self._child(evidence, is_new, rng)

    def _child(self, evidence: Evidence, is_new: IsNew, rng: random.Random) -> Draft | None:
        if not evidence.fitness:
            return self._first_allowed(evidence, is_new, rng) if evidence.refused else None
        allowed = self._allowed(evidence) if evidence.refused and rng.random() >= EXEMPT else None
        pool = self._pool(evidence, is_new, rng)
        if not pool:
            return None
        if len(evidence.fitness) < FEWEST_MODELLED:
            return rng.choice(self._cheaper_half(self._likely(_mutants(pool), allowed)))
        return self._screened(evidence, pool, allowed, is_new, rng)

    def _allowed(self, evidence: Evidence) -> Feasibility:
        known = self._encoder.encode(list(evidence.genomes.values()))
        refused, pending = self._encoder.encode(evidence.refused), self._encoder.encode(evidence.pending)
        return Feasibility(known, refused, pending, self._encoder.groups, evidence.recent)

    def _likely(self, children: list[Draft], allowed: Feasibility | None) -> list[Draft]:
        """Return the children that are probably allowed; if none is, the one that most probably is."""
        if allowed is None:
            return children
        penalties = allowed.penalty(self._encode(children))
        return [children[place] for place in np.flatnonzero(penalties == penalties.max())]

    def _first_allowed(self, evidence: Evidence, is_new: IsNew, rng: random.Random) -> Draft | None:
        """Return a genome to try while none is known that is allowed: drawn, or made from those that nearly are."""
        near = [place for place, violation in enumerate(evidence.violations) if violation is not None]
        near.sort(key=lambda place: (evidence.violations[place], place))
        drawn = [Draft(self._space.sample(rng)) for _ in range(POOL)]
        for _ in range(POOL if near else 0):
            drawn.append(Draft(self._mutated(evidence.refused[rng.choice(near[:PARENTS])], rng)))
        pool = [child for child in drawn if is_new(child.genome)]
        if not pool:
            return None
        refused = self._encoder.encode(evidence.refused)
        return pool[first_to_try(self._encode(pool), refused, evidence.violations, self._encoder.groups)]

    def _screened(
        self, evidence: Evidence, pool: list[Draft], allowed: Feasibility | None, is_new: IsNew, rng: random.Random
    ) -> Draft:
        """Return the child that the model finds most promising or, if it is not trusted, one of its better half."""
        from evo.strategies.gaussian_process import GaussianProcess, Warp

        modelled = evidence.modelled()
        fitness = [evidence.fitness[number] for number in modelled]
        warp = Warp(fitness)
        vectors = self._encoder.encode([evidence.genomes[number] for number in modelled])
        groups, start = self._encoder.groups, evidence.hyperparameters
        model = GaussianProcess(vectors, warp.forward(fitness), groups, start, self._slope)
        best, _ = model.predict(self._encoder.encode([evidence.genomes[number] for number in evidence.parents()]))
        parameters: dict[str, Any] = {"hyperparameters": model.hyperparameters}
        if evidence.pending:
            model.believe(self._encoder.encode(evidence.pending))
        if evidence.is_trustworthy():
            chances = Chances(model, float(best.max()) + WORTHWHILE, allowed)
            child, mean = self._refined(pool, chances, is_new, rng)
        else:
            mutants = self._likely(_mutants(pool), allowed)
            means, _ = model.predict(self._encode(mutants))
            place = int(rng.choice(list(_first(means, -(-len(mutants) // 2)))))
            child, mean = mutants[place], float(means[place])
        return replace(child, strategy_parameters={"predicted": warp.back(mean), **parameters})

    def _cheaper_half(self, children: list[Draft]) -> list[Draft]:
        """Return the half of the children that costs less; all, where costs are not weighed."""
        if (cost := self._cost) is None:
            return children
        return sorted(children, key=lambda child: cost(child.genome))[: -(-len(children) // 2)]

    def _refined(self, pool: list[Draft], chances: Chances, is_new: IsNew, rng: random.Random) -> tuple[Draft, float]:
        """Return the most promising child, after adding children of the pool's most promising; and its mean."""
        children = list(pool)
        promise, means = self._promise(children, chances)
        for _ in range(REFINEMENTS):
            order = _first(promise, PARENTS)
            known = {genome_key(child.genome) for child in children}
            more = self._mutants_of([children[place] for place in order], known, is_new, rng)
            if not more:
                break
            children += more
            further = self._promise(more, chances)
            promise, means = (np.concatenate(parts) for parts in zip((promise, means), further, strict=True))
        place = int(np.argmax(promise))
        return children[place], float(means[place])

    def _promise(self, children: Sequence[Draft], chances: Chances) -> tuple[Vectors, Vectors]:
        """Return the logarithm of the expected improvement of each child, per cost if that is weighed, and its mean."""
        vectors = self._encode(children)
        means, deviations = chances.model.predict(vectors)
        promise = log_expected_improvement(means, deviations, chances.best)
        if chances.allowed is not None:
            promise = promise + chances.allowed.penalty(vectors)
        if self._cost is not None:
            promise = promise - np.log([self._cost(child.genome) for child in children])
        return promise, means

    def _pool(self, evidence: Evidence, is_new: IsNew, rng: random.Random) -> list[Draft]:
        """Return new genomes, each once: immigrants, children of two parents, and mutants."""
        parents, pool = evidence.parents(), dict[str, Draft]()
        for _ in range(POOL):
            chance = rng.random()
            if chance < IMMIGRANTS:
                child = Draft(self._space.sample(rng))
            else:
                first, second = (_tournament(parents, rng) for _ in range(2))
                if chance < IMMIGRANTS + CROSSED and first != second:
                    genome = self._toolbox.mate(evidence.genomes[first], evidence.genomes[second], rng)
                    genome = self._mutated(genome, rng) if rng.random() < 0.5 else genome
                    child = Draft(genome, (first, second), "crossover")
                else:
                    child = Draft(self._mutated(evidence.genomes[first], rng), (first,), "mutation")
            if is_new(child.genome):
                pool.setdefault(genome_key(child.genome), child)
        return list(pool.values())

    def _mutants_of(self, seeds: list[Draft], known: set[str], is_new: IsNew, rng: random.Random) -> list[Draft]:
        mutants: dict[str, Draft] = {}
        for number in range(REFINED):
            seed = seeds[number % len(seeds)]
            genome = self._mutated(seed.genome, rng, times=0.5)
            if (key := genome_key(genome)) not in known and is_new(genome):
                mutants.setdefault(key, Draft(genome, seed.parents, seed.operator))
        return list(mutants.values())

    def _mutated(self, genome: Genome, rng: random.Random, times: float | None = None) -> Genome:
        """Mutate one gene, and each further one with probability 0.4; half, once or twice as strongly."""
        count = 1
        while rng.random() < 0.4:
            count += 1
        factor = times if times is not None else rng.choice((0.5, 1.0, 2.0))
        mutant: Genome = self._toolbox.mutate(
            genome, rng, count=count, strength=lambda gene: factor * self._strengths[_kind(gene)]
        )
        return mutant

    def _encode(self, children: Sequence[Draft]) -> Vectors:
        return self._encoder.encode([child.genome for child in children])


def log_expected_improvement(means: Vectors, deviations: Vectors, best: float) -> Vectors:
    """Return the logarithm of the expected improvement (Jones, Schonlau and Welch, 1998), accurate where it is tiny."""
    from scipy.special import erfcx, ndtr

    z = (means - best) / deviations
    log_density = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    with np.errstate(all="ignore"):
        near = np.log(np.exp(log_density) + z * ndtr(z))
        # Below, φ(z) and z Φ(z) cancel: φ(z) (1 + z Φ(z) / φ(z)), with the quotient scaled against underflow.
        below = log_density + np.log1p(z * math.sqrt(math.pi / 2) * erfcx(-z / math.sqrt(2)))
        # Far below, that cancels too, and φ(z) / z² is left.
        far = log_density - 2 * np.log(np.abs(z))
    improvement: Vectors = np.log(deviations) + np.where(z > -1, near, np.where(z > -1000, below, far))
    return improvement


def _first(values: Vectors, count: int) -> Any:
    """Return the places of the greatest values; of equal values the first comes first."""
    return np.argsort(-values, kind="stable")[:count]


def _tournament(parents: Sequence[int], rng: random.Random) -> int:
    """Return the better of two random parents of a sorted list."""
    return parents[min(rng.randrange(len(parents)), rng.randrange(len(parents)))]


def _kind(gene: Gene) -> str:
    return "layers" if isinstance(gene, Layers) else "numbers"


def _mutants(pool: list[Draft]) -> list[Draft]:
    """Return the drafts of a pool that have parents; if none has, all of them."""
    return [child for child in pool if child.parents] or pool
