"""One configuration of a search space, to be trained by itself: as the space has it, or with some values changed."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from evo.errors import ConfigurationError
from evo.individual import DURATION, STEPS, GeneValue, Genome
from evo.models import MODELS, GeneRule
from evo.space.genes import Boolean, Categorical, Float, Gene, Integer, Layers, Number
from evo.space.genes.base import GeneError
from evo.space.genes.conditions import Comparison
from evo.space.problems import SpaceError
from evo.space.search_space import SearchSpace
from evo.space.training_settings import TRAINING_GENES, TrainingSettings
from evo.space.typed import option_words

OPTIONAL = TRAINING_GENES.keys() - {"learning_rate", "batch_size", *DURATION}
"""Genes of a training that have a default where a configuration leaves them out."""


def chosen(
    space: SearchSpace, changes: Mapping[str, Any] | None = None, *, name: str, model: str | None = None
) -> SearchSpace:
    """Return a space whose only known configuration is the first complete one of another, with some values changed.

    What a change leaves without a reader goes: genes whose condition does not hold any more, settings that the new
    value does not read (momentum beside `optimiser = "adam"`), the switches of these, epochs beside steps and steps
    beside epochs.

    Args:
        space: Where the configuration is from. A change may leave its bounds.
        changes: Values by the name of a gene or of a setting.
        name: Of the new space.
        model: Another model than the space's, or the one that its file cannot name.

    Raises:
        ConfigurationError: No configuration is complete, or a change does not fit; every problem is named.
    """
    changes = dict(changes or {})
    replaced = set(DURATION) if changes.keys() & set(DURATION) else set()
    gone = (unread(changes, model or space.model) | replaced) - changes.keys()
    fixed = space.training.model_dump(exclude_unset=True, exclude_none=True)
    fixed = {key: value for key, value in fixed.items() if key not in gone}
    genes = _without(gone, space.genes, model or space.model)
    of_training = {key for key in changes if key in TrainingSettings.model_fields and key not in genes}
    fixed |= {key: changes[key] for key in of_training}
    given = {key: _whole(genes.get(key), value) for key, value in changes.items() if key not in of_training}
    genes |= _fitted(genes, given, name)
    rules = _rules(model or space.model)
    genes |= {key: _where_read(genes[key], rules[key], genes) for key in given if key in rules and genes[key].when}
    if isinstance(steps := genes.get(STEPS), Integer):
        genes[STEPS] = replace(steps, step=1)  # the grid of a search: a change of `evaluate_every` may not be on it
    parts: dict[str, Any] = {
        "model": model or space.model,
        "dataset": space.dataset,
        "training": fixed,
        "data": space.data,
    }
    whole = SearchSpace(genes, name=name, **parts)
    candidates = {f"initial[{number}]": {**values, **given} for number, values in enumerate(space.initial)}
    genome = _first_complete(whole, candidates or {"what is given": given}, space.name)
    if idle := [key for key in given if key not in genome]:
        raise SpaceError(name, [f"genes.{key}: nothing reads it: it needs {_words(genes[key].when)}" for key in idle])
    left_out = {key for key, gene in genes.items() if key not in genome and gene.is_active(genome)}
    genes = _without(left_out, genes, model or space.model)
    genome = {key: value for key, value in genome.items() if key in genes}
    return SearchSpace(genes, name=name, initial=[genome], **parts)


def fixed_gene(values: Iterable[GeneValue]) -> Gene:
    """Return the gene whose choices are exactly these values.

    Raises:
        GeneError: They are not values of one gene.
    """
    choices = tuple(dict.fromkeys(values))
    layers = tuple(choice for choice in choices if isinstance(choice, tuple) and is_layers(choice))
    if len(layers) == len(choices):
        return Layers(choices=layers)
    return Boolean() if set(choices) == {True, False} else Categorical(choices=choices)


def is_layers(value: tuple[Any, ...]) -> bool:
    """Return whether a tuple may be a list of layers: of whole numbers from 1 on, or empty."""
    return all(isinstance(width, int) and not isinstance(width, bool) and width >= 1 for width in value)


def unread(values: Mapping[str, Any], model: str | None) -> set[str]:
    """Return the names of genes and settings that nothing reads beside values of others, as momentum beside adam."""
    return {
        name
        for name, rule in _rules(model).items()
        if any(parent in values and values[parent] not in wanted for parent, wanted in rule.reads)
    }


def unread_by(model: str | None, training: TrainingSettings, config: Mapping[str, GeneValue]) -> set[str]:
    """Return the names of genes and settings that the training of a configuration does not read."""
    shipped = MODELS.get(model or "")
    usual = shipped.defaults if shipped is not None else {}
    return unread({**usual, **training.given(config)}, model)


def _rules(model: str | None) -> dict[str, GeneRule]:
    return {**TRAINING_GENES, **(MODELS[model].genes if model in MODELS else {})}


def _without(gone: set[str], genes: Mapping[str, Gene], model: str | None) -> dict[str, Gene]:
    """Return genes without some, without those whose conditions ask these, and without what only they asked.

    A user-defined model may itself read what others ask.
    """
    kept = {name: gene for name, gene in genes.items() if name not in gone}
    while True:
        asked = {parent for name in genes.keys() - kept.keys() for parent in genes[name].when or {}}
        asked -= {parent for gene in kept.values() for parent in gene.when or {}}
        idle = asked - _rules(model).keys() if model in MODELS else set()
        left = {name: gene for name, gene in kept.items() if name not in idle and {*(gene.when or {})} <= kept.keys()}
        if len(left) == len(kept):
            return kept
        kept = left


def _where_read(gene: Gene, rule: GeneRule, genes: Mapping[str, Gene]) -> Gene:
    """Return a gene that is active for all values of other genes for which it is read."""
    when = dict(gene.when or {})
    for parent, wanted in rule.reads:
        if parent in genes:
            when[parent] = [value for value in wanted if genes[parent].contains(value)]
    return replace(gene, when=when)  # type: ignore[type-var]  # mypy takes Gene for no dataclass; its kinds are


def _words(conditions: Mapping[str, Any] | None) -> str:
    """Return conditions as options: --schedule cosine or --schedule one_cycle."""
    texts = [
        f"{parent} {wanted}"
        if isinstance(wanted, Comparison)
        else " or ".join(
            shlex.join(option_words(parent, value)) for value in (wanted if isinstance(wanted, list) else [wanted])
        )
        for parent, wanted in (conditions or {}).items()
    ]
    return " and ".join(texts)


def _fitted(genes: Mapping[str, Gene], given: Mapping[str, Any], name: str) -> dict[str, Gene]:
    """Return genes that take the values that are given."""
    fitted: dict[str, Gene] = {}
    problems: list[str] = []
    for key, value in given.items():
        try:
            fitted[key] = _widened(genes[key], value) if key in genes else fixed_gene([value])
        except GeneError as error:
            problems += error.problems(f"genes.{key}")
    if problems:
        raise SpaceError(name, problems)
    return fitted


def _whole(gene: Gene | None, value: Any) -> Any:
    """Return 3.0 as 3 where whole numbers are searched: an option such as `--epochs` takes any number."""
    return int(value) if isinstance(gene, Integer) and isinstance(value, float) and value.is_integer() else value


def _widened(gene: Gene, value: Any) -> Gene:
    """Return a gene that also takes a value; conditions on its other values still hold."""
    if gene.contains(value):
        return gene
    if isinstance(gene, Categorical):
        return replace(gene, choices=(*gene.choices, value))
    if isinstance(gene, Layers) and isinstance(value, tuple):
        return Layers(choices=(value,), when=gene.when)
    if isinstance(gene, Number) and isinstance(value, int | float) and not isinstance(value, bool):
        low, high = min(gene.low, value), max(gene.high, value)
        if isinstance(gene, Integer) and isinstance(value, float):
            return Float(low, high, log=gene.log and low > 0, when=gene.when)
        step = 1 if isinstance(gene, Integer) else None
        return replace(gene, low=low, high=high, log=gene.log and low > 0, step=step)  # type: ignore[type-var]  # mypy takes Number for no dataclass; its kinds are
    return gene  # which then refuses the value by its name


def _first_complete(space: SearchSpace, candidates: Mapping[str, Mapping[str, GeneValue]], where: str) -> Genome:
    """Return the first of some configurations, by place, that has every active gene without a default."""
    model = MODELS.get(space.model or "")
    optional = OPTIONAL | (model.genes.keys() - model.required if model is not None else set())
    problems = []
    for place, values in candidates.items():
        genome: Genome = {}
        missing = []
        for name in space.order:  # conditions first
            if not space.genes[name].is_active(genome):
                continue
            if name in values:
                genome[name] = values[name]
            elif name not in optional:
                missing.append(name)
        if not missing:
            return {name: genome[name] for name in space.genes if name in genome}
        problems.append(f"{place} lacks {', '.join(missing)}")
    raise ConfigurationError(
        f"search space {where}: has no complete [[initial]] configuration to train ({'; '.join(problems)}); add what "
        "is missing, or give it by options (--gene NAME=VALUE for genes without an option)"
    )
