"""The report's Table 1 and its figures, each network an ordinary training: what is there already is not done again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from evo.errors import ConfigurationError
from evo.individual import Genome
from evo.loop.deadline import StopCheck
from evo.loop.execution import Execution
from evo.loop.lifecycle import resume_run
from evo.loop.listed import check_seeds, train_configurations, train_listed
from evo.loop.search_loop import Observer
from evo.record.folder import is_run
from evo.record.run import Run
from evo.record.settings import LISTED
from evo.report2019.table1 import FIGURE_NETWORKS, SEED, Row, table1_space
from evo.space import SearchSpace


def reproduce(
    rows: Sequence[Row],
    execution: Execution,
    *,
    seeds: int,
    seed: int | None,
    figures: bool,
    observer: Observer,
    stop_check: StopCheck,
) -> Run:
    """Train rows of Table 1 on several seeds, and the two networks that only its figures show on one.

    Args:
        rows: What to train.
        execution: Where and how; `output` is the folder. One that holds rows already gets those that are missing.
        seeds: Trainings of each row.
        seed: What their seeds derive from; None for the report's, or that of the trainings that are there.
        figures: Whether to train the networks of `FIGURE_NETWORKS` in their own folders inside the output.
        observer: Watches.
        stop_check: Called often; raises `Stop` to end it.

    Returns:
        The run of the rows.

    Raises:
        ConfigurationError: Something that was asked for is wrong, or does not fit what the folder holds.
        Stop: The stop check or the time budget ended it.
    """
    assert execution.output is not None
    check_seeds(seeds)
    started = time.monotonic()
    train = partial(_train, observer=observer, stop_check=stop_check)
    run = train(table1_space(), [row.genome for row in rows], execution, seeds, seed)
    for name, space in FIGURE_NETWORKS.items() if figures else ():
        left = execution.time_budget and max(1e-3, execution.time_budget - (time.monotonic() - started))
        # NumPy computes in float32 whatever the machine has, and its rows must say so.
        numpy, settings = space.model == "numpy_mlp", run.settings
        inside = replace(
            execution,
            output=Path(execution.output) / name,
            overwrite=False,
            time_budget=left,
            # As the rows: one page shows them all.
            data_dir=execution.data_dir or (settings.dataset or {}).get("data_dir"),
            device=settings.device,
            precision="fp32" if numpy else settings.precision,
            engine="eager" if numpy else settings.engine,
        )
        train(space, space.initial, inside, 1, settings.seed)
    return run


def figure_runs(folder: Path) -> dict[str, Run]:
    """Return the runs of `FIGURE_NETWORKS` that lie in the folder of a reproduction."""
    return {name: Run.load(folder / name) for name in FIGURE_NETWORKS if is_run(folder / name)}


def _train(
    space: SearchSpace, genomes: Sequence[Genome], execution: Execution, seeds: int, seed: int | None, **watch: Any
) -> Run:
    """Start a run, or add what is missing to the one that is there."""
    if execution.overwrite or not is_run(Path(str(execution.output))):
        seed = SEED if seed is None else seed
        return train_configurations(space, genomes, execution, seeds=seeds, seed=seed, fitness="test", **watch)
    with contextlib.closing(Run.open(str(execution.output), warn=watch["observer"].warn)) as run:
        _check_same(run, space, execution, seed)
        settings = replace(run.settings, seeds=max(run.settings.seeds, seeds))
        as_before = replace(execution, device=None, precision=None, engine=None)  # "auto" is what the run has
        return resume_run(run, settings, as_before, partial(train_listed, added=genomes), **watch)


def _check_same(run: Run, space: SearchSpace, execution: Execution, seed: int | None) -> None:
    """Check that a folder's run has the same trainings, made with what is asked for now."""
    settings = run.settings
    if (settings.strategy, settings.space_name) != (LISTED, space.name):
        raise ConfigurationError(
            f"output {run.shown_path}: holds another run ({settings.strategy} on the space {settings.space_name}); "
            "choose another --output"
        )
    given = {"seed": seed, "device": execution.device, "precision": execution.precision, "engine": execution.engine}
    for option, value in given.items():
        recorded = getattr(settings, option)
        if value not in (None, "auto", recorded):
            raise ConfigurationError(
                f"--{option} {value}: the trainings in {run.shown_path} were made with {recorded}; "
                "leave the option out, or choose another --output"
            )
