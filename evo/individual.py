"""The basic types: individuals, their evaluations, and the seeds of their trainings."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import takewhile
from typing import Any, Literal, TypeAlias, get_args

from evo.confusion import Confusion, confusion_from_json
from evo.numbers import LARGEST, mean
from evo.plain_text import made_plain

GeneValue: TypeAlias = float | int | str | bool | tuple[int, ...]
Genome: TypeAlias = dict[str, GeneValue]

Status: TypeAlias = Literal["complete", "partial", "diverged", "out_of_memory", "timeout", "failed"]

Phase: TypeAlias = Literal["search", "finalist", "weights", "replay"]
"""What a training is for: the search, the choice of a winner, only its weights, or a comparison with the record."""

_FIRST_REPLICATES: dict[Phase, int] = {"search": 0, "finalist": 101, "weights": 1000, "replay": 1001}
"""The first replicate number of each phase, in ascending order. Journals, tables and seeds hold these numbers."""

STEPS, EPOCHS = "steps", "epochs"
DURATION = (STEPS, EPOCHS)
"""The genes that say how long to train, of which a space has one: they do not enter a training's seed.

Genomes that differ in nothing else are the same network and recipe.
"""

MEASURES = ("parameters", "seconds", "loss", "train_accuracy")
"""What an evaluation may report besides its fitness, and what a search with several objectives may optimise."""

SUCCESSES = ("complete", "partial")
"""The statuses of evaluations that did not fail."""


@dataclass(frozen=True)
class Individual:
    """One proposal of an algorithm: a genome, the seed to train it on (`replicate`), and how far to train it now.

    Attributes:
        id: Counts the individuals of a run from 0.
        genome: Active genes only, in the order of the search space. Layer lists are tuples of int.
        generation: The generation it was proposed in, from 0. Each part of a continued training has its own.
        parents: Ids of the individuals it was made from; empty for a sampled one.
        operator: What made it: "initial", "random", "crossover", "mutation", "crossover+mutation", …
        strategy_parameters: What evolves along with the genome (self-adaptive mutation strengths), or what a
            strategy needs again when a run is resumed. JSON values.
        replicate: 0 for the first evaluation of the genome. A strategy may propose an individual again, to be evaluated
            on another seed: 1, 2, …
        until: How far to train now, in steps, or in epochs where the genome has these; None trains all of them. To
            continue a paused training, a strategy proposes the same individual with a larger `until`.
    """

    id: int
    genome: Genome
    generation: int = 0
    parents: tuple[int, ...] = ()
    operator: str = "initial"
    strategy_parameters: dict[str, Any] = field(default_factory=dict)
    replicate: int = 0
    until: int | None = None

    @property
    def pauses(self) -> bool:
        """Whether this training is to pause before the last step of its genome."""
        whole = self.genome.get(EPOCHS, self.genome.get(STEPS))
        return self.until is not None and isinstance(whole, int) and self.until < whole

    @property
    def trained_now(self) -> Genome:
        """The configuration of a training that is as long as this one is to be now."""
        if self.until is None:
            return self.config
        return self.config | {EPOCHS if EPOCHS in self.genome else STEPS: self.until}

    @property
    def config(self) -> Genome:
        """The configuration to train: a copy of the genome."""
        return dict(self.genome)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; `from_dict` is the inverse."""
        values = asdict(self)
        if self.until is None:  # as in format 1 of the journal
            del values["until"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Individual:
        """Build an individual from what `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: `values` is something else.
        """
        until = values.get("until")
        parameters = dict(values["strategy_parameters"])
        return cls(
            id=_count(values["id"], "id"),
            genome=genome_from_json(values["genome"]),
            generation=_count(values["generation"], "generation"),
            parents=tuple(_count(parent, "parents") for parent in values["parents"]),
            operator=str(values["operator"]),
            strategy_parameters=parameters | ({RUNG: _count(parameters[RUNG], RUNG)} if RUNG in parameters else {}),
            replicate=_count(values.get("replicate", 0), "replicate"),
            until=None if until is None else _count(until, "until"),
        )


@dataclass(frozen=True)
class CurvePoint:
    """One point of a learning curve: a step, and what was measured there.

    Attributes:
        step: Optimiser steps done.
        values: What was measured, by name; what was not is absent. Trainings measure `train_loss` and `train_accuracy`
            (means over the minibatches since the point before, as seen in training), and on the held-out part in
            evaluation mode `validation_accuracy` or `test_accuracy` (with `--fitness test`) and `loss`. Accuracies are
            fractions in [0, 1], losses cross-entropies.
    """

    step: int
    values: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; `from_dict` is the inverse."""
        return {"step": self.step, **self.values}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CurvePoint:
        """Build a point from what `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        measured = {name: value for name, value in values.items() if name != "step" and value is not None}
        for name, value in measured.items():
            if not name.isidentifier() or name in ("individual", "replicate"):
                raise ValueError(f"{name!r} cannot be the name of a measure")
            if not _is_number(value):
                raise TypeError(f"{name} must be a number, got {value!r}")
        return cls(_count(values["step"], "step"), measured)


_COUNTS = ("individual", "replicate", "seed", "parameters", "steps_trained", "shared_with")
END_OF_TIME = 2.5e11
"""Seconds since 1970 in the year 9892: tables and calendars end soon after."""
_TIMES = ("started", "seconds", "seconds_before")
_TEXTS = ("status", "worker", "engine", "precision", "error", "phase", "curve", "confusion")


@dataclass(frozen=True)
class Evaluation:
    """The result of one training (or of one call of the user's objective).

    A measure that is not finite becomes None, here and in the curve, and `error` says so: JSON has no such numbers.

    Attributes:
        individual: Id of the individual.
        replicate: 0 for its evaluation in the search; others are trainings of the same genome on other seeds.
        seed: Seed of the training.
        status: How it ended; "partial" is a training that was paused before its last step.
        fitness: Higher is better; of a paused training the last value. None if the training failed.
        loss: Cross-entropy on the part that `fitness` was measured on.
        parameters: Trainable parameters of the network.
        seconds: Wall-clock time of the training, of all its parts if it was interrupted or paused.
        started: When its last part began, in seconds since the epoch.
        error: The reason, if the training failed or a measure was not finite.
        shared_with: The individual whose learning curve this row was read from: nothing was trained for it.
        seconds_before: The part of `seconds` that was spent before `started`.
        confusion: Of the images that `fitness` or `test_accuracy` was measured on; empty where it was not counted.
        unread: Genes that the model did not look up, where this is the first training of a worker; not kept.
    """

    individual: int
    replicate: int
    seed: int
    status: Status
    fitness: float | None = None
    validation_accuracy: float | None = None
    train_accuracy: float | None = None
    test_accuracy: float | None = None
    loss: float | None = None
    parameters: int | None = None
    steps_trained: int | None = None
    seconds: float = 0.0
    worker: str = ""
    started: float = 0.0
    engine: str = ""
    precision: str = ""
    error: str = ""
    phase: Phase = "search"
    shared_with: int | None = None
    curve: tuple[CurvePoint, ...] = ()
    seconds_before: float = 0.0
    confusion: Confusion = ()
    unread: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        strange = _not_finite(vars(self))
        reasons = [f"{name} was {value}" for name, value in strange.items()]
        self._keep_readable()
        curve: list[CurvePoint] = []
        for point in self.curve:
            missing = _not_finite(point.values)
            reasons += [f"{name} was {value} at step {point.step}" for name, value in missing.items()]
            known = {name: value for name, value in point.values.items() if name not in missing}
            curve += [replace(point, values=known)] if known else []
        if not reasons:
            return
        more = f", and {len(reasons) - 1} more like it" if len(reasons) > 1 else ""
        status = "failed" if "fitness" in strange and self.succeeded else self.status
        values = {"curve": tuple(curve), "status": status, "error": self.error or f"{reasons[0]}{more}"}
        for name, value in {**dict.fromkeys(strange.keys() - _TIMES), **values}.items():
            object.__setattr__(self, name, value)

    def _keep_readable(self) -> None:
        """Replace what a machine says of itself and `from_dict` does not take: a clock before 1970, a strange name."""
        values: dict[str, Any] = {name: made_plain(str(getattr(self, name))) for name in ("worker", "engine", "error")}
        values |= {name: value if 0 <= (value := getattr(self, name)) < END_OF_TIME else 0.0 for name in _TIMES}
        values["seconds_before"] = min(values["seconds_before"], values["seconds"])
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def ended(self) -> float:
        """When the training ended, in seconds since the epoch."""
        return self.started + self.seconds - self.seconds_before

    @property
    def measures(self) -> dict[str, float]:
        """What else was measured, by name: see `MEASURES`."""
        values = {name: getattr(self, name) for name in MEASURES}
        return {name: float(value) for name, value in values.items() if value is not None}

    @property
    def complete(self) -> bool:
        """Whether the training has a fitness and is whole."""
        return self.status == "complete" and self.fitness is not None

    @property
    def succeeded(self) -> bool:
        """Whether the training has a fitness, whole or paused."""
        return self.status in SUCCESSES and self.fitness is not None

    @property
    def paused(self) -> bool:
        """Whether the training paused before its end."""
        return self.status == "partial"

    @property
    def paused_at(self) -> int | None:
        """The step at which the training paused; None if it did not."""
        return (self.steps_trained or 0) if self.paused else None

    def after(self, earlier: Evaluation | None) -> Evaluation:
        """Return the evaluation with the seconds of the earlier part, if that part paused."""
        if earlier is None or earlier.status != "partial":
            return self
        before = earlier.seconds
        return replace(self, seconds=before + self.seconds, seconds_before=before + self.seconds_before)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; `from_dict` is the inverse."""
        values = asdict(replace(self, curve=(), confusion=()))
        values["curve"] = [point.to_dict() for point in self.curve]
        values["confusion"] = [list(entry) for entry in self.confusion]
        # Of a training that counts nothing, as in format 2 of the journal.
        for name in ("unread", *(() if self.confusion else ("confusion",))):
            del values[name]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Evaluation:
        """Build an evaluation from what `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: `values` is something else.
        """
        fields = dict(values)
        for name, value in values.items():
            if name in _COUNTS and value is not None:
                _count(value, name)
            elif name not in _TEXTS and not (value is None or _is_number(value)):
                raise TypeError(f"{name} must be a number, got {value!r}")
        if not (0 <= values["started"] < END_OF_TIME and 0 <= values["seconds"] < END_OF_TIME):
            raise ValueError(f"a time out of all bounds: started {values['started']}, seconds {values['seconds']}")
        if not 0 <= values.get("seconds_before", 0) <= values["seconds"]:
            raise ValueError(f"seconds_before {values['seconds_before']} is not within seconds {values['seconds']}")
        if values["status"] not in get_args(Status):
            raise ValueError(f"unknown status {values['status']!r}")
        fields["curve"] = tuple(map(CurvePoint.from_dict, fields["curve"]))
        fields["confusion"] = confusion_from_json(values.get("confusion", ()))
        return cls(**fields)


def _not_finite(measured: Mapping[str, Any]) -> dict[str, float]:
    """Return the measures that are infinite or not a number."""
    return {name: value for name, value in measured.items() if isinstance(value, float) and not math.isfinite(value)}


def _count(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise ValueError(f"{name} must be a whole number from 0 on, got {value!r}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) <= LARGEST


RUNG = "rung"
"""The key in `strategy_parameters` under which older runs of `halving` keep how far a training went.

There, an individual with more steps took the place of a continued training.
"""


def reach(proposal: Individual, *, paused: bool) -> tuple[bool, int]:
    """Return how far a training went, for comparisons: whole trainings come after paused ones, those by length."""
    if paused:
        return False, proposal.until or 0
    return True, int(proposal.strategy_parameters.get(RUNG, 0))


def standing(
    proposal: Individual, fitnesses: Sequence[float | None], turns: int = 0, *, paused: bool = False
) -> tuple[int, int, int, float]:
    """Return what an individual is ranked by; higher is better, and the first number is below 0 if all failed.

    First comes whether any of its evaluations failed, then how far it was trained (see `reach`), then how far it came
    in the last race, whose rounds each keep the better half, then its mean fitness.

    Args:
        proposal: The one that its first evaluation answers.
        fitnesses: One per evaluation; None for one that failed.
        turns: Evaluations in the last race, see `raced`.
        paused: Whether its training paused before its end.
    """
    known = [fitness for fitness in fitnesses if fitness is not None]
    if not known:
        return -1, 0, 0, 0.0
    value = mean(known)
    if len(known) < len(fitnesses):
        return 0, 0, turns, value
    whole, far = reach(proposal, paused=paused)
    return 1 + whole, far, turns, value


def raced(proposals: Sequence[Individual]) -> Counter[int]:
    """Return how often each individual was proposed again since the last new one: how far it came in the last race."""
    return Counter(proposal.id for proposal in takewhile(lambda proposal: proposal.replicate, reversed(proposals)))


def ranking(
    individuals: Sequence[Individual],
    proposals: Sequence[Individual],
    evaluations: Mapping[tuple[int, int], Evaluation],
    answered: Mapping[tuple[int, int], Individual],
) -> list[tuple[int, tuple[float, ...]]]:
    """Return the individuals whose first evaluation did not fail, best first; of equal genomes only the first.

    Args:
        individuals: By id.
        proposals: In their order.
        evaluations: By (individual, replicate).
        answered: The proposal that each of them answers.

    Returns:
        Their ids, each with the fitness of its evaluations in the search.
    """
    measured: dict[int, list[float | None]] = defaultdict(list)
    for number, replicate in sorted(evaluations):
        evaluation = evaluations[number, replicate]
        if phase_of(replicate) == "search":
            measured[number].append(evaluation.fitness if evaluation.succeeded else None)
    turns = raced(proposals)
    standings = {
        number: standing(answered[number, 0], fitnesses, turns[number], paused=evaluations[number, 0].paused)
        for number, fitnesses in measured.items()
        if (number, 0) in evaluations and evaluations[number, 0].succeeded
    }
    best = sorted(standings, key=lambda number: (*(-part for part in standings[number]), number))
    first_of_genome: dict[str, int] = {}
    for number in best:
        first_of_genome.setdefault(genome_key(individuals[number].genome), number)
    return [
        (number, tuple(fitness for fitness in measured[number] if fitness is not None))
        for number in first_of_genome.values()
    ]


def genome_from_json(values: Mapping[str, Any]) -> Genome:
    """Return the genome of a JSON object: its lists become tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))  # `json.dumps` would make one each time


def genome_key(genome: Mapping[str, GeneValue]) -> str:
    """Return the canonical text of a genome, which does not depend on the order of its genes."""
    return _CANONICAL.encode(genome)


def without_duration(genome: Mapping[str, GeneValue]) -> Genome:
    """Return a genome without the genes that say how long to train."""
    return {name: value for name, value in genome.items() if name not in DURATION}


def replicate_number(phase: Phase, place: int = 0) -> int:
    """Return the replicate number of a phase's evaluations of a genome, counted from 0."""
    return _FIRST_REPLICATES[phase] + place


@cache
def phase_of(replicate: int) -> Phase:
    """Return the phase that a replicate number belongs to; `replicate_number` is the inverse."""
    return [phase for phase, first in _FIRST_REPLICATES.items() if first <= replicate][-1]


def place_of(replicate: int) -> int:
    """Return which of its phase's evaluations of a genome a replicate number stands for, counted from 0."""
    return replicate - _FIRST_REPLICATES[phase_of(replicate)]


def training_seed(run_seed: int, genome: Mapping[str, GeneValue], replicate: int) -> int:
    """Return the seed of a training, in [0, 2**48): short enough for a spreadsheet to keep every digit.

    It depends only on the run's seed, the active genes but `DURATION`, and the replicate. With a constant learning
    rate a long training therefore contains every shorter one of the same genes.
    """
    text = f"{run_seed}|{genome_key(without_duration(genome))}|{replicate}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest())
