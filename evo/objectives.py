"""What a search with several objectives may ask for: fitness, and what else an evaluation reports."""

from __future__ import annotations

from collections.abc import Mapping

from evo.errors import ConfigurationError, did_you_mean
from evo.individual import MEASURES

FITNESS = "fitness"
SIGNS = {"maximise": 1.0, "minimise": -1.0}


def check_objectives(objectives: Mapping[str, str]) -> None:
    """Check the objectives of a search.

    Raises:
        ConfigurationError: Fewer than two, or something that no evaluation measures.
    """
    known = (FITNESS, *MEASURES)
    for name, direction in objectives.items():
        if name not in known:
            raise ConfigurationError(
                f'objectives: "{name}" is not measured.{did_you_mean(name, known)} Known: {", ".join(known)}'
            )
        if direction not in SIGNS:
            raise ConfigurationError(f'objectives.{name}: must be "maximise" or "minimise", got "{direction}"')
    if FITNESS not in objectives or len(objectives) < 2:
        raise ConfigurationError(
            f"objectives: must be fitness and at least one of {', '.join(MEASURES)}, got {', '.join(objectives)}"
        )
