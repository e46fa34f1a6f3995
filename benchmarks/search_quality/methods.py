"""The methods that the search quality benchmark compares: evo's strategies and the peers, behind one ask and tell."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.search_quality.encoding import decode, encode, parameters_of
from benchmarks.search_quality.places import Adapter, Places
from benchmarks.search_quality.tasks import Function, Task
from evo.errors import ConfigurationError, did_you_mean
from evo.individual import STEPS, Genome, Individual
from evo.ranking import raced, standing
from evo.space import SearchSpace
from evo.strategies import STRATEGIES, make_strategy, strategy_names
from evo.strategies.base import Strategy


@dataclass(frozen=True)
class Peer:
    """A method of another package.

    Attributes:
        environment: Where it is installed.
        script: Its adapter in `peers/`.
        variant: Which of the adapter's methods.
    """

    environment: str
    script: str
    variant: str = ""


PEER_METHODS: dict[str, Peer] = {
    "optuna-tpe": Peer("optuna", "optuna_adapter.py", "tpe"),
    "optuna-tpe-independent": Peer("optuna", "optuna_adapter.py", "tpe-independent"),
    "optuna-tpe-multivariate": Peer("optuna", "optuna_adapter.py", "tpe-multivariate"),
    "optuna-gp": Peer("optuna", "optuna_adapter.py", "gp"),
    "optuna-cmaes": Peer("optuna", "optuna_adapter.py", "cmaes"),
    "nevergrad-ngopt": Peer("nevergrad", "nevergrad_adapter.py"),
    "smac-hpo": Peer("smac", "smac_adapter.py", "hpo"),
    "smac-hpo-retrained": Peer("smac", "smac_adapter.py", "hpo-retrained"),
    "smac-blackbox": Peer("smac", "smac_adapter.py", "blackbox"),
    "dehb": Peer("dehb", "dehb_adapter.py"),
}

COUNTED_BY_STEPS = frozenset({"dehb", "halving"})
"""Methods of many short trainings, only on tasks with a gene of training steps.

Their budget is the steps of that many full trainings, not a number of trainings.
"""
MOST_SHORT_TRAININGS = 30
"""Trainings per full training's worth of steps, at most, of such a method."""


@dataclass(frozen=True)
class Method:
    """A method under the name of its results.

    Attributes:
        label: Names its results: a method's name, or "name@note" for a version of one of evo's strategies.
        settings: Further arguments of `evo.make_strategy`.
    """

    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name without the note."""
        return self.label.partition("@")[0]

    def runs_on(self, task: Task) -> bool:
        """Return whether the method can be used on a task."""
        return self.name not in COUNTED_BY_STEPS or STEPS in task.space().genes


def check_method(label: str) -> None:
    """Check that a label begins with the name of a method.

    Raises:
        ConfigurationError: It does not.
    """
    name = label.partition("@")[0]
    known = (*strategy_names(), *PEER_METHODS)
    if name not in known:
        raise ConfigurationError(
            f'--methods: unknown method "{name}".{did_you_mean(name, known)} Known: {", ".join(known)}'
        )
    if "/" in label:
        raise ConfigurationError(f"--methods: a note must not hold a slash, got {label}")


class Searcher(Protocol):
    """One search of a method.

    Attributes:
        versions: Of the packages that propose.
        shares_curves: Whether a training continues a shorter one of the same genes, as in evo's searches.
    """

    versions: dict[str, str]
    shares_curves: bool

    def ask(self) -> Genome | None:
        """Return the next genome to evaluate, None at the end."""

    def tell(self, value: float) -> None:
        """Report the value of the last genome."""

    def recommend(self) -> Genome | None:
        """Return the genome that the method considers best; None for that of the best value observed."""


class EvoSearcher:
    """One of evo's strategies."""

    shares_curves = True

    def __init__(self, strategy: Strategy):
        self.strategy = strategy
        self.versions = {name: importlib.metadata.version(name) for name in ("deap", "numpy", "scikit-learn")}
        self._last: Individual | None = None
        self._told: dict[int, tuple[Individual, list[float | None]]] = {}

    def ask(self) -> Genome | None:
        proposals = self.strategy.ask(1)
        if not proposals:
            if not self.strategy.done():
                raise RuntimeError(f"{self.strategy.name} proposes nothing although every result was told")
            return None
        self._last = proposals[0]
        return self._last.config

    def tell(self, value: float) -> None:
        assert self._last is not None
        self.strategy.tell(self._last, value)
        _, values = self._told.setdefault(self._last.id, (self._last, []))
        values.append(value)

    def recommend(self) -> Genome | None:
        """Return what a run of evo that ends now would rank first, whether or not the strategy knows it yet."""
        turns = raced(self.strategy.proposals)
        best, _ = max(self._told.values(), key=lambda told: standing(told[0], told[1], turns[told[0].id]))
        return best.config


class PeerSearcher:
    """A peer in a separate process, which serves one search after another."""

    shares_curves = False

    def __init__(self, adapter: Adapter, peer: Peer, space: SearchSpace, seed: int, budget: int, deterministic: bool):
        self.adapter, self.space = adapter, space
        start = {
            "parameters": parameters_of(space),
            "anchor": encode(space, space.initial[0]),
            "seed": seed,
            "budget": budget,
            "variant": peer.variant,
            "fidelity": STEPS if STEPS in space.genes else None,
            "deterministic": deterministic,
        }
        self.versions = dict(adapter.exchange({"start": start})["ready"])

    def ask(self) -> Genome | None:
        return decode(self.space, self.adapter.exchange({"ask": True})["config"])

    def tell(self, value: float) -> None:
        self.adapter.exchange({"tell": value})

    def recommend(self) -> Genome | None:
        return None


class Adapters:
    """At most one peer's process at a time, kept for the next search of the same peer: imports take seconds."""

    def __init__(self, places: Places):
        self.places = places
        self._script = ""
        self._adapter: Adapter | None = None

    def get(self, peer: Peer) -> Adapter:
        """Return a running process of a peer's adapter."""
        if self._adapter is None or self._script != peer.script or not self._adapter.alive:
            self.close()
            self._adapter = Adapter(self.places, peer.environment, peer.script)
            self._script = peer.script
        return self._adapter

    def close(self) -> None:
        """End the process."""
        if self._adapter is not None:
            self._adapter.close()
            self._adapter = None


def make_searcher(method: Method, task: Task, seed: int, budget: int, adapters: Adapters) -> Searcher:
    """Return a search of a method on a task."""
    space = task.space()
    deterministic = isinstance(task.source, Function)
    peer = PEER_METHODS.get(method.name)
    if peer is None:
        settings: dict[str, Any] = {"retrainable": not deterministic}
        if "pending" in STRATEGIES[method.name].options:
            # One training at a time, as for the peers: every result is known before the next proposal.
            settings["pending"] = 1
        trainings = budget * (MOST_SHORT_TRAININGS if method.name in COUNTED_BY_STEPS else 1)
        settings |= method.settings
        return EvoSearcher(make_strategy(method.name, space, seed=seed, budget=trainings, **settings))
    return PeerSearcher(adapters.get(peer), peer, space, seed, budget, deterministic)
