"""The search space: named genes with their conditions, and the fixed settings that go with them."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from evo.errors import ConfigurationError, did_you_mean, listed
from evo.genes import Boolean, Categorical, Float, Gene, Integer, Layers
from evo.individual import STEPS, GeneValue, Genome, genome_from_json
from evo.models import ACTIVATIONS, BATCH_NORM_KINDS, MODEL_GENES, REQUIRED_GENES
from evo.space_settings import DATASETS, SearchDefaults, TrainingSettings, read_settings

TRAINING_GENES = frozenset({"learning_rate", "batch_size", STEPS, "weight_decay"})
"""The genes that every training reads, whatever its model."""
REQUIRED_FOR_TRAINING = ("learning_rate", "batch_size", STEPS)

_DOMAINS: dict[str, tuple[tuple[type[Gene], ...], float, float]] = {
    "learning_rate": ((Float, Categorical), 0.0, math.inf),
    "weight_decay": ((Float, Categorical), 0.0, math.inf),
    "dropout": ((Float, Categorical), 0.0, 1.0),
    "batch_size": ((Integer, Categorical), 1, math.inf),
    STEPS: ((Integer, Categorical), 1, math.inf),
    "single_blocks": ((Integer, Categorical), 0, math.inf),
}
"""The kinds of number genes that trainings and shipped models read, with their smallest and largest value."""

_NAMES: dict[str, tuple[str, ...]] = {"activation": ACTIVATIONS, "batch_norm_kind": BATCH_NORM_KINDS}
"""The categorical genes that shipped models read, with the values that they know."""

RESERVED = frozenset(
    {
        "individual",
        "replicate",
        "generation",
        "parents",
        "operator",
        "seed",
        "status",
        "fitness",
        "validation_accuracy",
        "train_accuracy",
        "test_accuracy",
        "loss",
        "test_loss",
        "parameters",
        "steps_trained",
        "seconds",
        "seconds_before",
        "worker",
        "started",
        "engine",
        "precision",
        "shared_with",
        "error",
        "rank",
        "rung",
        "replicates",
        "winner",
    }
)
"""The columns that stand beside the genes in the tables of a run."""


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
        check_space(self)
        self.order: tuple[str, ...] = self._parents_first()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SearchSpace) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # a mutable mapping inside

    def __repr__(self) -> str:
        return f"SearchSpace({self.name!r}: {', '.join(self.genes)})"

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
        """Return the space as the values of a space file; `evo.space_file.space_from_dict` reads it back."""
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


class Absent(str):
    """A problem that only says that a gene is not there: no news where the gene was given but could not be read."""

    gene: str

    def __new__(cls, text: str, gene: str) -> Absent:
        problem = super().__new__(cls, text)
        problem.gene = gene
        return problem


class SpaceError(ConfigurationError):
    """A search space that does not fit together; keeps its problems one by one."""

    def __init__(self, name: str, problems: list[str]):
        super().__init__(listed(problems, f"search space {name}: {len(problems)} mistake{'s' * (len(problems) != 1)}"))
        self.problems = problems


def check_space(space: SearchSpace) -> None:
    """Check that a space's genes, conditions, model, dataset and known configurations fit together.

    Raises:
        SpaceError: With every problem.
    """
    problems: list[str] = [] if space.genes else [Absent("genes: at least one [genes.NAME] is needed", "")]
    problems += [
        f"genes.{name}: a name is made of letters, digits and _, begins with a letter, and is not a column's of the "
        "results tables"
        for name in space.genes
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", str(name)) or name in RESERVED
    ]
    problems += _condition_problems(space.genes)
    if space.model is not None:
        problems += _model_problems(space)
    if space.dataset is not None and space.dataset not in DATASETS:
        problems.append(
            f'dataset: unknown dataset "{space.dataset}".{did_you_mean(space.dataset, DATASETS)} '
            f"Known: {', '.join(DATASETS)}"
        )
    for number, values in enumerate(space.initial):
        for text in space.problems(values, complete=False):
            path = f"initial[{number}].{text}"
            problems.append(Absent(path, text.gene) if isinstance(text, Absent) else path)
    if problems:
        raise SpaceError(space.name, problems)


def _domain_problems(genes: Mapping[str, Gene]) -> list[str]:
    """Return the genes whose values a training or a shipped model cannot take."""
    problems = []
    for name, (kinds, low, high) in _DOMAINS.items():
        gene = genes.get(name)
        if gene is None:
            continue
        if not isinstance(gene, kinds):
            wanted = " or ".join(kind.__name__.lower() for kind in kinds)
            problems.append(f"genes.{name}.type: must be {wanted} for this model, got {type(gene).__name__.lower()}")
            continue
        values = gene.choices if isinstance(gene, Categorical) else (gene.low, gene.high)  # type: ignore[attr-defined]
        problems += [
            f"genes.{name}: must lie in [{low:g}, {high:g}], got {value!r}"
            for value in values
            if isinstance(value, bool | str)
            or not low <= value <= high
            or (Integer in kinds and not isinstance(value, int))
        ]
    for name, kind in (
        ("hidden_layers", Layers),
        ("channels", Layers),
        ("batch_norm", Boolean),
        *((name, Categorical) for name in _NAMES),
    ):
        if name in genes and not isinstance(genes[name], kind):
            problems.append(f"genes.{name}.type: must be {kind.__name__.lower()} for this model")
    for name, known in _NAMES.items():
        named = genes.get(name)
        if isinstance(named, Categorical):
            problems += [
                f'genes.{name}.choices: unknown {name} "{choice}".{did_you_mean(str(choice), known)} '
                f"Known: {', '.join(known)}"
                for choice in named.choices
                if choice not in known
            ]
    return problems


def _condition_problems(genes: Mapping[str, Gene]) -> list[str]:
    problems: list[str] = []
    for name, gene in genes.items():
        for parent, wanted in (gene.when or {}).items():
            path = f"genes.{name}.when.{parent}"
            if parent not in genes:
                problems.append(
                    Absent(
                        f"{path}: no such gene.{did_you_mean(parent, [other for other in genes if other != name])}",
                        parent,
                    )
                )
            elif not isinstance(genes[parent], Boolean | Categorical | Integer):
                problems.append(f"{path}: a condition needs a boolean, categorical or integer gene")
            else:
                options = wanted if isinstance(wanted, list) else [wanted]
                problems += [] if options else [f"{path}: must not be empty"]
                problems += [
                    f"{path}: {option!r} is not in {genes[parent].describe()}"
                    for option in options
                    if not genes[parent].contains(option)
                ]
    return problems or _cycles(genes)


def _cycles(genes: Mapping[str, Gene]) -> list[str]:
    for start in genes:
        seen, frontier = set(), [start]
        while frontier:
            for parent in genes[frontier.pop()].when or {}:
                if parent == start:
                    return [f"genes.{start}.when: the conditions form a circle"]
                if parent not in seen:
                    seen.add(parent)
                    frontier.append(parent)
    return []


def _model_problems(space: SearchSpace) -> list[str]:
    """Return the genes that nobody reads, those that are missing, and a steps gene off the curve's grid."""
    assert space.model is not None
    if is_reference(space.model):
        return _training_problems(space, REQUIRED_FOR_TRAINING)
    if space.model not in MODEL_GENES:
        hint = did_you_mean(space.model, MODEL_GENES)
        known = ", ".join(MODEL_GENES)
        own = "a function of your own is given as --model package.module:function"
        return [f'model: unknown model "{space.model}".{hint} Known: {known}; {own}']
    conditions = {parent for gene in space.genes.values() for parent in gene.when or {}}
    readable = MODEL_GENES[space.model] | TRAINING_GENES
    problems = [
        f'genes.{name}: neither the training nor the model "{space.model}" reads it.{did_you_mean(name, readable)} '
        f"Known: {', '.join(sorted(readable))}"
        for name in space.genes
        if name not in readable | conditions
    ]
    return problems + _training_problems(space, [*REQUIRED_FOR_TRAINING, *REQUIRED_GENES[space.model]])


def is_reference(model: str | None) -> bool:
    """Return whether a model is a function of the user's own, "package.module:function"."""
    return model is not None and ":" in model


def _training_problems(space: SearchSpace, required: Iterable[str]) -> list[str]:
    """Return the genes that a training needs and does not get, and those whose values it cannot take."""
    problems: list[str] = []
    for name in required:
        fixed = getattr(space.training, name, None) is not None
        if not fixed and (name not in space.genes or space.genes[name].when):
            place = f" or training.{name}" if name in REQUIRED_FOR_TRAINING else ""
            problems.append(Absent(f"genes.{name}: needed unconditionally (a gene{place})", name))
    # What a model of the user's own makes of its genes is for that model to say.
    own = is_reference(space.model)
    problems += _domain_problems({name: space.genes[name] for name in space.genes if not own or name in TRAINING_GENES})
    steps, every = space.genes.get(STEPS), space.training.evaluate_every
    if isinstance(steps, Integer) and steps.step != 1 and (steps.low % every or (steps.step or every) % every):
        problems.append(
            f"genes.steps: low and step must be multiples of training.evaluate_every = {every}, "
            f"got low={steps.low}, step={steps.step} (or set step = 1)"
        )
    return problems
