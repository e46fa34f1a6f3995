"""The algorithms of evo by name."""

from __future__ import annotations

from typing import Any

from evo.errors import ConfigurationError, did_you_mean
from evo.space import SearchSpace
from evo.strategies.base import Draft, Member, Strategy
from evo.strategies.genetic import GeneticAlgorithm
from evo.strategies.random_search import RandomSearch
from evo.strategies.report2019 import Report2019
from evo.strategies.report2019_fixed import Report2019Fixed

STRATEGIES: dict[str, type[Strategy]] = {
    strategy.name: strategy for strategy in (GeneticAlgorithm, RandomSearch, Report2019, Report2019Fixed)
}
DEFAULT_STRATEGY = GeneticAlgorithm.name


def strategy_names() -> tuple[str, ...]:
    """Return the names that `--strategy` and `make_strategy` take."""
    return tuple(STRATEGIES)


def make_strategy(name: str, space: SearchSpace, **settings: Any) -> Strategy:
    """Return a strategy by name, for people who own their loop.

    Args:
        name: One of `strategy_names()`.
        space: The search space.
        **settings: `seed`, `population`, `budget`, `generations`, `initial`; see `Strategy`.

    Raises:
        ConfigurationError: An unknown name, or settings that the strategy refuses.
    """
    if name not in STRATEGIES:
        raise ConfigurationError(
            f'strategy: unknown strategy "{name}".{did_you_mean(name, STRATEGIES)} Known: {", ".join(STRATEGIES)}'
        )
    return STRATEGIES[name](space, **settings)


__all__ = ["DEFAULT_STRATEGY", "Draft", "Member", "Strategy", "make_strategy", "strategy_names"]
