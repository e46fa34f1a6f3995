"""The trial object: a user's training loop reports through it what it measures, and learns when to pause."""

from __future__ import annotations

import math
import tempfile
import threading
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from evo.errors import ConfigurationError, PortableError
from evo.evaluation import CurvePoint, check_measure
from evo.numbers import LARGEST_WHOLE, NoNumberError, number_of, whole_number
from evo.plain_text import shown

POINTS = 200
"""Most points of a learning curve that are kept, and the last one: evenly spaced in the logarithm of the step."""
VALUE, COST = "fitness", "cost"
"""What a reported value and a reported cost are called in a curve."""


class Pause(BaseException):  # not an error
    """Raised by `Trial.report` when the training is to end here for now; let it pass, or return.

    Not an `Exception`, so that `except Exception` in a training loop does not take it for a failure.
    """


class Infeasible(PortableError):  # noqa: N818  # a finding, not an error
    """Raised by an objective or by a model's builder whose configuration is not allowed.

    Args:
        reason: What is wrong with it.
        violation: How far it is from being allowed, above 0: of two such configurations the smaller one is better.
            None where that cannot be said.
    """

    def __init__(self, reason: str = "", violation: float | None = None):
        super().__init__(reason)
        if violation is not None:
            try:
                violation = number_of(violation)
            except NoNumberError as problem:
                raise ValueError(f"violation: {problem}") from None
            if violation <= 0:
                raise ValueError(f"violation: must be above 0, got {violation:g}; a feasible configuration has none")
        self.violation = violation


class TrialError(PortableError, ValueError):
    """A trial was used in a way that it does not allow."""


class Trial:
    """One training of a user's loop: where it begins, how far it goes, where its files are, and what it reports.

    A kill may come after the last report and before the search has recorded the result. The objective is then called
    once more with `start` equal to `max_steps`, and has only to return its value.

    A search makes the trials that it passes to an objective. One can also be made by hand, to call an objective
    outside a search: its reports are then in `curve`.

    Args:
        max_steps: The steps of a full training.
        steps: The step to train to now; default: all.
        start: The last step that an earlier call has recorded.
        folder: For the training's files; default: a temporary folder, made when it is asked for.
        known: The points of earlier calls that are kept; the last one is that of `start`.
        on_report: Called with each new point, and with whether it is kept, before `report` returns.
        is_asked_to_stop: Whether the training is to pause at its next report, wherever that is.

    Raises:
        ConfigurationError: A number of steps is not a whole number, or `start` and `steps` are out of order.
    """

    def __init__(
        self,
        max_steps: int,
        steps: int | None = None,
        start: int = 0,
        folder: Path | str | None = None,
        *,
        known: Sequence[CurvePoint] = (),
        on_report: Callable[[CurvePoint, bool], None] = lambda point, is_kept: None,
        is_asked_to_stop: Callable[[], bool] = lambda: False,
    ):
        self.max_steps = whole_number("max_steps", max_steps, 1)
        self.steps = self.max_steps if steps is None else whole_number("steps", steps, 1, self.max_steps)
        self.start = whole_number("start", start)
        self._folder = Path(folder) if folder is not None else None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        before = [0, *(point.step for point in known)]
        self._points = [
            point for point, last in zip(known, before, strict=False) if is_kept(point.step, last, max_steps)
        ]
        self._last = known[-1] if known else None
        self._grid = _grid(self.max_steps)
        self._reached = bisect_right(self._grid, self._last_step)
        self._on_report, self._is_asked_to_stop = on_report, is_asked_to_stop
        self._names: set[str] = set()
        self._paused = self._stopped = self._over = False
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"Trial(max_steps={self.max_steps}, steps={self.steps}, start={self.start}, reported={self._last_step})"

    @property
    def folder(self) -> Path:
        """The folder for this training's files: what a call leaves there, the call that continues it finds."""
        if self._folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="evo-trial-")
            self._folder = Path(self._temporary.name)
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    @property
    def paused(self) -> bool:
        """Whether the training is to end now, for frameworks that have a flag for it."""
        return self._paused

    @property
    def stopped(self) -> bool:
        """Whether it has paused because the search is being stopped, wherever it was."""
        return self._stopped

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        """The points that are kept: at most 200, evenly spaced in the logarithm of the step, and the last one."""
        with self._lock:
            points = list(self._points)
            if self._last is not None and (not points or points[-1].step != self._last.step):
                points.append(self._last)
            return tuple(points)

    def report(self, step: int, value: float, cost: float | None = None, **measures: float) -> None:
        """Report what the training has reached; save what is needed to continue from here before that.

        Args:
            step: Steps done, from 1 on; each report has a larger one. A call that continues a training may repeat the
                steps that were recorded before it: they are ignored.
            value: What is optimised, as the objective would return it now.
            cost: What the training has cost so far, in any unit; default: its steps.
            **measures: What else was measured, by name.

        Raises:
            Pause: The step is `steps` or beyond, and not the last of a full training; or the search is being stopped.
                Every later report raises it, too.
            TrialError: The step does not grow, the cost falls, a value is not a finite number, or the objective has
                returned already.
        """
        with self._lock:
            if self._over:
                raise TrialError(f"report of step {shown(step)}: the objective has returned, and its trial is over")
            if self._paused:
                raise Pause
            step = self._checked_step(step)
            if step > self.start:
                self._take(step, self._values(step, value, cost, measures))
            if self._last_step >= self.steps and self.steps < self.max_steps:
                self._paused = True
                raise Pause
            if self._last_step < self.max_steps and self._is_asked_to_stop():
                self._paused = self._stopped = True
                raise Pause

    def close(self) -> None:
        """End the trial: later reports are errors."""
        with self._lock:
            self._over = True

    @property
    def value(self) -> float | None:
        """The last value that was reported; None before the first."""
        return None if self._last is None else self._last.values[VALUE]

    @property
    def _last_step(self) -> int:
        return 0 if self._last is None else self._last.step

    def _checked_step(self, step: Any) -> int:
        if (
            type(step) is int and 0 < step < LARGEST_WHOLE
        ):  # the usual case: ten thousand reports a second are to be cheap
            number = step
        else:
            try:
                number = whole_number("step", step, 1)
            except ConfigurationError as problem:
                raise TrialError(f"report: {problem}; count steps from 1") from None
        if number <= self.start:
            return number  # a call that continues may say again what is known
        if number <= self._last_step:
            raise TrialError(f"report: step {number} follows step {self._last_step}; steps must grow")
        return number

    def _values(self, step: int, value: Any, cost: Any, measures: Mapping[str, Any]) -> dict[str, float]:
        values = {VALUE: _number(step, "value", value)}
        if cost is not None:
            values[COST] = _number(step, "cost", cost)
            before = 0.0 if self._last is None else self._last.values.get(COST, 0.0)
            if values[COST] < before:
                raise TrialError(
                    f"report: step {step}: cost {values[COST]:g} is less than the {before:g} before; it is what the "
                    "whole training has cost so far"
                )
        for name, measured in measures.items():
            if name not in self._names:
                try:
                    self._names.add(check_measure(name))
                except ValueError as problem:
                    raise TrialError(f"report: step {step}: {problem}") from None
            values[name] = _number(step, name, measured)
        return values

    def _take(self, step: int, values: dict[str, float]) -> None:
        reached = bisect_right(self._grid, step)
        keep, self._reached = reached > self._reached, reached
        self._last = CurvePoint(step, values)
        if keep:
            self._points.append(self._last)
        self._on_report(self._last, keep)


def is_kept(step: int, before: int, most: int) -> bool:
    """Return whether a point is kept: the first at or beyond one of the steps that are evenly spaced in logarithm.

    Args:
        step: The point's.
        before: The step that was reported before it; 0 for none.
        most: The steps of a full training.
    """
    grid = _grid(most)
    return bisect_right(grid, step) > bisect_right(grid, before)


@lru_cache(maxsize=8)
def _grid(most: int) -> tuple[int, ...]:
    if most <= POINTS:
        return tuple(range(1, most + 1))
    return tuple(sorted({round(most ** (place / (POINTS - 1))) for place in range(POINTS)}))


def _number(step: int, name: str, value: Any) -> float:
    if type(value) is float and math.isfinite(value):
        return value
    try:
        return number_of(value)
    except NoNumberError as problem:
        raise TrialError(f"report: step {step}: {name} is {problem}") from None
