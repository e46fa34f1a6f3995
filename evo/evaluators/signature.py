"""What an objective takes besides the configuration: a seed, a trial, or both, by name or by position."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from evo.evaluators.base import ends_the_search
from evo.plain_text import cell_text, text_of

Objective = Callable[..., Any]
MEANINGS = SEED, TRIAL = "seed", "trial"
_ONE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
"""Kinds of parameters that stand for one argument."""


@dataclass(frozen=True)
class Arguments:
    """What an objective is called with after the configuration.

    Attributes:
        by_position: "seed" and "trial" in their order.
        by_name: The same for parameters that are given by their names.
    """

    by_position: tuple[str, ...] = ()
    by_name: tuple[str, ...] = ()

    def takes(self, name: str) -> bool:
        """Return whether it takes the seed or the trial."""
        return name in self.by_position or name in self.by_name

    def call(self, objective: Objective, config: dict[str, Any], **values: Any) -> Any:
        """Return what the objective returns."""
        positions = [values[name] for name in self.by_position]
        return objective(config, *positions, **{name: values[name] for name in self.by_name})


def arguments_of(objective: Objective) -> Arguments:
    """Return what an objective takes: parameters of these names; else a second and third one without a default."""
    try:
        parameters = list(inspect.signature(objective).parameters.values())
    except BaseException as problem:  # a callable without a signature, or whose own code for it fails
        if ends_the_search(problem):
            raise
        return Arguments()
    named = {one.name for one in parameters if one.name in MEANINGS and one.kind in _ONE}
    unnamed = [meaning for meaning in MEANINGS if meaning not in named]  # for parameters with names of their own
    by_position: list[str] = []
    by_name = [one.name for one in parameters if one.name in named and one.kind is one.KEYWORD_ONLY]
    is_next = True
    for one in [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)][1:]:
        if one.name not in named and (one.default is not one.empty or not unnamed):
            is_next = False
        elif is_next:
            by_position.append(one.name if one.name in named else unnamed.pop(0))
        elif one.name in named:
            by_name.append(one.name)
    return Arguments(tuple(by_position), tuple(by_name))


def takes_seed(objective: Objective) -> bool:
    """Return whether an objective takes the seed: it has a parameter `seed`, or two without a default."""
    return arguments_of(objective).takes(SEED)


def takes_trial(objective: Objective) -> bool:
    """Return whether an objective takes a trial: it has a parameter `trial`, or three without a default."""
    return arguments_of(objective).takes(TRIAL)


def name_of(objective: Objective) -> str:
    """Return the name that a run records for a function; the function itself is never written."""
    try:
        name = objective.__qualname__
    except Exception:  # an object that can be called, such as a functools.partial
        name = type(objective).__name__
    return cell_text(text_of(name))
