"""The search space: named genes with their conditions, and the fixed settings beside them."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from evo.errors import ConfigurationError, listed
from evo.individual import EPOCHS, STEPS, GeneValue, Genome
from evo.names import is_reference
from evo.space.conditions import with_conditions
from evo.space.genes import Gene, Integer, Layers
from evo.space.genes.values import as_python, as_value, as_written, is_empty, ordered
from evo.space.problems import Absent, SpaceError, space_problems
from evo.space.settings import DataSettings, SearchDefaults, read_section
from evo.space.training_settings import EVALUATE_EVERY, RECIPE_GENES, TrainingSettings


def configurations(initial: Any) -> list[Genome]:
    """Return known configurations as users give them as genomes: lists are tuples, NumPy's values are Python's.

    Raises:
        ConfigurationError: They are not a list of mappings, or are a set, which has no order.
    """
    try:
        entries = ordered(initial)
    except ValueError as error:
        raise ConfigurationError(f"initial: {error}") from None
    for number, values in enumerate(entries):
        if not isinstance(values, Mapping):
            raise ConfigurationError(f"initial[{number}]: must be gene values by name, got {values!r}")
    return [{name: as_value(value) for name, value in as_python(dict(values)).items()} for values in entries]


def renamed(gene: str) -> str:
    """Return the name of a gene's column in a table that has another column of the gene's own name."""
    return f"{gene} (gene)"


class SearchSpace:
    """Named genes, their conditions, and the fixed settings.

    Args:
        genes: Gene by name, in the order of the results table.
        name: Used in messages and in the name of the output folder.
        model: A shipped model's name, "package.module:function", or None for an objective.
        dataset: A dataset's name, or None.
        training: Fixed settings (`TrainingSettings`) or a mapping of them.
        search: Defaults of the search (`SearchDefaults`) or a mapping of them.
        data: How the data are divided (`DataSettings`), or a mapping of it.
        initial: Known configurations for the first population; missing genes are drawn.
        older: Whether a run has kept it since before there was a recipe: see `evo.space.problems`.

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
        data: DataSettings | Mapping[str, Any] | None = None,
        initial: Iterable[Mapping[str, Any]] = (),
        older: bool = False,
    ):
        self.name, self.model, self.dataset = name, model, dataset
        self.training, wrong = read_section(TrainingSettings, training or {}, "training")
        self.search, others = read_section(SearchDefaults, search or {}, "search")
        self.data, more = read_section(DataSettings, data or {}, "data")
        if problems := [*wrong, *others, *more]:
            raise ConfigurationError(listed(problems, "search space: wrong settings"))
        if not isinstance(genes, Mapping):  # pairs in a set would have no order
            raise ConfigurationError(f"genes: must be a mapping of genes by name, got {genes!r}")
        self.genes: dict[str, Gene] = dict(genes)
        if strange := [str(name) for name, gene in self.genes.items() if not isinstance(gene, Gene)]:
            raise ConfigurationError(
                f"genes {', '.join(strange)}: must be evo.Float, Integer, Categorical, Boolean or Layers"
            )
        self.genes = {name: with_conditions(gene, self.genes) for name, gene in self.genes.items()}
        if self.training.evaluate_every is None and self.training.epochs is None and EPOCHS not in self.genes:
            self.training = self.training.with_default(evaluate_every=EVALUATE_EVERY)
        if older:
            self.training = self.training.ignoring(RECIPE_GENES)
        steps = self.genes.get(STEPS)
        if model is not None and isinstance(steps, Integer) and steps.step is None:
            self.genes[STEPS] = replace(steps, step=self.training.evaluate_every)
        self.initial: tuple[Genome, ...] = tuple(configurations(initial))
        self.older = older
        self._check()
        self.order = tuple(sorted(self.genes, key=self._depths().__getitem__))  # conditions first
        self._in_order = self.order == tuple(self.genes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SearchSpace) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # a mutable mapping inside

    def __repr__(self) -> str:
        return f"SearchSpace({self.name!r}: {', '.join(self.genes)})"

    def _check(self) -> None:
        problems = space_problems(self.genes, self.model, self.dataset, self.training, older=self.older)
        for number, values in enumerate(self.initial):
            for text in self.problems(values, complete=False):
                path = f"initial[{number}].{text}"
                problems.append(Absent(path, text.gene) if isinstance(text, Absent) else path)
        if problems:
            raise SpaceError(self.name, problems)

    def _depths(self) -> dict[str, int]:
        """Return how many conditions lie above each gene, one over the other."""
        parents = {name: gene.when or {} for name, gene in self.genes.items()}
        depths: dict[str, int] = {}
        for name in TopologicalSorter(parents).static_order():
            depths[name] = 1 + max((depths[parent] for parent in parents[name]), default=-1)
        return depths

    def with_model(self, model: str) -> SearchSpace:
        """Return the same space for another model, checked against the genes that it reads.

        Args:
            model: A shipped model's name, or "package.module:function".

        Raises:
            ConfigurationError: The genes do not fit it.
        """
        return self._copy(model=model)

    def with_most_steps(self) -> SearchSpace:
        """Return the same space with the gene `steps` fixed at its largest value.

        Raises:
            ConfigurationError: There is no such integer gene.
        """
        gene = self.genes.get(STEPS)
        if not isinstance(gene, Integer):
            raise ConfigurationError(f'--free-steps: the space "{self.name}" has no integer gene steps')
        most = int(gene.scale.high)
        return self._copy(
            genes={**self.genes, STEPS: replace(gene, low=most, high=most, log=False)},
            initial=[{name: value for name, value in values.items() if name != STEPS} for values in self.initial],
        )

    def _copy(self, **changes: Any) -> SearchSpace:
        names = ("genes", "name", "model", "dataset", "training", "search", "data", "initial", "older")
        return SearchSpace(**{name: getattr(self, name) for name in names} | changes)

    # Genomes.

    def sample(self, rng: random.Random) -> Genome:
        """Draw a genome; it has no genes whose condition does not hold."""
        return self.complete({}, rng)

    def complete(self, partial: Mapping[str, GeneValue], rng: random.Random) -> Genome:
        """Return `partial` with missing active genes drawn and inactive ones dropped, in the space's order."""
        return self.assemble(lambda name, gene: gene.repair(partial[name]) if name in partial else gene.sample(rng))

    def assemble(self, value_of: Callable[[str, Gene], Any]) -> Genome:
        """Return a genome made gene by gene, conditions first: `value_of` gives the value of each active gene."""
        genome: Genome = {}
        for name in self.order:
            if self.genes[name].is_active(genome):
                genome[name] = value_of(name, self.genes[name])
        return genome if self._in_order else {name: genome[name] for name in self.genes if name in genome}

    def problems(self, genome: Mapping[str, Any], *, complete: bool = True) -> list[str]:
        """Return what is wrong with a genome, one text per problem; nothing for a legal one.

        Args:
            genome: Gene values by name.
            complete: Whether every active gene must be present.
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
        """Return the nearest legal values; unknown genes and impossible values are dropped."""
        repaired: Genome = {}
        for name, value in values.items():
            if name in self.genes:
                with contextlib.suppress(ValueError):
                    repaired[name] = self.genes[name].repair(value)
        return repaired

    def diversity(self, genomes: Sequence[Mapping[str, GeneValue]]) -> float:
        """Return the mean distance of all pairs of genomes, in [0, 1]; 0 for fewer than two.

        That of a pair is the mean over its genes; active and inactive are 1 apart.
        """
        first, second = np.tril_indices(len(genomes), -1)
        totals = np.zeros(len(first))
        for name, gene in self.genes.items():  # gene by gene: the place of each value is computed once, not per pair
            active = np.array([name in genome for genome in genomes], dtype=bool)
            row = np.cumsum(active) - 1
            places = [gene.place(genome[name]) for genome in genomes if name in genome]
            both = active[first] & active[second]
            apart = (active[first] != active[second]).astype(float)
            apart[both] = gene.apart(places, row[first[both]], row[second[both]])
            totals += apart
        # Python's sum adds in order; numpy would add in another order, which changes the last bits.
        return sum((totals / len(self.genes)).tolist()) / len(totals) if len(totals) else 0.0

    @property
    def points(self) -> float:
        """An upper bound of the number of different genomes; exact without conditions."""
        return math.prod((gene.points for gene in self.genes.values()), start=1.0)

    # Text and files.

    def encode(self, genome: Mapping[str, GeneValue]) -> dict[str, str]:
        """Return the CSV cells of a genome; an inactive gene's cell is empty."""
        return {name: gene.to_text(genome[name]) if name in genome else "" for name, gene in self.genes.items()}

    def cells(self, genome: Mapping[str, GeneValue]) -> dict[str, Any]:
        """Return the values of a genome's active genes for a table: layer lists as text, the others as they are."""
        layers = {
            name: self.genes[name].to_text(value)
            for name, value in genome.items()
            if isinstance(self.genes[name], Layers)
        }
        return {**genome, **layers}

    def decode(self, cells: Mapping[str, Any]) -> Genome:
        """Read a genome from a row of a table: of `run.table`, of its CSV file, or of what pandas reads from that.

        pandas turns some cells into others, such as 0 into 0.0, a text "1" into 1, and a text "None" into an empty
        cell; a gene takes it for the only choice that it may have been. Empty are None, "" and pandas's NaN and NA.

        Args:
            cells: By gene, or by "gene (gene)" as in `evo compare`; other columns are ignored. A gene without a column
                is left out.

        Raises:
            ConfigurationError: A cell stands for no value of its gene, or for more than one, or is empty although the
                gene is active; every such gene is named.
        """
        row = dict(cells)
        genome: Genome = {}
        problems = []
        for name in self.order:  # conditions first
            gene, column = self.genes[name], next((key for key in (renamed(name), name) if key in row), None)
            if column is None or (is_empty(row[column]) and not gene.is_active(genome)):
                continue
            try:
                genome[name] = gene.from_cell(row[column])
            except ValueError as error:
                problems.append(f"{name}: {'the cell is empty: ' * is_empty(row[column])}{error}")
        if problems:
            raise ConfigurationError(listed(problems, f"a row that does not fit the search space {self.name}"))
        return {name: genome[name] for name in self.genes if name in genome}

    def to_dict(self) -> dict[str, Any]:
        """Return the space as the values of a space file; `evo.space.file.space_from_dict` reads it back."""
        genes = {
            name: TypeAdapter(type(gene)).dump_python(gene, mode="json", exclude_defaults=True) | {"type": gene.type}
            for name, gene in self.genes.items()
        }
        for gene in genes.values():  # TOML has no null
            gene |= {key: as_written(gene[key]) for key in ("choices",) if key in gene}
            gene |= {"when": {key: as_written(value) for key, value in gene["when"].items()}} if "when" in gene else {}
        return {
            # A user-defined function is not part of a space; the run's settings name it.
            "model": None if is_reference(self.model) else self.model,
            "dataset": self.dataset,
            "training": self.training.model_dump(mode="json", exclude_none=True),
            "search": self.search.model_dump(mode="json", exclude_none=True),
            # Runs that began before there was this section are compared with those that leave it out.
            **({"data": divided} if (divided := self.data.model_dump(mode="json", exclude_none=True)) else {}),
            "genes": genes,
            "initial": [{name: as_written(value) for name, value in values.items()} for values in self.initial],
        }
