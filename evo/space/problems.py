"""What can be wrong with a search space: names, conditions, and genes that a training or a model cannot use."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from evo.errors import ConfigurationError, did_you_mean, listed
from evo.individual import STEPS
from evo.models import ACTIVATIONS, BATCH_NORM_KINDS, MODELS
from evo.space.genes import Boolean, Categorical, Float, Gene, Integer, Layers
from evo.space.settings import DATASETS, TrainingSettings

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


def space_problems(
    genes: Mapping[str, Gene], model: str | None, dataset: str | None, training: TrainingSettings
) -> list[str]:
    """Return what does not fit together in a space's genes, conditions, model and dataset, one text a problem."""
    problems: list[str] = [] if genes else [Absent("genes: at least one [genes.NAME] is needed", "")]
    problems += [
        f"genes.{name}: a name is made of letters, digits and _, begins with a letter, and is not a column's of the "
        "results tables"
        for name in genes
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", str(name)) or name in RESERVED
    ]
    problems += _condition_problems(genes)
    if model is not None:
        problems += _model_problems(genes, model, training)
    if dataset is not None and dataset not in DATASETS:
        problems.append(
            f'dataset: unknown dataset "{dataset}".{did_you_mean(dataset, DATASETS)} Known: {", ".join(DATASETS)}'
        )
    return problems


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


def _model_problems(genes: Mapping[str, Gene], model: str, training: TrainingSettings) -> list[str]:
    """Return the genes that nobody reads, those that are missing, and a steps gene off the curve's grid."""
    if is_reference(model):
        return _training_problems(genes, model, training, REQUIRED_FOR_TRAINING)
    if model not in MODELS:
        hint = did_you_mean(model, MODELS)
        known = ", ".join(MODELS)
        own = "a function of your own is given as --model package.module:function"
        return [f'model: unknown model "{model}".{hint} Known: {known}; {own}']
    conditions = {parent for gene in genes.values() for parent in gene.when or {}}
    readable = MODELS[model].genes | TRAINING_GENES
    problems = [
        f'genes.{name}: neither the training nor the model "{model}" reads it.{did_you_mean(name, readable)} '
        f"Known: {', '.join(sorted(readable))}"
        for name in genes
        if name not in readable | conditions
    ]
    return problems + _training_problems(genes, model, training, [*REQUIRED_FOR_TRAINING, *MODELS[model].required])


def is_reference(model: str | None) -> bool:
    """Return whether a model is a function of the user's own, "package.module:function"."""
    return model is not None and ":" in model


def _training_problems(
    genes: Mapping[str, Gene], model: str, training: TrainingSettings, required: Iterable[str]
) -> list[str]:
    """Return the genes that a training needs and does not get, and those whose values it cannot take."""
    problems: list[str] = []
    for name in required:
        fixed = getattr(training, name, None) is not None
        if not fixed and (name not in genes or genes[name].when):
            place = f" or training.{name}" if name in REQUIRED_FOR_TRAINING else ""
            problems.append(Absent(f"genes.{name}: needed unconditionally (a gene{place})", name))
    # What a model of the user's own makes of its genes is for that model to say.
    own = is_reference(model)
    problems += _domain_problems({name: genes[name] for name in genes if not own or name in TRAINING_GENES})
    steps, every = genes.get(STEPS), training.evaluate_every
    if isinstance(steps, Integer) and steps.step != 1 and (steps.low % every or (steps.step or every) % every):
        problems.append(
            f"genes.steps: low and step must be multiples of training.evaluate_every = {every}, "
            f"got low={steps.low}, step={steps.step} (or set step = 1)"
        )
    return problems
