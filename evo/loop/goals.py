"""What a new search is to reach: the direction of its fitness, and its objectives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evo.errors import ConfigurationError
from evo.evaluators.signature import Objective
from evo.loop.search_loop import Observer
from evo.names import DEFAULT_STRATEGY, DIRECTIONS, FITNESS_MEASURES, LOSS, check_name
from evo.space.settings import check_objectives

MAXIMISE, MINIMISE = DIRECTIONS
SEVERAL = "pareto"
"""The strategy for several objectives."""


@dataclass(frozen=True)
class Goals:
    """What a search is asked to reach.

    Attributes:
        direction: Of the fitness, which is the first objective where there are some.
        objectives: As given; None for none.
    """

    direction: str
    objectives: dict[str, str] | None

    def strategy(self, observer: Observer) -> str:
        """Return the strategy of a search for which none was asked; the observer is told if it is not the usual one."""
        if len(self.objectives or ()) < 2:
            return DEFAULT_STRATEGY
        observer.notify(f"note: several objectives, so the strategy is {SEVERAL}")
        return SEVERAL


def goals_of(
    objective: Objective | None,
    direction: str | None,
    objectives: Mapping[str, str] | None,
    measure: str = FITNESS_MEASURES[0],
) -> Goals:
    """Return the goals of a search.

    Args:
        objective: The user's function; None where networks are trained.
        direction: As given.
        objectives: As given.
        measure: What the fitness of a trained network is.

    Raises:
        ConfigurationError: They are not names that there are, or contradict each other.
    """
    if direction is not None:
        check_name("direction", direction, DIRECTIONS)
    if objectives is not None:
        check_objectives(objectives, own=objective is not None)
    if objective is None:
        own = MINIMISE if measure == LOSS else MAXIMISE
        if direction not in (None, own):
            raise ConfigurationError(
                f"direction: the fitness of a training is its {measure.replace('_', ' ')}: {own}, got {direction}; "
                "leave it out (another direction is for a function of your own)"
            )
        return Goals(own, None if objectives is None else dict(objectives))
    if objectives is None:
        return Goals(direction or MAXIMISE, None)
    first, of_first = next(iter(objectives.items()))
    if direction is not None and direction != of_first:
        raise ConfigurationError(
            f"direction: is that of the first objective, {of_first} {first}, got {direction}; leave it out"
        )
    return Goals(of_first, dict(objectives))
