"""What a run has to say as numbers, each with its name, step and time, once and in the order of the journal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from evo.individual import Evaluation, reach
from evo.record.history import FIRST_FINALIST_REPLICATE
from evo.record.run import Run
from evo.record.tables import population_figures


@dataclass(frozen=True)
class Scalar:
    """One number.

    Attributes:
        name: As "search/fitness".
        step: Counts evaluations from 1, or generations from 0.
        value: Finite.
        time: When it was known, in seconds since the epoch.
    """

    name: str
    step: int
    value: float
    time: float


class Scalars:
    """Reads a run from its beginning on, as far as it has come.

    Names: `search/…` by evaluation of the search, `finalists/…` by training on new seeds, `generation/…` by generation.
    """

    def __init__(self, run: Run):
        self._run = run
        self._evaluations = self._generations = self._tests = 0
        self._searched = self._finalists = 0
        self._best: tuple[tuple[bool, int], float] | None = None
        self._time = 0.0

    def new(self) -> Iterator[Scalar]:
        """Yield what has come since the last call."""
        for evaluation in self._run.results[self._evaluations :]:
            self._evaluations += 1
            if evaluation.started:
                self._time = evaluation.ended
            yield from self._of_search(evaluation) if evaluation.phase == "search" else self._of_finalist(evaluation)
        for generation, members in tuple(islice(self._run.generations.items(), self._generations, None)):
            self._generations += 1
            figures = population_figures(self._run, members)
            yield from self._named("generation", generation, figures)
        for test in tuple(islice(self._run.tests.values(), self._tests, None)):
            self._tests += 1
            yield from self._named("finalists", self._tests, {"test_accuracy": test.get("test_accuracy")})

    def _of_search(self, evaluation: Evaluation) -> Iterator[Scalar]:
        self._searched += 1
        fitness = evaluation.fitness if evaluation.succeeded else None
        if fitness is not None and evaluation.replicate == 0:
            # Only trainings of the same length are compared: the best is that of the longest so far.
            candidate = (reach(self._run.individuals[evaluation.individual], evaluation.paused_at), fitness)
            self._best = candidate if self._best is None else max(self._best, candidate)
        best = self._best[1] if self._best is not None else None
        values = {"fitness": fitness, "best": best, "loss": evaluation.loss, "seconds": evaluation.seconds}
        yield from self._named("search", self._searched, values)

    def _of_finalist(self, evaluation: Evaluation) -> Iterator[Scalar]:
        assert evaluation.replicate >= FIRST_FINALIST_REPLICATE
        self._finalists += 1
        yield from self._named("finalists", self._finalists, {"fitness": evaluation.fitness, "loss": evaluation.loss})

    def _named(self, kind: str, step: int, values: dict[str, float | None]) -> Iterator[Scalar]:
        for name, value in values.items():
            if value is not None:
                yield Scalar(f"{kind}/{name}", step, float(value), self._time)
