"""What can be wrong with a search space: names, conditions, and genes that a training or a model cannot use."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from evo.errors import ConfigurationError, did_you_mean, listed
from evo.individual import DURATION, EPOCHS, STEPS
from evo.models import MODELS, GeneRule
from evo.names import DATASETS, PREFIX_EXACT, SCHEDULES, is_reference
from evo.space.conditions import condition_problems
from evo.space.genes import Categorical, Gene, Integer, Layers, Number
from evo.space.training_settings import (
    COOLDOWN,
    CROP_PADDING,
    EVALUATE_EVERY,
    RECIPE_GENES,
    TRAINING_GENES,
    WARMUP,
    TrainingSettings,
)
from evo.space.unread import FIXED_ONLY, conditions_of, unread_problems

REQUIRED_FOR_TRAINING = ("learning_rate", "batch_size")
IMAGES: dict[str, tuple[tuple[int, int, int], int]] = {
    "cifar10": ((3, 32, 32), 50_000),
    "cifar100": ((3, 32, 32), 50_000),
    "mnist": ((1, 28, 28), 60_000),
    "fashion_mnist": ((1, 28, 28), 60_000),
    "svhn": ((3, 32, 32), 73_257),
    "digits": ((1, 8, 8), 1500),
}
"""Shape and number of the training images of a dataset, where they are known without reading it."""
NO_IMAGES = {"augment": '"none"', "cutout": "0", "test_flip": "false"}
"""What to set for data without images."""

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
    genes: Mapping[str, Gene],
    model: str | None,
    dataset: str | None,
    training: TrainingSettings,
    *,
    older: bool = False,
) -> list[str]:
    """Return what does not fit together in a space's genes, conditions, model and dataset, one text per problem.

    Args:
        genes: By name.
        model: A shipped model's name, the reference of a user-defined one, or None for an objective.
        dataset: A dataset's name, or None.
        training: The fixed settings.
        older: Whether a run has kept them since before there was a recipe: its trainings read no genes of that, and
            nothing is said of them.
    """
    problems: list[str] = [] if genes else [Absent("genes: at least one [genes.NAME] is needed", "")]
    problems += [
        f"genes.{name}: a name consists of letters, digits and _, begins with a letter, and is not a column of the "
        "results tables"
        for name in genes
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", str(name)) or name in RESERVED
    ]
    problems += _condition_problems(genes)
    if model is not None:
        problems += _model_problems(genes, model, training, older)
        size = training.image_size
        sides = IMAGES[dataset][0][1:] if dataset in IMAGES else (size, size) if dataset == "imagefolder" else None
        problems += image_problems(genes, training, *sides) if sides is not None and not older else []
    if dataset is not None and dataset not in DATASETS:
        problems.append(f"dataset: {_unknown('dataset', dataset, DATASETS)}")
    return problems


def _unknown(what: str, name: object, known: Iterable[str]) -> str:
    return f'unknown {what} "{name}".{did_you_mean(str(name), known)} Known: {", ".join(known)}'


def _rule_problems(name: str, gene: Gene, rule: GeneRule) -> list[str]:
    """Return the values of a gene that a training or a shipped model cannot take."""
    if gene.type not in rule.kinds:
        return [f"genes.{name}.type: must be {' or '.join(rule.kinds)} for this model, got {gene.type}"]
    if isinstance(gene, Layers) and gene.shortest < rule.low:
        return [f"genes.{name}: needs at least {rule.low:g} layer for this model, got {gene.describe()}"]
    if rule.known:
        texts = gene.choices if isinstance(gene, Categorical) else ()
        return [
            f"genes.{name}.choices: {_unknown(name, text, [*map(str, rule.known)])}"
            for text in texts
            if text not in rule.known
        ]
    values = (
        gene.choices if isinstance(gene, Categorical) else (gene.low, gene.high) if isinstance(gene, Number) else ()
    )
    return [
        f"genes.{name}: must {_bounds(rule)}, got {value!r}"
        for value in values
        if isinstance(value, bool)
        or not isinstance(value, int | float)
        or not rule.low <= value <= rule.high
        or not value < rule.below
        or ("integer" in rule.kinds and "float" not in rule.kinds and not isinstance(value, int))
    ]


def _bounds(rule: GeneRule) -> str:
    if rule.below < math.inf:
        return f"be at least {rule.low:g} and below {rule.below:g}"
    return f"lie in [{rule.low:g}, {rule.high:g}]"


def _condition_problems(genes: Mapping[str, Gene]) -> list[str]:
    problems: list[str] = []
    for name, gene in genes.items():
        for parent, wanted in (gene.when or {}).items():
            path = f"genes.{name}.when.{parent}"
            if parent not in genes:
                hint = did_you_mean(parent, [other for other in genes if other != name])
                problems.append(Absent(f"{path}: no such gene.{hint}", parent))
            else:
                problems += [f"{path}: {text}" for text in condition_problems(wanted, genes[parent])]
    return problems or _cycles(genes)


def _cycles(genes: Mapping[str, Gene]) -> list[str]:
    try:
        TopologicalSorter({name: gene.when or {} for name, gene in genes.items()}).prepare()
    except CycleError as error:
        start = next(name for name in genes if name in error.args[1])
        return [f"genes.{start}.when: the conditions form a circle"]
    return []


def _model_problems(genes: Mapping[str, Gene], model: str, training: TrainingSettings, older: bool) -> list[str]:
    """Return the genes that nothing reads, that are missing, or whose values the model or the training cannot take."""
    if is_reference(model):  # only the model knows its genes
        unread = unread_problems(genes, model, training, TRAINING_GENES) if not older else []
        return unread + _training_problems(genes, training, REQUIRED_FOR_TRAINING, _known(TRAINING_GENES, older))
    if model not in MODELS:
        return [f"model: {_unknown('model', model, MODELS)}; give your own function as --model package.module:function"]
    conditions = {parent for gene in genes.values() for parent in gene.when or {}}
    readable = MODELS[model].genes.keys() | TRAINING_GENES.keys()
    problems = [
        f'genes.{name}: neither the training nor the model "{model}" reads it.{did_you_mean(name, readable)} '
        f"Known: {', '.join(sorted(readable))}"
        for name in genes
        if name not in readable | conditions | FIXED_ONLY
    ]
    required = [*REQUIRED_FOR_TRAINING, *MODELS[model].required]
    rules = TRAINING_GENES | {**MODELS[model].genes}
    problems += unread_problems(genes, model, training, rules) if not older else []
    return problems + _training_problems(genes, training, required, _known(rules, older))


def _known(rules: Mapping[str, GeneRule], older: bool) -> dict[str, GeneRule]:
    return {name: rule for name, rule in rules.items() if not older or name not in RECIPE_GENES}


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
    problems += _duration_problems({name: genes[name] for name in genes if name in rules}, training)
    problems += _schedule_problems(genes, training) if "schedule" in rules else []
    steps, every = genes.get(STEPS), training.evaluate_every or EVALUATE_EVERY
    if isinstance(steps, Integer) and steps.step != 1 and (steps.low % every or (steps.step or every) % every):
        problems.append(
            f"genes.steps: low and step must be multiples of training.evaluate_every = {every}, "
            f"got low={steps.low}, step={steps.step} (or set step = 1)"
        )
    return problems


def _duration_problems(genes: Mapping[str, Gene], training: TrainingSettings) -> list[str]:
    """Return whether a training knows how long it takes: by steps or by epochs, and only by one of them."""
    fixed = [name for name in DURATION if getattr(training, name) is not None]
    known = [name for name in DURATION if name in genes]
    places = [*(f"genes.{name}" for name in known), *(f"training.{name}" for name in fixed)]
    if len(places) > 1 and (len(known) != 1 or fixed != known or genes[known[0]].when is None):
        return [f"{' and '.join(places)}: both say how long to train; keep one of them"]
    if not places or (not fixed and genes[known[0]].when is not None):
        asking = schedules_by_length(genes, training)
        need = "schedules {} need" if len(asking) > 1 else "schedule {} needs"
        schedule = f"; the {need.format(' and '.join(asking))} to know it" if asking else ""
        return [
            Absent(
                f"genes.{STEPS}: {STEPS} or {EPOCHS} is needed unconditionally (a gene or in [training]){schedule}",
                STEPS,
            )
        ]
    return []


def schedules_by_length(genes: Mapping[str, Gene], training: TrainingSettings) -> list[str]:
    """Return the schedules of a space whose rate depends on how many steps there are."""
    possible = _texts("schedule", genes, training)
    return [name for name in SCHEDULES if name in possible and name not in PREFIX_EXACT]


def _schedule_problems(genes: Mapping[str, Gene], training: TrainingSettings) -> list[str]:
    """Return whether warm-up and cooldown may overlap."""
    schedules = _texts("schedule", genes, training)
    if "trapezoid" not in schedules:
        return []
    with_trapezoid = {
        name: gene
        for name, gene in genes.items()
        if "schedule" not in (asked := conditions_of(name, genes)) or "trapezoid" in asked["schedule"]
    }
    warmup = _largest("warmup", with_trapezoid, training, WARMUP.get("trapezoid", 0.0))
    cooldown = _largest("cooldown", with_trapezoid, training, COOLDOWN)
    if warmup + cooldown <= 1:
        return []
    place = "genes" if {"warmup", "cooldown"} & genes.keys() else "training"
    return [
        f"{place}.warmup and cooldown: these fractions of one training must not add up to more than 1, "
        f"got up to {warmup:g} + {cooldown:g}; lower one of them"
    ]


def image_problems(
    genes: Mapping[str, Gene], training: TrainingSettings, height: int, width: int, model: str | None = None
) -> list[str]:
    """Return what an augmentation cannot do with images of a size, one text per problem.

    Of tables, the model is looked at, too: a CNN needs images.
    """
    kinds = _texts("augment", genes, training)
    cutout = _largest("cutout", genes, training, 0)
    problems: list[str] = []
    if min(height, width) < 2:
        found = {"augment": kinds != {"none"}, "cutout": cutout > 0, "test_flip": training.test_flip}
        what = f"a table of {max(height, width)} numbers per row has no images"
        lines = [f"{_place(name, genes)}: {what}; set {name} = {NO_IMAGES[name]}" for name, on in found.items() if on]
        if model == "cnn":
            lines.append(f'model: "cnn" needs images, and {what}; take a space with model = "mlp"')
        return lines
    padding = _largest("crop_padding", genes, training, CROP_PADDING)
    if "flip_crop" in kinds and padding >= min(height, width):
        problems.append(
            f"{_place('crop_padding', genes)}: must be less than the {min(height, width)} pixels of an image's side, "
            f"got {padding:g}"
        )
    if cutout > min(height, width):
        side = min(height, width)
        problems.append(
            f"{_place('cutout', genes)}: must be at most the {side} pixels of an image's side, got {cutout:g}"
        )
    return problems


def _place(name: str, genes: Mapping[str, Gene]) -> str:
    return f"{'genes' if name in genes else 'training'}.{name}"


def _texts(name: str, genes: Mapping[str, Gene], training: TrainingSettings) -> set[object]:
    """Return the values that a setting can have, as a gene or fixed."""
    gene = genes.get(name)
    fixed = {getattr(training, name)} if gene is None or gene.when else set()
    return fixed | set(gene.choices if isinstance(gene, Categorical) else ())


def _largest(name: str, genes: Mapping[str, Gene], training: TrainingSettings, default: float) -> float:
    """Return the largest number that a setting can have, as a gene or fixed."""
    gene = genes.get(name)
    fixed = getattr(training, name)
    numbers = [default if fixed is None else fixed] if gene is None or gene.when else []
    if isinstance(gene, Number):
        numbers.append(gene.high)
    elif isinstance(gene, Categorical):
        numbers += [choice for choice in gene.choices if isinstance(choice, int | float)]
    return max(numbers, default=default)
