"""The strategies by name."""

from __future__ import annotations

from typing import Any

from evo.errors import ConfigurationError
from evo.names import DEFAULT_STRATEGY, check_name
from evo.space import SearchSpace
from evo.space.settings import check_objectives
from evo.strategies.ageing import Ageing
from evo.strategies.base import Strategy
from evo.strategies.cma import CovarianceMatrixAdaptation
from evo.strategies.genetic import GeneticAlgorithm
from evo.strategies.halving import Halving
from evo.strategies.members import Draft, Member
from evo.strategies.pareto import Pareto
from evo.strategies.random_search import RandomSearch
from evo.strategies.report2019 import Report2019
from evo.strategies.report2019_fixed import Report2019Fixed
from evo.strategies.surrogate import SurrogateEvolution

STRATEGIES: dict[str, type[Strategy]] = {
    strategy.name: strategy
    for strategy in (
        SurrogateEvolution,
        Halving,
        GeneticAlgorithm,
        Ageing,
        Pareto,
        CovarianceMatrixAdaptation,
        RandomSearch,
        Report2019,
        Report2019Fixed,
    )
}
OWN_OPTIONS = frozenset[str]().union(*(strategy.options for strategy in STRATEGIES.values()))
"""The settings that only some strategies have."""


def strategy_names() -> tuple[str, ...]:
    """Return the names that `--strategy` and `make_strategy` take."""
    return tuple(STRATEGIES)


def make_strategy(name: str, space: SearchSpace, **settings: Any) -> Strategy:
    """Return a strategy by name, for people who own their loop.

    Args:
        name: One of `strategy_names()`.
        space: The search space.
        **settings: `seed`, `population`, `budget`, `generations`, `initial`, `retrainable`, `direction`, see
            `Strategy`; and the settings that only some strategies have: `pending` and `asynchronous` of those that
            propose one individual at a time, `objectives` of `pareto`, `continuations` of `halving`.

    Raises:
        ConfigurationError: The name is unknown, or the strategy refuses the settings.
    """
    if settings.get("objectives") is not None:
        check_objectives(settings["objectives"], own=True, recorded=True)
    if "learns_failures" in STRATEGIES[check_name("strategy", name, strategy_names())].options:
        settings.setdefault("learns_failures", True)
    return strategy_of(name, space, **settings)


def strategy_of(name: str, space: SearchSpace, **settings: Any) -> Strategy:
    """Return a strategy as `make_strategy` does, also with the settings that an older run has kept."""
    strategy = STRATEGIES[check_name("strategy", name, strategy_names())]
    given = {option: settings.pop(option, None) for option in OWN_OPTIONS}
    own = {option: value for option, value in given.items() if value is not None and value is not False}
    for option in sorted(own.keys() - strategy.options):
        takers = ", ".join(other for other, known in STRATEGIES.items() if option in known.options)
        raise ConfigurationError(f"--{option}: strategy {name} has no such setting; these have: {takers}")
    return strategy(space, **settings, **own)


__all__ = ["DEFAULT_STRATEGY", "OWN_OPTIONS", "Draft", "Member", "Strategy"]
__all__ += ["make_strategy", "strategy_names", "strategy_of"]
