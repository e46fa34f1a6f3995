"""The winner of a run as a file that trains it again, and its trained weights."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evo.errors import ConfigurationError, SearchError
from evo.evaluators.signature import Objective
from evo.files import output as written
from evo.individual import Genome
from evo.loop.execution import Execution
from evo.loop.finished import is_finished
from evo.loop.listed import space_of
from evo.loop.replay import replay_individual
from evo.loop.saved_folder import check_folder, save_folder
from evo.loop.search_loop import Observer, SilentObserver
from evo.models import MODELS
from evo.names import GIVEN, check_name, is_reference
from evo.numbers import mean, number_text
from evo.record.commands import train_options
from evo.record.folder import check_output_file
from evo.record.new_seeds import on_new_seeds
from evo.record.run import Run
from evo.record.settings import LISTED
from evo.space import SearchSpace
from evo.space.chosen import chosen, unread_by
from evo.space.file import space_from_dict
from evo.space.text import json_text, space_values, toml_text
from evo.space.training_settings import TRAINING_GENES

FORMATS = ("toml", "json")


def export(
    path: str | Path,
    objective: Objective | None = None,
    *,
    format: str = "toml",
    output: str | Path | None = None,
    weights: str | Path | None = None,
    overwrite: bool = False,
    model: str | None = None,
    dataset: str | None = None,
    data_dir: str | Path | None = None,
    data: Any = None,
    device: str | None = None,
    workers: int | None = None,
    observer: Observer | None = None,
) -> str:
    """Return a run's winner as a space file whose known configuration it is; `evo train --config` trains it again.

    Without a winner it is the best so far.

    Args:
        path: The run folder.
        objective: For the weights: the same function as before, where the run has one that takes a trial.
        format: "toml", or "json" for the same values.
        output: Also write it to this file.
        weights: Train the winner again, as `evo replay` does, and write its weights to this file (safetensors); of an
            objective that takes a trial, copy the files of the training to this folder.
        overwrite: Replace the files `output` and `weights`.
        model: For the weights: the same reference as before, where the run has a user-defined model.
        dataset: For the weights: the same reference as before, where a function of yours returns the run's data.
        data_dir: For the weights: where the dataset is, if it has moved.
        data: For the weights: the same data as before, where they were given by value and evo's cache has lost them.
        device: For the weights: another device than the run's.
        workers: For the weights: processes to train in.
        observer: Is told what to know, and of the training.

    Raises:
        RunError: The folder holds no run, or one in which nothing is complete.
        ConfigurationError: No such format, or a file that may not be written, or weights of an objective; or
            the winner of an older run whose model reads a gene that trainings read now.
        SearchError: There are no weights that bring the network back.
    """
    observer = observer or SilentObserver()
    check_name("--format", format, FORMATS)
    run = Run.load(path)
    _check_files(run, objective, output, weights, overwrite=overwrite)
    text = winner_text(run, format)
    if run.winner is None and run.settings.strategy != LISTED and not is_finished(run):
        observer.warn(f"note: run {run.shown_path} is not finished: this is the best so far, {_individual(run)}")
    if output is not None:
        with written(Path(output)) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
    if weights is not None and objective is not None:
        save_folder(run, objective, Path(weights), observer)
    elif weights is not None:
        execution = Execution(dataset, data_dir, model, device=device, workers=workers, overwrite=overwrite, data=data)
        _save_weights(run, Path(weights), execution, observer)
    return text


def _check_files(
    run: Run, objective: Objective | None, output: str | Path | None, weights: str | Path | None, *, overwrite: bool
) -> None:
    if output is not None:
        check_output_file(Path(output), "--output", overwrite=overwrite)
    if run.settings.objective is None and objective is not None:
        raise ConfigurationError(f"run {run.shown_path}: trains networks and takes no objective")
    if weights is not None and run.settings.objective is not None:
        check_folder(run, objective, Path(weights), overwrite=overwrite)
    elif weights is not None:
        check_output_file(Path(weights), "--weights", overwrite=overwrite)
    if output is not None and weights is not None and Path(output).resolve() == Path(weights).resolve():
        raise ConfigurationError(f"--weights {weights}: is the file of --output, too; choose another")


def winner_text(run: Run, format: str = "toml") -> str:
    """Return the winner of a run, or its best so far, as the text of a space file.

    Raises:
        RunError: Nothing of it is complete.
    """
    values = winner_values(run)
    return json_text(values) if format == "json" else toml_text(values, _comments(run))


def winner_values(run: Run) -> dict[str, Any]:
    """Return the values of that file.

    It has the space of the search, so that a search can begin with the winner. Where the winner has left the space, or
    an older version searched what nothing reads, it has the smallest space that holds the winner.
    """
    dataset = (run.settings.dataset or {}).get("name", run.space.dataset)
    if dataset == GIVEN or is_reference(dataset):  # which no file can name
        dataset = None
    head: dict[str, Any] = {"description": _description(run), "dataset": dataset}
    if run.settings.objective is not None:  # which reads no settings of trainings
        head["training"] = {}
    space, config = _space_of_winner(run, head)
    return space_values(space, config, **head)


def _space_of_winner(run: Run, head: Mapping[str, Any]) -> tuple[SearchSpace, Genome]:
    """Return the space of the file, and what it says of the configuration."""
    space, config, model = run.space, run.best.config, run.settings.model
    if namesakes := config.keys() - space.training.read(config).keys():
        if is_reference(model):
            raise ConfigurationError(
                f"run {run.shown_path}: only the model read its genes {', '.join(sorted(namesakes))}; every "
                "training reads genes of these names now, so no file holds this winner: rename them, and search again"
            )
        return _smallest(run, config)
    try:
        if space.problems(config):
            space = chosen(space, config, name=space.name, model=model)
        found = space_from_dict(space_values(space, config, **head), name=space.name)
        if model is not None:
            chosen(found, name=space.name, model=model)
    except ConfigurationError:
        return _smallest(run, config)
    return space, config


def _smallest(run: Run, config: Genome) -> tuple[SearchSpace, Genome]:
    """Return the smallest space that holds what is read of a configuration, and that part of it."""
    training, model = run.space.training, MODELS.get(run.settings.model or "")
    known = {*config} if model is None else {*model.genes, *TRAINING_GENES}
    idle = unread_by(run.settings.model, training, config)
    read = {name: value for name, value in training.read(config).items() if name in known - idle}
    fixed = training.model_dump(exclude_unset=True, exclude_none=True)
    fixed = {name: value for name, value in fixed.items() if name not in {*read, *idle}}
    return space_of([read], name=run.space.name, model=run.settings.model, training=fixed), read


def _description(run: Run) -> str:
    best, settings = run.best, run.settings
    what = "winner" if run.winner is not None else "best"
    label = settings.fitness_name
    where = "" if settings.strategy == LISTED else " in the search"
    parts = [f"The {what} of {run.name}, {_individual(run)}: {label} {number_text(best.fitness)}{where}"]
    tests = on_new_seeds(run, best.id).test_accuracy
    if tests and settings.fitness != "test":
        parts.append(f"test accuracy {number_text(mean(tests))} (n = {len(tests)})")
    again = f" Its model is {settings.model}: give it again by --model." if is_reference(settings.model) else ""
    return f"{', '.join(parts)}.{again}"


def _individual(run: Run) -> str:
    """Return which individual is the best, and at which step its training paused, if it did."""
    step = run.best.evaluation.paused_at
    return f"individual {run.best.id}" + (f", whose training paused at step {step}" if step is not None else "")


def _comments(run: Run) -> list[str]:
    """Return what the file is for."""
    settings = run.settings
    if settings.objective is not None:
        return [f"The objective is the function {settings.objective}, which no file can hold."]
    searched = [] if settings.strategy == LISTED else ["evo search THIS_FILE begins with this configuration."]
    if (settings.dataset or {}).get("name") == GIVEN:
        searched.append(
            "Its data were given in Python: give them again by --data-dir FILE.npz, or by evo.search(…, data=…)."
        )
    return [training_command(run, "THIS_FILE"), *searched]


def training_command(run: Run, file: str) -> str:
    """Return the command that trains what was exported to a file; empty for an objective, which evo cannot train."""
    settings = run.settings
    if settings.objective is not None:
        return ""
    words = ["--model", str(settings.model)] if is_reference(settings.model) else []
    return shlex.join(["evo", "train", "--config", file, *words, *train_options(settings)])


def _save_weights(run: Run, weights: Path, execution: Execution, observer: Observer) -> None:
    replayed = replay_individual(run.folder, run.best.id, execution, save=weights, observer=observer)
    if replayed.saved is None:
        raise SearchError(f"--weights {weights}: nothing was written: {replayed.not_saved}")
    if not replayed.came_back:
        recorded, again = replayed.recorded.fitness, replayed.again.fitness
        changed = f" ({'; '.join(replayed.changed)})" if replayed.changed else ""
        observer.warn(f"note: the weights are of a training whose fitness is {again}; it was {recorded}{changed}")
