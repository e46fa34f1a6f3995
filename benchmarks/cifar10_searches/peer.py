"""Optuna's TPE as a strategy of evo: asked and told by evo's own loop, so trainings, time and record are the same."""

from __future__ import annotations

import random
import subprocess
import weakref
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.cifar10_searches.rows import CHANCE
from benchmarks.search_quality.encoding import decode, encode, parameters_of
from benchmarks.search_quality.places import Adapter, Places, single_threaded
from evo.strategies import STRATEGIES
from evo.strategies.base import Strategy
from evo.strategies.members import Draft, Member

ENVIRONMENT, SCRIPT, VARIANT = "optuna", "optuna_adapter.py", "tpe-multivariate-parallel"
SEEDS_APART = 1_000_000


class OptunaTPE(Strategy):
    """Multivariate, grouped TPE over the parameters of the genes, with their conditions.

    It proposes for a free worker and learns results as they arrive, so its proposals depend on which training finishes
    first. A search that continues tells a new study of all earlier proposals; its seed is then another, because the
    first one would draw the same again.
    """

    name = "optuna-tpe"
    asynchronous = True
    places: ClassVar[Places] = Places.default()

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self._adapter: Adapter | None = None
        self._values: dict[int, float] = {}
        self._seen = 0  # proposals that the study knows

    def required(self, number: int) -> int:
        return 0

    def propose(self, number: int, rng: random.Random) -> Draft:
        adapter = self._adapter or self._started()
        for place in range(self._seen, number):
            adapter.exchange({"seen": encode(self.space, self.proposals[place].genome)})
            if place in self._values:
                adapter.exchange({"tell": self._values[place], "of": place})
        config = adapter.exchange({"ask": True})["config"]
        self._seen = number + 1
        return Draft(decode(self.space, config), operator="tpe")

    def learn(self, member: Member) -> None:
        evaluation = member.evaluation
        value = evaluation.fitness if evaluation.complete and evaluation.fitness is not None else CHANCE
        self._values[member.number] = value
        if self._adapter is not None:
            self._adapter.exchange({"tell": value, "of": member.number})

    def populations(self) -> list[tuple[int, ...]]:
        return []

    def _started(self) -> Adapter:
        """Return a process with a study that knows nothing yet."""
        adapter = Adapter(self.places, ENVIRONMENT, SCRIPT)
        weakref.finalize(self, adapter.close)
        start = {
            "parameters": parameters_of(self.space),
            "anchor": None,
            "seed": self.seed + SEEDS_APART * len(self.proposals),
            "budget": self.limit,
            "variant": VARIANT,
        }
        adapter.exchange({"start": start})
        self._adapter = adapter
        return adapter


def add_peer(environments: Path | None = None) -> str:
    """Let searches in this process take the peer as their strategy; return the version of its package.

    Args:
        environments: Folder of the peers' environments, see `benchmarks.search_quality setup`.

    Raises:
        ConfigurationError: The environment was not made.
    """
    default = Places.default()
    places = Places(environments.resolve(), default.cache) if environments else default
    program = f"import importlib.metadata; print(importlib.metadata.version({ENVIRONMENT!r}))"
    command = [str(places.python(ENVIRONMENT)), "-c", program]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, env=single_threaded())
    OptunaTPE.places = places
    STRATEGIES[OptunaTPE.name] = OptunaTPE
    return shown.stdout.strip()
