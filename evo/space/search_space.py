"""The search space: named genes with their conditions, and the fixed settings that go with them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from evo.errors import ConfigurationError
from evo.individual import STEPS, GeneValue, Genome, genome_from_json
from evo.space.genes import Gene, Integer
from evo.space.problems import Absent, SpaceError, is_reference, space_problems
from evo.space.settings import SearchDefaults, TrainingSettings, read_settings


class SearchSpace:
    """Named genes, their conditions, and what is fixed.

    Args:
        genes: Gene by name, in the order of the results table.
        name: Used in messages and for the name of the output folder.
        model: A shipped model's name, "package.module:function", or None for an objective.
        dataset: A dataset's name, or None.
        training: Fixed settings (`TrainingSettings`) or a mapping of them.
        search: Defaults of the search (`SearchDefaults`) or a mapping of them.
        initial: Known configurations for the first population; genes they leave out are drawn.

    Raises:
        ConfigurationError: Genes, conditions or configurations that do not fit together; every problem is named.
    """

    def __init__(
        self,
        genes: Mapping[str, Gene],
        *,
        name: str = "custom",
        model: str | None = None,
        dataset: str | None = None,
        training: TrainingSettings | Mapping[str, Any] | None = None,
        search: SearchDefaults | Mapping[str, Any] | None = None,
        initial: Iterable[Mapping[str, Any]] = (),
    ):
        self.name, self.model, self.dataset = name, model, dataset
        self.training, self.search = read_settings(training, search)
        self.genes: dict[str, Gene] = dict(genes)
        if wrong := [name for name, gene in self.genes.items() if not isinstance(gene, Gene)]:
            raise ConfigurationError(
                f"genes {', '.join(map(str, wrong))}: must be evo.Float, Integer, Categorical, Boolean or Layers"
            )
        if model is not None:
            self._put_steps_on_the_grid()
        self.initial: tuple[Genome, ...] = tuple(genome_from_json(values) for values in initial)
        self._check()
        self.order: tuple[str, ...] = self._parents_first()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SearchSpace) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # a mutable mapping inside

    def __repr__(self) -> str:
        return f"SearchSpace({self.name!r}: {', '.join(self.genes)})"

    def _check(self) -> None:
        problems = space_problems(self.genes, self.model, self.dataset, self.training)
        for number, values in enumerate(self.initial):
            for text in self.problems(values, complete=False):
                path = f"initial[{number}].{text}"
                problems.append(Absent(path, text.gene) if isinstance(text, Absent) else path)
        if problems:
            raise SpaceError(self.name, problems)

    def _put_steps_on_the_grid(self) -> None:
        steps = self.genes.get(STEPS)
        if isinstance(steps, Integer) and steps.step is None:
            self.genes[STEPS] = replace(steps, step=self.training.evaluate_every)

    def _parents_first(self) -> tuple[str, ...]:
        order: list[str] = []
        while len(order) < len(self.genes):
            order += [
                name
                for name, gene in self.genes.items()
                if name not in order and all(parent in order for parent in gene.when or {})
            ]
        return tuple(order)

    def with_model(self, model: str) -> SearchSpace:
        """Return the same space for another model, checked against what that one reads.

        Args:
            model: A shipped model's name, or "package.module:function".

        Raises:
            ConfigurationError: The genes do not fit it.
        """
        return SearchSpace(
            self.genes,
            name=self.name,
            model=model,
            dataset=self.dataset,
            training=self.training,
            search=self.search,
            initial=self.initial,
        )

    def with_most_steps(self) -> SearchSpace:
        """Return the same space with one value of the gene `steps`, its most.

        Raises:
            ConfigurationError: There is no such integer gene.
        """
        gene = self.genes.get(STEPS)
        if not isinstance(gene, Integer):
            raise ConfigurationError(f'--free-steps: the space "{self.name}" has no integer gene steps')
        most = int(gene.scale.high)
        return SearchSpace(
            {**self.genes, STEPS: replace(gene, low=most, high=most, log=False)},
            name=self.name,
            model=self.model,
            dataset=self.dataset,
            training=self.training,
            search=self.search,
            initial=[{name: value for name, value in values.items() if name != STEPS} for values in self.initial],
        )

    # Genomes.

    def sample(self, rng: random.Random) -> Genome:
        """Draw a genome; genes whose condition does not hold are left out."""
        return self.complete({}, rng)

    def complete(self, partial: Mapping[str, GeneValue], rng: random.Random) -> Genome:
        """Return `partial` with missing active genes drawn and inactive ones dropped, in the space's order."""
        genome: Genome = {}
        for name in self.order:
            gene = self.genes[name]
            if gene.is_active(genome):
                genome[name] = gene.repair(partial[name]) if name in partial else gene.sample(rng)
        return {name: genome[name] for name in self.genes if name in genome}

    def problems(self, genome: Mapping[str, Any], *, complete: bool = True) -> list[str]:
        """Return what is wrong with a genome, one text a problem; empty for a legal one.

        Args:
            genome: Gene values by name.
            complete: Whether every active gene must be there.
        """
        found: list[str] = [Absent(f"{name}: no such gene", name) for name in genome if name not in self.genes]
        for name, gene in self.genes.items():
            if name not in genome:
                if complete and gene.is_active(genome):
                    found.append(f"{name}: missing")
            elif not gene.contains(genome[name]):
                found.append(f"{name}: {genome[name]!r} is not in {gene.describe()}")
            elif complete and not gene.is_active(genome):
                found.append(f"{name}: has a value although its condition {gene.when} does not hold")
        return found

    def repair(self, values: Mapping[str, Any]) -> Genome:
        """Return the legal values nearest to `values`; unknown genes and impossible values are dropped."""
        repaired: Genome = {}
        for name, value in values.items():
            if name in self.genes:
                try:
                    repaired[name] = self.genes[name].repair(value)
                except ValueError:
                    continue
        return repaired

    def distance(self, first: Mapping[str, GeneValue], second: Mapping[str, GeneValue]) -> float:
        """Return the mean distance of two genomes' genes, in [0, 1]; active against inactive counts as 1."""
        total = 0.0
        for name, gene in self.genes.items():
            if name in first and name in second:
                total += gene.distance(first[name], second[name])
            else:
                total += float((name in first) != (name in second))
        return total / len(self.genes)

    def diversity(self, genomes: Sequence[Mapping[str, GeneValue]]) -> float:
        """Return the mean distance of all pairs of genomes, in [0, 1]; 0 for fewer than two."""
        first, second = np.tril_indices(len(genomes), -1)
        totals = np.zeros(len(first))
        for name, gene in self.genes.items():  # gene by gene: each value's place is worked out once, not in every pair
            active = np.array([name in genome for genome in genomes], dtype=bool)
            row = np.cumsum(active) - 1
            places = [gene.place(genome[name]) for genome in genomes if name in genome]
            both = active[first] & active[second]
            apart = (active[first] != active[second]).astype(float)
            apart[both] = gene.all_apart(places, row[first[both]], row[second[both]])
            totals += apart
        # One after the other, as they would be without arrays: numpy adds in another order, to other last bits.
        return sum((totals / len(self.genes)).tolist()) / len(totals) if len(totals) else 0.0

    @property
    def points(self) -> float:
        """An upper bound of the number of different genomes; exact without conditions."""
        total = 1.0
        for gene in self.genes.values():
            total *= gene.points
        return total

    # Text and files.

    def encode(self, genome: Mapping[str, GeneValue]) -> dict[str, str]:
        """Return the CSV cells of a genome; an inactive gene's cell is empty."""
        return {name: gene.to_text(genome[name]) if name in genome else "" for name, gene in self.genes.items()}

    def decode(self, cells: Mapping[str, str]) -> Genome:
        """Read a genome from its CSV cells."""
        return {name: gene.from_text(cells[name]) for name, gene in self.genes.items() if cells.get(name)}

    def to_dict(self) -> dict[str, Any]:
        """Return the space as the values of a space file; `evo.space.file.space_from_dict` reads it back."""
        genes = {
            name: TypeAdapter(type(gene)).dump_python(gene, mode="json", exclude_defaults=True) | {"type": gene.type}  # type: ignore[attr-defined]  # every kind has its literal
            for name, gene in self.genes.items()
        }
        return {
            # A function of the user's own is no part of a space; the run's settings name it.
            "model": None if is_reference(self.model) else self.model,
            "dataset": self.dataset,
            "training": self.training.model_dump(mode="json", exclude_none=True),
            "search": self.search.model_dump(mode="json", exclude_none=True),
            "genes": genes,
            "initial": [
                {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
                for values in self.initial
            ],
        }
