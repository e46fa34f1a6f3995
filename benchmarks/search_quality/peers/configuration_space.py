"""The parameters as a space of the package ConfigSpace, which SMAC3 and DEHB read."""

from __future__ import annotations

from typing import Any

import ConfigSpace
from ConfigSpace.hyperparameters import (
    CategoricalHyperparameter,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)


def make_space(parameters: list[dict[str, Any]], seed: int, *, conditional: bool) -> ConfigSpace.ConfigurationSpace:
    """Return the space; with conditions, or every parameter always active.

    Args:
        parameters: As the protocol has them, parents first.
        seed: Of the space's own draws.
        conditional: Whether conditions are added.
    """
    space = ConfigSpace.ConfigurationSpace(seed=seed)
    made = {}
    for entry in parameters:
        name = entry["name"]
        if entry["kind"] == "categorical":
            made[name] = CategoricalHyperparameter(name, entry["choices"])
        elif entry["kind"] == "integer":
            made[name] = UniformIntegerHyperparameter(name, entry["low"], entry["high"], log=entry["log"])
        else:
            made[name] = UniformFloatHyperparameter(name, entry["low"], entry["high"], log=entry["log"])
    space.add(list(made.values()))
    for entry in parameters if conditional else []:
        conditions = [_condition(made[entry["name"]], made[parent], wanted) for parent, wanted in entry["when"].items()]
        if conditions:
            space.add(conditions[0] if len(conditions) == 1 else ConfigSpace.AndConjunction(*conditions))
    return space


def _condition(child: Any, parent: Any, wanted: list[Any] | dict[str, Any]) -> Any:
    """Return a condition; the bound itself of `<=` and `>=`, here of a real number, is left out."""
    if isinstance(wanted, list):
        return ConfigSpace.InCondition(child, parent, wanted)
    kinds = {"<": ConfigSpace.LessThanCondition, ">": ConfigSpace.GreaterThanCondition}
    kinds |= {"=": ConfigSpace.EqualsCondition, "!": ConfigSpace.NotEqualsCondition}
    return kinds[wanted["sign"][0]](child, parent, wanted["number"])
