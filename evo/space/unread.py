"""Genes, keys and values that nothing reads: searched and reported, they would change no training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evo.individual import DURATION
from evo.models import MODELS, GeneRule
from evo.space.conditions import values_of, wanted_values
from evo.space.genes import Boolean, Categorical, Gene, Integer
from evo.space.genes.conditions import meets
from evo.space.genes.values import toml_value
from evo.space.training_settings import TRAINING_GENES, TrainingSettings

FIXED_ONLY = TrainingSettings.model_fields.keys() - TRAINING_GENES.keys()
"""Keys of [training] that hold for a whole search."""
MOST_TRIED = 10_000
"""Combinations of values that are tried to find one that reads something."""


def unread_problems(
    genes: Mapping[str, Gene], model: str, training: TrainingSettings, rules: Mapping[str, GeneRule]
) -> list[str]:
    """Return what nothing reads in a space that trains networks, one text per problem, each with its remedy.

    Args:
        genes: By name.
        model: A shipped model's name, or the reference of a user-defined model, which may read any gene.
        training: The fixed settings.
        rules: Of the genes that the model and the training read.
    """
    shipped = MODELS.get(model)
    fixed = {**(shipped.defaults if shipped is not None else {}), **training.model_dump()}
    problems = [
        f"training.{name}: the gene of that name is active wherever this value would be read; remove one of them"
        for name in genes
        if name in TRAINING_GENES and name in training.model_fields_set and name not in DURATION
        if getattr(training, name) != TrainingSettings.model_fields[name].default
        if not _is_read_beside_gene(name, rules[name], genes, fixed)
    ]
    for name, rule in rules.items():
        problems += _problems_of(name, rule, genes, training, fixed, rules)
    if shipped is not None:
        problems += _unread_by_shipped(genes, rules)
    return problems


def _problems_of(
    name: str,
    rule: GeneRule,
    genes: Mapping[str, Gene],
    training: TrainingSettings,
    fixed: Mapping[str, Any],
    rules: Mapping[str, GeneRule],
) -> list[str]:
    """Return where nothing reads a gene or a fixed value that was given; one problem, whose remedy is whole."""
    is_given = getattr(training, name, None) is not None
    for parent, wanted in rule.reads if name in genes or is_given else ():
        possible = _possible(parent, genes, fixed, conditions_of(name, genes) if name in genes else {})
        bad = _others(possible, wanted)
        if name in genes:  # a value that does not exist is another mistake
            bad = [value for value in bad if value in (rules[parent].known or possible)]
        elif len(bad) < len(possible):
            continue
        if bad:
            place = "genes" if name in genes else "training"
            return [f"{place}.{name}: {_remedy(name, parent, bad, rule, genes if name in genes else {})}"]
    return []


def _unread_by_shipped(genes: Mapping[str, Gene], rules: Mapping[str, GeneRule]) -> list[str]:
    """Return the genes of a shipped model that hold for a whole search, or that have choices of the same meaning."""
    problems = [
        f"genes.{name}: holds for a whole search and cannot be a gene; set it in [training]"
        for name in genes
        if name in FIXED_ONLY
    ]
    for name, gene in genes.items():
        if name in rules or name in FIXED_ONLY or not isinstance(gene, Boolean | Categorical | Integer):
            continue
        problems += [
            f"genes.{name}: only conditions read it, and none tells {_shown(same, 'and')} apart; keep one of them"
            for same in _not_told_apart(name, gene, genes)
        ]
    return problems


def _not_told_apart(name: str, gene: Gene, genes: Mapping[str, Gene]) -> list[list[Any]]:
    """Return the values of a gene for which the same genes are active, all that mean one thing in a list."""
    asked = [child.when[name] for child in genes.values() if child.when and name in child.when]
    same: dict[tuple[bool, ...], list[Any]] = {}
    for value in dict.fromkeys(values_of(gene)) if asked else ():
        same.setdefault(tuple(meets(value, wanted) for wanted in asked), []).append(value)
    return [values for values in same.values() if len(values) > 1]


def _is_read_beside_gene(name: str, rule: GeneRule, genes: Mapping[str, Gene], fixed: Mapping[str, Any]) -> bool:
    """Return whether a configuration in which a gene is not active reads the fixed value of that name.

    Where the genes that decide this have too many values to try them all, it is taken to be read.
    """
    parents = [parent for parent, _ in rule.reads if parent in genes]
    deciding = {*parents, *(other for gene in (name, *parents) for other in conditions_of(gene, genes))} - {name}
    values = [values_of(genes[other]) for other in deciding]
    if not all(values) or math.prod(map(len, values)) > MOST_TRIED:
        return True
    for tried in itertools.product(*values):
        genome = dict(zip(deciding, tried, strict=True))
        while inactive := [other for other in genome if not genes[other].is_active(genome)]:
            genome = {other: value for other, value in genome.items() if other not in inactive}
        given = {**fixed, **genome}
        if not genes[name].is_active(genome) and all(given.get(parent) in wanted for parent, wanted in rule.reads):
            return True
    return False


def conditions_of(name: str, genes: Mapping[str, Gene]) -> dict[str, list[Any]]:
    """Return what holds wherever a gene is active: its own conditions, and those of the genes that these ask."""
    found: dict[str, list[Any]] = {}
    left = [name]
    while left:
        for parent, wanted in (genes[left.pop()].when or {}).items():
            if parent in genes and parent not in found:
                found[parent] = wanted_values(genes[parent], wanted)
                left.append(parent)
    return found


def _possible(name: str, genes: Mapping[str, Gene], fixed: Mapping[str, Any], given: Mapping[str, Any]) -> list[Any]:
    """Return the values that a gene or setting can have where conditions hold."""
    gene = genes.get(name)
    if gene is None:
        return [fixed.get(name)]
    if name in given:
        return list(given[name])
    return [*values_of(gene), *([fixed.get(name)] if gene.when else [])]


def _others(values: Iterable[Any], wanted: Iterable[Any]) -> list[Any]:
    known = list(wanted)
    return [value for value in dict.fromkeys(values) if value not in known]


def _remedy(name: str, parent: str, bad: list[Any], rule: GeneRule, genes: Mapping[str, Gene]) -> str:
    """Return where nothing reads a gene or setting, and the whole condition, or the value, with which it is read."""
    unread = f"nothing reads it where {parent} is {_shown(bad, 'or')}"
    conditions = dict(genes[name].when or {}) if name in genes else {}
    for other, wanted in rule.reads:
        if other in genes and len(values_of(genes[other])) > 1:
            conditions[other] = [value for value in values_of(genes[other]) if value in wanted]
    if conditions.get(parent):
        words = [f"{other} = {_condition(wanted)}" for other, wanted in conditions.items()]
        return f"{unread}; set when = {{ {', '.join(words)} }}"
    return f"{unread}; set {parent} to {_shown(dict(rule.reads)[parent], 'or')}, or leave {name} out"


def _condition(wanted: Any) -> str:
    return toml_value(wanted[0] if isinstance(wanted, list) and len(wanted) == 1 else wanted)


def _shown(values: Sequence[object], word: str) -> str:
    texts = [toml_value(value) for value in values]
    return f" {word} ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else texts[0]
