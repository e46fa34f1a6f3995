"""Training a recorded individual again: whether its result comes back, how it spreads over seeds, and its weights."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evo.data.splits import validation_count
from evo.errors import ConfigurationError
from evo.evaluation import Evaluation, phase_of, replicate_number
from evo.evaluators import Evaluator, ProcessPoolEvaluator, Task, TrainingSetup
from evo.evaluators.training_task import load_builder
from evo.files import output
from evo.individual import training_seed
from evo.loop.execution import Execution, default_workers, setup_of_run
from evo.loop.search_loop import Observer, SilentObserver, completed
from evo.numbers import number_text
from evo.record.folder import check_output_file
from evo.record.run import Run
from evo.record.settings import Settings, current_versions

RESULTS_DEPEND_ON = ("evo", "torch", "numpy")
"""Packages whose version may change the last digits."""
RECORDED = Execution()
"""Everything as it was recorded."""


@dataclass(frozen=True)
class Replay:
    """What was recorded and what came out now.

    Attributes:
        recorded: The evaluation in the run.
        again: The same training, now.
        changed: What has changed since it was recorded, or may differ anyway; then the last digits may, too.
        images: Images that fitness is measured on.
        others: Trainings of the same configuration on further seeds.
        saved: The file of the trained weights.
        not_saved: Why they were not written, where they were to be.
        model: A shipped model's name, or the reference of a user-defined one.
    """

    recorded: Evaluation
    again: Evaluation
    changed: tuple[str, ...] = ()
    images: int = 1
    others: tuple[Evaluation, ...] = ()
    saved: Path | None = None
    not_saved: str = ""
    model: str | None = None

    @property
    def same(self) -> bool:
        """Whether status, fitness, loss and the learning curve are equal, to the last bit."""
        first, second = self.recorded, self.again
        return all(getattr(first, name) == getattr(second, name) for name in ("status", "fitness", "loss", "curve"))

    @property
    def tolerance(self) -> float:
        """How far the accuracy may be off: 0 where nothing has changed, else two standard errors of the accuracy.

        The error of a share of so many images is binomial; two images of each kind are added (Agresti and Coull, 1998),
        so that it is not zero for an accuracy of 1.
        """
        if not self.changed or self.recorded.accuracy is None:
            return 0.0
        count = self.images + 4
        share = (self.recorded.accuracy * self.images + 2) / count
        return 2 * math.sqrt(share * (1 - share) / count)

    @property
    def came_back(self) -> bool:
        """Whether the result is the same to the last bit or, where something has changed, within the tolerance."""
        first, second = self.recorded, self.again
        if self.same or not self.changed or first.status != second.status:
            return self.same
        return first.accuracy == second.accuracy or self.difference <= self.tolerance

    @property
    def difference(self) -> float:
        """How far the accuracy of now is from the recorded one."""
        if self.recorded.accuracy is None or self.again.accuracy is None:
            return math.inf
        return abs(self.again.accuracy - self.recorded.accuracy)


def replay_individual(
    path: Path,
    individual: int,
    execution: Execution = RECORDED,
    *,
    replicate: int = 0,
    seeds: int = 0,
    save: Path | None = None,
    observer: Observer | None = None,
) -> Replay:
    """Train an individual of a run again with its seed, on the run's device and in its precision.

    The test set stays closed.

    Args:
        path: The run folder.
        individual: Its id.
        execution: Where and how: `data_dir`, `model`, `device` and `workers`; `overwrite` replaces the file `save`.
        replicate: Which of its trainings; see `evo.evaluation.phase_of`.
        seeds: Further trainings, on seeds that neither the search nor the finalists had.
        save: Where to write the trained weights.
        observer: Is told of every training.

    Raises:
        RunError: The folder holds no run.
        ConfigurationError: No such training, the run has an objective, or `save` cannot be written.
    """
    if seeds < 0:
        raise ConfigurationError(f"--seeds: must be 0 or more, got {seeds}")
    if save is not None:
        check_output_file(save, "--save", overwrite=execution.overwrite)
    run = Run.load(path)
    recorded = _recorded(run, individual, replicate)
    observer = observer or SilentObserver()
    setup, workers = _as_recorded(run, recorded, execution, observer)
    count = min(1 + seeds, workers)
    with tempfile.TemporaryDirectory() as folder, ProcessPoolEvaluator(setup, workers=count) as evaluator:
        weights = Path(folder) / "weights.safetensors" if save is not None else None
        facts = evaluator.start()
        results = _trained(evaluator, _tasks(run, recorded, seeds, weights), observer)
        again = results.pop(replicate)
        of_weights = results.pop(replicate_number("weights"), again)
        not_saved = _saved(save, weights, run, setup, of_weights, facts) if save and weights else ""
    changed, saved = _changed(run.settings, recorded, facts), None if not_saved else save
    further = tuple(results[number] for number in sorted(results))
    return Replay(recorded, again, changed, _images(setup), further, saved, not_saved, run.settings.model)


def _as_recorded(run: Run, recorded: Evaluation, execution: Execution, observer: Observer) -> tuple[TrainingSetup, int]:
    """Return how to train as a recorded training was, unless `execution` says otherwise, and how many at a time."""
    engine = None if execution.device else recorded.engine or None
    execution = replace(execution, precision=recorded.precision or None, engine=engine).of_run(run.settings)
    setup = setup_of_run(run, execution, None, observer)
    assert isinstance(setup, TrainingSetup)  # a run of an objective has been refused
    return setup, execution.workers or default_workers(setup, setup.device)


def _images(setup: TrainingSetup) -> int:
    """Return how many images fitness is measured on."""
    data = setup.dataset
    return data.test_count if setup.fitness == "test" else data.validation_count or validation_count(data.train_count)


def _saved(
    save: Path, weights: Path, run: Run, setup: TrainingSetup, trained: Evaluation, facts: dict[str, Any]
) -> str:
    """Write the file of a trained network, if it has weights that give what was measured; return why it has not.

    Args:
        save: The file.
        weights: What the training has left, or has not; the folder is for this purpose.
        run: Has the individual.
        setup: How it was trained.
        trained: The training.
        facts: Of the machine.
    """
    if not weights.is_file():
        return trained.error or "the training is not complete"
    kept = weights.with_name("model.safetensors")
    _save(kept, weights, run, setup, trained, facts)
    if problem := _problem_here(kept, setup, trained, facts):
        return problem
    with output(save) as file:
        shutil.copyfile(kept, file)
    return ""


def _recorded(run: Run, individual: int, replicate: int) -> Evaluation:
    recorded = run.evaluations.get((individual, replicate))
    if recorded is not None and recorded.earlier:
        raise ConfigurationError(
            f"run {run.shown_path}: individual {individual} is an earlier result, from the table that the search began "
            "with; this run has no training of it that could be compared"
        )
    if recorded is not None:
        return recorded
    own = sorted(number for who, number in run.evaluations if who == individual)
    if own:
        raise ConfigurationError(
            f"run {run.shown_path}: individual {individual} has no training of replicate {replicate}; it has "
            f"{', '.join(map(str, own))} (--replicate)"
        )
    if 0 <= individual < len(run.individuals):
        raise ConfigurationError(f"run {run.shown_path}: individual {individual} was proposed and is not trained yet")
    known = f"0 to {len(run.individuals) - 1}" if run.individuals else "none"
    raise ConfigurationError(f"run {run.shown_path}: no individual {individual}; it has {known}")


def _tasks(run: Run, recorded: Evaluation, seeds: int, weights: Path | None) -> list[Task]:
    """Return the recorded training, and those on further seeds of the configuration that it stands for."""
    number, genome = recorded.individual, run.config_of(recorded.individual)
    of_search = phase_of(recorded.replicate) == "search"
    config = run.individuals[number].config if of_search else genome
    file = str(weights) if weights is not None else None
    # With free steps a search's training runs beyond the checkpoint that counted, and a paused one ends before it: the
    # weights need another training.
    until = recorded.paused_at
    beyond = until is not None or (run.settings.free_steps and of_search)
    kept = None if beyond else file
    tasks = [Task(number, recorded.replicate, recorded.seed, config, recorded.phase, weights=kept, until=until)]
    if beyond and file is not None:
        replicate = replicate_number("weights")
        tasks.append(Task(number, replicate, recorded.seed, genome, "weights", weights=file))
    for replicate in (replicate_number("replay", place) for place in range(seeds)):
        seed = training_seed(run.settings.seed, genome, replicate)
        tasks.append(Task(number, replicate, seed, genome, "replay"))
    return tasks


def _trained(evaluator: Evaluator, tasks: Sequence[Task], observer: Observer) -> dict[int, Evaluation]:
    """Do tasks of one individual; return the evaluations by replicate."""
    for task in tasks:
        evaluator.submit(task)
    results: dict[int, Evaluation] = {}
    for evaluation in completed(evaluator, "replay", observer, lambda: None, is_left=lambda: evaluator.pending):
        results[evaluation.replicate] = evaluation
        if len(tasks) > 1:
            result = (
                f"fitness {number_text(evaluation.fitness)}" if evaluation.fitness is not None else evaluation.error
            )
            place = f"{len(results)}/{len(tasks)}: seed {evaluation.seed}"
            observer.notify(f"{place}: {result}, {evaluation.seconds:.1f} s")
    return results


def _changed(settings: Settings, recorded: Evaluation, facts: dict[str, Any]) -> tuple[str, ...]:
    """Return what may change the last digits of a result."""
    versions = current_versions()
    changed = [
        f"{name} {settings.versions.get(name, 'of an unknown version')} is now {versions[name]}"
        for name in RESULTS_DEPEND_ON
        if settings.versions.get(name) != versions[name]
    ]
    then = {
        "processor": (settings.device_name, facts["device_name"]),
        "engine": (recorded.engine, facts["engine"]),
        "precision": (recorded.precision, facts["precision"]),
        "number of threads": (settings.threads, facts["threads"]),
    }
    changed += [
        f"the {what} was {before}, it is now {now}" for what, (before, now) in then.items() if before and before != now
    ]
    if str(facts["device"]).startswith("cuda"):
        changed.append("it ran on a GPU")
    return tuple(changed)


def _problem_here(path: Path, setup: TrainingSetup, evaluation: Evaluation, facts: dict[str, Any]) -> str:
    """Return why a saved network does not give its result in this process, which has not trained it."""
    from evo.training.model_state import Recall, RecallError
    from evo.training.saved_model import load_model
    from evo.training.workbench import ROUNDING, Workbench

    # In the same precision, as large losses differ by much more than rounding in another one.
    precision = facts["precision"] if facts["device"] == "cpu" else "fp32"
    bench = Workbench(setup.dataset, setup.training, precision=precision, fitness=setup.fitness)
    accuracy, loss = evaluation.accuracy, evaluation.loss
    assert accuracy is not None  # its training is complete
    assert loss is not None
    try:
        model, _ = load_model(path, load_builder(setup.model))
        images = len(bench.held_out_part)
        # Trained on a GPU, or with another engine; measured here without one.
        recorded = Recall(accuracy, loss, images, ROUNDING["bf16"])
        recorded.check(bench.recall(model.network, bench.held_out_part), "in a new process, the file of its weights")
    except (RecallError, ConfigurationError) as problem:
        return str(problem)
    return ""


def _save(
    path: Path, weights: Path, run: Run, setup: TrainingSetup, evaluation: Evaluation, facts: dict[str, Any]
) -> None:
    """Write trained weights with what it takes to rebuild the network and to normalise an image."""
    import torch

    from evo.data.tensors import fit_preprocessing, load_part
    from evo.training.saved_model import save_model
    from evo.training.tensor_file import read_tensors

    part = load_part(setup.dataset, "all_train" if setup.fitness == "test" else "train", torch.device("cpu"))
    measured = ("validation_accuracy", "test_accuracy", "train_accuracy", "loss")
    save_model(
        path,
        read_tensors(weights)[0],
        fit_preprocessing(setup.training.preprocess, part),
        {
            "model": run.settings.model,
            "config": run.config_of(evaluation.individual),
            "input_shape": list(setup.dataset.image_shape),
            "classes": list(setup.dataset.classes),
            "dataset": {name: getattr(setup.dataset, name) for name in ("name", "variant", "checksum")},
            "preprocess": setup.training.preprocess,
            "training": setup.training.model_dump(mode="json", exclude_none=True),
            "trained_on": "all_train" if setup.fitness == "test" else "train",
            "measured": {name: value for name in measured if (value := getattr(evaluation, name)) is not None},
            "individual": evaluation.individual,
            "seed": evaluation.seed,
            "run_seed": run.settings.seed,
            "strategy": run.settings.strategy,
            **{name: facts[name] for name in ("device", "device_name", "precision", "engine")},
            "versions": current_versions(),
        },
    )
