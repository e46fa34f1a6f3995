"""What can be wrong with a search space: names, conditions, and genes that a training or a model cannot use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from evo.errors import ConfigurationError, did_you_mean, listed
from evo.individual import STEPS
from evo.models import GENE_RULES, MODELS, GeneRule
from evo.names import DATASETS
from evo.space.genes import Boolean, Categorical, Gene, Integer, Number
from evo.space.settings import TRAINING_GENES, TrainingSettings

REQUIRED_FOR_TRAINING = ("learning_rate", "batch_size", STEPS)

RESERVED = frozenset(
    {
        *("individual", "replicate", "generation", "parents", "operator", "rung", "seed", "status", "fitness"),
        *("validation_accuracy", "train_accuracy", "test_accuracy", "loss", "test_loss", "parameters"),
        *("steps_trained", "seconds", "seconds_before", "worker", "started", "engine", "precision"),
        *("shared_with", "error", "rank", "replicates", "winner"),
    }
)
"""The other columns of the tables that have a column per gene."""


class Absent(str):
    """A problem that only says that a gene is missing: not worth repeating if the gene is there but unreadable."""

    gene: str

    def __new__(cls, text: str, gene: str) -> Absent:
        problem = super().__new__(cls, text)
        problem.gene = gene
        return problem


class SpaceError(ConfigurationError):
    """A search space whose parts do not fit together; keeps its problems one by one."""

    def __init__(self, name: str, problems: list[str]):
        super().__init__(listed(problems, f"search space {name}: {len(problems)} mistake{'s' * (len(problems) != 1)}"))
        self.problems = problems


def space_problems(
    genes: Mapping[str, Gene], model: str | None, dataset: str | None, training: TrainingSettings
) -> list[str]:
    """Return what does not fit together in a space's genes, conditions, model and dataset, one text per problem."""
    problems: list[str] = [] if genes else [Absent("genes: at least one [genes.NAME] is needed", "")]
    problems += [
        f"genes.{name}: a name consists of letters, digits and _, begins with a letter, and is not a column of the "
        "results tables"
        for name in genes
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", str(name)) or name in RESERVED
    ]
    problems += _condition_problems(genes)
    if model is not None:
        problems += _model_problems(genes, model, training)
    if dataset is not None and dataset not in DATASETS:
        problems.append(f"dataset: {_unknown('dataset', dataset, DATASETS)}")
    return problems


def _unknown(what: str, name: object, known: Iterable[str]) -> str:
    return f'unknown {what} "{name}".{did_you_mean(str(name), known)} Known: {", ".join(known)}'


def _rule_problems(name: str, gene: Gene, rule: GeneRule) -> list[str]:
    """Return the values of a gene that a training or a shipped model cannot take."""
    if gene.type not in rule.kinds:
        return [f"genes.{name}.type: must be {' or '.join(rule.kinds)} for this model, got {gene.type}"]
    if rule.known:
        texts = gene.choices if isinstance(gene, Categorical) else ()
        return [f"genes.{name}.choices: {_unknown(name, text, rule.known)}" for text in texts if text not in rule.known]
    values = (
        gene.choices if isinstance(gene, Categorical) else (gene.low, gene.high) if isinstance(gene, Number) else ()
    )
    return [
        f"genes.{name}: must lie in [{rule.low:g}, {rule.high:g}], got {value!r}"
        for value in values
        if isinstance(value, bool | str)
        or not rule.low <= value <= rule.high
        or ("integer" in rule.kinds and not isinstance(value, int))
    ]


def _condition_problems(genes: Mapping[str, Gene]) -> list[str]:
    problems: list[str] = []
    for name, gene in genes.items():
        for parent, wanted in (gene.when or {}).items():
            path = f"genes.{name}.when.{parent}"
            if parent not in genes:
                hint = did_you_mean(parent, [other for other in genes if other != name])
                problems.append(Absent(f"{path}: no such gene.{hint}", parent))
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
    try:
        TopologicalSorter({name: gene.when or {} for name, gene in genes.items()}).prepare()
    except CycleError as error:
        start = next(name for name in genes if name in error.args[1])
        return [f"genes.{start}.when: the conditions form a circle"]
    return []


def is_reference(model: str | None) -> bool:
    """Return whether a model is a user-defined function, "package.module:function"."""
    return model is not None and ":" in model


def _model_problems(genes: Mapping[str, Gene], model: str, training: TrainingSettings) -> list[str]:
    """Return the genes that nothing reads, that are missing, or whose values the model or the training cannot take."""
    if is_reference(model):  # only the model knows its genes
        return _training_problems(genes, training, REQUIRED_FOR_TRAINING, TRAINING_GENES)
    if model not in MODELS:
        return [f"model: {_unknown('model', model, MODELS)}; give your own function as --model package.module:function"]
    conditions = {parent for gene in genes.values() for parent in gene.when or {}}
    readable = MODELS[model].genes | TRAINING_GENES.keys()
    problems = [
        f'genes.{name}: neither the training nor the model "{model}" reads it.{did_you_mean(name, readable)} '
        f"Known: {', '.join(sorted(readable))}"
        for name in genes
        if name not in readable | conditions
    ]
    required = [*REQUIRED_FOR_TRAINING, *MODELS[model].required]
    return problems + _training_problems(genes, training, required, TRAINING_GENES | GENE_RULES)


def _training_problems(
    genes: Mapping[str, Gene], training: TrainingSettings, required: Iterable[str], rules: Mapping[str, GeneRule]
) -> list[str]:
    problems: list[str] = []
    for name in required:
        fixed = getattr(training, name, None) is not None
        if not fixed and (name not in genes or genes[name].when):
            place = f" or training.{name}" if name in REQUIRED_FOR_TRAINING else ""
            problems.append(Absent(f"genes.{name}: needed unconditionally (a gene{place})", name))
    for name, rule in rules.items():
        problems += _rule_problems(name, genes[name], rule) if name in genes else []
    steps, every = genes.get(STEPS), training.evaluate_every
    if isinstance(steps, Integer) and steps.step != 1 and (steps.low % every or (steps.step or every) % every):
        problems.append(
            f"genes.steps: low and step must be multiples of training.evaluate_every = {every}, "
            f"got low={steps.low}, step={steps.step} (or set step = 1)"
        )
    return problems
