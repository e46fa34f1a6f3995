"""Training a recorded individual again, to see whether its result comes back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evo.errors import ConfigurationError
from evo.evaluators import ProcessPoolEvaluator, Task
from evo.individual import Evaluation
from evo.loop import Nobody
from evo.run import Run
from evo.setups import setup_of_run


@dataclass(frozen=True)
class Replay:
    """What was recorded and what came out now."""

    recorded: Evaluation
    again: Evaluation

    @property
    def same(self) -> bool:
        """Whether status, fitness, loss and the learning curve are equal, to the last bit."""
        first, second = self.recorded, self.again
        return (first.status, first.fitness, first.loss, first.curve) == (
            second.status,
            second.fitness,
            second.loss,
            second.curve,
        )


def replay_individual(path: Path, individual: int, *, data_dir: Path | None = None, model: str | None = None) -> Replay:
    """Train an individual of a run again, with its seed, on the run's device and in its precision.

    Raises:
        RunError: The folder holds no run.
        ConfigurationError: No such individual, or the run has an objective of the user's own.
    """
    run = Run.load(path)
    recorded = run.evaluations.get((individual, 0))
    if recorded is None:
        known = f"0 to {len(run.individuals) - 1}" if run.individuals else "none"
        raise ConfigurationError(f"run {path}: no evaluation of an individual {individual}; it has {known}")
    setup = setup_of_run(
        run,
        model=model,
        data_dir=data_dir,
        precision=recorded.precision or None,
        engine=recorded.engine or None,
        observer=Nobody(),
    )
    with ProcessPoolEvaluator(setup, workers=1) as evaluator:
        evaluator.start()
        evaluator.submit(Task(individual, 0, recorded.seed, run.individuals[individual].config))
        again = None
        while again is None:
            again = evaluator.next_completed()
    return Replay(recorded, again)
