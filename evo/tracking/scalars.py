"""What a run has recorded as numbers, each with its name, step and time, once and in the order of the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple, TypeVar

from evo.evaluation import CurvePoint, Evaluation
from evo.ranking import reach
from evo.record.run import Run
from evo.record.tables import population_figures

Entry = TypeVar("Entry")


class Scalar(NamedTuple):
    """One number.

    Attributes:
        name: As "search/fitness".
        step: Counts evaluations from 1, or generations from 0; of a curve, the step of the training.
        value: Finite.
        time: When it was known, in seconds since the epoch.
    """

    name: str
    step: int
    value: float
    time: float


class Scalars:
    """Reads a run from its beginning, as far as it has come.

    Names: `search/…` by evaluation of the search, `finalists/…` by training on new seeds, `generation/…` by generation,
    and `curve-<individual>-<replicate>/…` by step, of what an objective reports.
    """

    def __init__(self, run: Run):
        self._run = run
        self._read: Counter[str] = Counter()
        self._steps: Counter[str] = Counter()
        self._best: tuple[tuple[bool, int], float] | None = None
        self._time = 0.0
        self._reported: dict[tuple[int, int], int] = {}

    def new(self) -> Iterator[Scalar]:
        """Yield what was added since the last call."""
        for evaluation in self._unread("evaluations", self._run.results):
            if evaluation.started:
                self._time = evaluation.ended
            kind = "search" if evaluation.phase == "search" else "finalists"
            self._steps[kind] += 1
            values = self._of_search(evaluation) if kind == "search" else {"fitness": evaluation.fitness}
            yield from self._named(kind, self._steps[kind], {**values, "loss": evaluation.loss})
            if self._run.settings.max_steps is not None:
                yield from self._of_curve((evaluation.individual, evaluation.replicate), evaluation.curve)
        for key, points in self._run.reported.items():
            yield from self._of_curve(key, points)
        for generation, members in self._unread("generations", self._run.generations.items()):
            yield from self._named("generation", generation, population_figures(self._run, generation, members))
        for test in self._unread("tests", self._run.tests.values()):
            yield from self._named("finalists", self._read["tests"], {"test_accuracy": test.get("test_accuracy")})

    def _unread(self, name: str, entries: Iterable[Entry]) -> Iterator[Entry]:
        for entry in tuple(islice(entries, self._read[name], None)):
            self._read[name] += 1
            yield entry

    def _of_search(self, evaluation: Evaluation) -> dict[str, float | None]:
        fitness = evaluation.fitness if evaluation.succeeded else None
        if fitness is not None and evaluation.replicate == 0:
            # Only trainings of the same length are compared: the best is that of the longest so far.
            proposal = self._run.proposal_of(evaluation)
            candidate = (reach(proposal, paused=evaluation.paused), fitness)
            known = [candidate] if self._best is None else [self._best, candidate]
            self._best = max(known, key=lambda one: (one[0], self._run.settings.sign * one[1]))
        return {"fitness": fitness, "best": self._best[1] if self._best else None, "seconds": evaluation.seconds}

    def _of_curve(self, key: tuple[int, int], points: Iterable[CurvePoint]) -> Iterator[Scalar]:
        for point in points:
            if point.step > self._reported.get(key, 0):
                self._reported[key] = point.step
                yield from self._named(f"curve-{key[0]}-{key[1]}", point.step, point.values)

    def _named(self, kind: str, step: int, values: Mapping[str, float | None]) -> Iterator[Scalar]:
        for name, value in values.items():
            if value is not None:
                yield Scalar(f"{kind}/{name}", step, float(value), self._time)
