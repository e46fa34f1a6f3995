"""An evaluation: the result of one training, and what it was for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any, Literal, TypeAlias, get_args

from evo.confusion import Confusion, confusion_from_json
from evo.individual import whole_count
from evo.numbers import LARGEST
from evo.plain_text import made_plain

Status: TypeAlias = Literal[
    "complete", "partial", "diverged", "out_of_memory", "timeout", "failed", "infeasible", "earlier"
]

Phase: TypeAlias = Literal["search", "finalist", "weights", "replay"]
"""What a training is for: the search, the choice of a winner, only its weights, or a comparison with the record."""

_FIRST_REPLICATES: dict[Phase, int] = {"search": 0, "finalist": 101, "weights": 1000, "replay": 1001}
"""The first replicate number of each phase, in ascending order. Journals, tables and seeds hold these numbers."""

MEASURES = ("parameters", "seconds", "loss", "train_accuracy")
"""What an evaluation may report besides its fitness, and what a search with several objectives may optimise."""

OWN_MEASURES = ("validation_accuracy", "train_accuracy", "test_accuracy", "loss", "parameters")
"""What a user's objective may measure under a name that trainings have, too: it has the same column."""

TAKEN = frozenset(
    (
        *("individual", "replicate", "generation", "parents", "operator", "rung", "seed", "status", "fitness", "error"),
        *("steps_trained", "seconds", "seconds_before", "worker", "started", "engine", "precision", "shared_with"),
        *("step", "slot", "rank", "replicates", "winner", "test_loss", "value", "violation"),
    )
)
"""Columns of evaluations, curves and finalists that a measure of a user's objective cannot be called."""

SUCCESSES = ("complete", "partial", "earlier")
"""The statuses of evaluations that have a result."""
INFEASIBLE = "infeasible"
"""The status of a configuration that is not allowed: no result, and no failure either."""

FAILURES = ("failed", "timeout", "out_of_memory")
"""The statuses of evaluations that may end otherwise when they are tried again; a training that diverges does not."""


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
            if not is_number(value):
                raise TypeError(f"{name} must be a number, got {value!r}")
        return cls(whole_count(values["step"], "step"), measured)


def fitness_from(values: Mapping[str, float], part: str, measure: str) -> float | None:
    """Return the fitness that a training's measures make; None where one is missing.

    Args:
        values: By name, as in a `CurvePoint`.
        part: "validation" or "test".
        measure: One of `evo.names.FITNESS_MEASURES`.
    """
    return values.get(f"{part}_accuracy" if measure == "accuracy" else measure)


_COUNTS = ("individual", "replicate", "seed", "parameters", "steps_trained", "shared_with")
END_OF_TIME = 2.5e11
"""Seconds since 1970 in the year 9892: tables and calendars end soon after."""
_TIMES = ("started", "seconds", "seconds_before")
_TEXTS = ("status", "worker", "engine", "precision", "error", "phase", "curve", "confusion", "named")
_LEFT_OUT = ("confusion", "named", "violation")


@dataclass(frozen=True)
class Evaluation:
    """The result of one training (or of one call of the user's objective).

    A measure that is not finite becomes None, here and in the curve, and `error` says so: JSON has no such numbers.

    Attributes:
        individual: Id of the individual.
        replicate: 0 for its evaluation in the search; others are trainings of the same genome on other seeds.
        seed: Seed of the training.
        status: How it ended; "partial" is a training that was paused before its last step, "earlier" a result
            of a table that the search began with: nothing was trained for it.
        fitness: Higher is better; of a paused training the last value. None if the training failed.
        loss: Cross-entropy on the part that `fitness` was measured on.
        parameters: Trainable parameters of the network.
        seconds: Wall-clock time of the training, of all its parts if it was interrupted or paused.
        started: When its last part began, in seconds since the epoch.
        error: The reason, if the training failed or a measure was not finite.
        shared_with: The individual whose learning curve this row was read from: nothing was trained for it.
        seconds_before: The part of `seconds` that was spent before `started`.
        confusion: Of the images that `fitness` or `test_accuracy` was measured on; empty where it was not counted.
        named: What a user's objective has measured besides, by name.
        violation: How far the configuration of an infeasible evaluation is from being allowed; None if that is unknown.
        unread: Genes that the model did not look up, where this is the first training of a worker; not kept.
        traceback: Of the exception that failed it, see `Run.traceback`; not in the journal.
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
    named: dict[str, float] = field(default_factory=dict)
    violation: float | None = None
    unread: tuple[str, ...] = field(default=(), compare=False)
    traceback: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        strange = _not_finite(vars(self))
        unnamed = _not_finite(self.named)
        reasons = [f"{name} was {value}" for name, value in (strange | unnamed).items()]
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
        values: dict[str, Any] = {"curve": tuple(curve), "status": status, "error": self.error or f"{reasons[0]}{more}"}
        values["named"] = {name: value for name, value in self.named.items() if name not in unnamed}
        for name, value in {**dict.fromkeys(strange.keys() - _TIMES), **values}.items():
            object.__setattr__(self, name, value)

    def _keep_readable(self) -> None:
        """Replace what a machine says of itself and `from_dict` does not take: a clock before 1970, a strange name."""
        texts = ("worker", "engine", "error", "traceback")
        values: dict[str, Any] = {name: made_plain(str(getattr(self, name))) for name in texts}
        values |= {name: value if 0 <= (value := getattr(self, name)) < END_OF_TIME else 0.0 for name in _TIMES}
        values["seconds_before"] = min(values["seconds_before"], values["seconds"])
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def ended(self) -> float:
        """When the training ended, in seconds since the epoch."""
        return self.started + self.seconds - self.seconds_before

    @property
    def accuracy(self) -> float | None:
        """The accuracy on the part that fitness was measured on; the fitness, where that is all there is."""
        known = (self.validation_accuracy, self.test_accuracy, self.fitness)
        return next((value for value in known if value is not None), None)

    @property
    def measures(self) -> dict[str, float]:
        """What else was measured, by name: see `MEASURES` and `OWN_MEASURES`, and what an objective has named."""
        values = {name: getattr(self, name) for name in (*MEASURES, *OWN_MEASURES)} | self.named
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
    def earlier(self) -> bool:
        """Whether this is a result of a table that the search began with; this run did not train it."""
        return self.status == "earlier"

    @property
    def infeasible(self) -> bool:
        """Whether the configuration is not allowed."""
        return self.status == INFEASIBLE

    @property
    def failed(self) -> bool:
        """Whether there is no result, although the configuration is allowed as far as is known."""
        return not self.succeeded and not self.infeasible

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
        # What a training does not have is left out, as in the formats of the journal that did not know it.
        for name in ("unread", "traceback", *(name for name in _LEFT_OUT if not values[name])):
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
                whole_count(value, name)
            elif name not in _TEXTS and not (value is None or is_number(value)):
                raise TypeError(f"{name} must be a number, got {value!r}")
        if not (0 <= values["started"] < END_OF_TIME and 0 <= values["seconds"] < END_OF_TIME):
            raise ValueError(f"a time out of all bounds: started {values['started']}, seconds {values['seconds']}")
        if not 0 <= values.get("seconds_before", 0) <= values["seconds"]:
            raise ValueError(f"seconds_before {values['seconds_before']} is not within seconds {values['seconds']}")
        if values["status"] not in get_args(Status):
            raise ValueError(f"unknown status {values['status']!r}")
        fields["named"] = _named_from_json(values.get("named", {}))
        fields["curve"] = tuple(map(CurvePoint.from_dict, fields["curve"]))
        fields["confusion"] = confusion_from_json(values.get("confusion", ()))
        return cls(**fields)


def check_measure(name: str) -> str:
    """Return the name of a measure, if one may be called so: it becomes a column of tables.

    Raises:
        ValueError: It is not an identifier, or means something else already.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"{name!r} cannot be the name of a measure: it must be a word of letters, digits and _")
    if name in TAKEN:
        raise ValueError(f'"{name}" cannot be the name of a measure: it is a column of its own; choose another')
    return name


def _named_from_json(values: Any) -> dict[str, float]:
    if not isinstance(values, Mapping):
        raise TypeError(f"named must be numbers by name, got {values!r}")
    for name, value in values.items():
        if not is_number(value):
            raise TypeError(f"{name} must be a number, got {value!r}")
    return {check_measure(name): float(value) for name, value in values.items()}


def _not_finite(measured: Mapping[str, Any]) -> dict[str, float]:
    """Return the measures that are infinite or not a number."""
    return {name: value for name, value in measured.items() if isinstance(value, float) and not math.isfinite(value)}


def is_number(value: Any) -> bool:
    """Return whether JSON has held a finite number."""
    return isinstance(value, int | float) and abs(value) <= LARGEST


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
