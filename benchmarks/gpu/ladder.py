"""The ladder of `benchmarks.gpu`: the usual loop, resident data, evo, and evo in several processes."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as evo's workers have it; cuBLAS reads it at its start

import torch
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.gpu.bench import (
    PRECISIONS,
    Bench,
    Precision,
    Results,
    floor_seconds,
    network_shape,
    number,
    report_population,
    seconds_per_call,
)
from benchmarks.gpu.checks import outcome, ready_pool, run_tasks
from benchmarks.gpu.prototypes import (
    begin,
)
from evo.evaluation import Evaluation
from evo.evaluators import Task
from evo.individual import Genome
from evo.training.batches import batches
from evo.training.engines import eager
from evo.training.trainer import Trainer


def usual_step(trainer: Trainer, images: TensorDataset, config: Genome) -> Callable[[], object]:
    """Return the step of the usual script: TensorDataset, DataLoader and torch's default Adam."""
    training = begin(trainer, config, 0)
    loader = DataLoader(images, batch_size=training.recipe.batch_size, shuffle=True, drop_last=True)
    endless = itertools.chain.from_iterable(itertools.repeat(loader))
    model, rate = training.state.model, number(config, "learning_rate")
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)

    def step() -> None:
        pixels, labels = next(endless)
        pixels, labels = pixels.to(trainer.device), labels.to(trainer.device)
        with trainer.autocast():
            logits = model(pixels)
        optimiser.zero_grad()
        torch.autograd.backward(functional.cross_entropy(logits.float(), labels))
        optimiser.step()

    return step


def resident_step(trainer: Trainer, config: Genome) -> Callable[[], object]:
    """Return the step with images on the device, and torch's default Adam."""
    training, part = begin(trainer, config, 0), trainer.train_part
    model, rate = training.state.model, number(config, "learning_rate")
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    order = batches(part.indices, training.recipe.batch_size, 0)

    def step() -> None:
        batch = next(order)
        with trainer.autocast():
            logits = model(trainer.preprocess(part.images.index_select(0, batch)))
        optimiser.zero_grad()
        torch.autograd.backward(functional.cross_entropy(logits.float(), part.labels.index_select(0, batch)))
        optimiser.step()

    return step


def evo_step(trainer: Trainer, config: Genome) -> Callable[[], object]:
    """Return the step of evo's trainer."""
    training = begin(trainer, config, 0)
    training.state.model.train()
    return partial(eager.step, training)


def _host_images(trainer: Trainer) -> TensorDataset:
    """Return the training part as float tensors in the computer's memory, as the usual script keeps it."""
    part = trainer.train_part
    chunks = [trainer.preprocess(part.images.index_select(0, chunk)).cpu() for chunk in torch.split(part.indices, 5000)]
    return TensorDataset(torch.cat(chunks), part.labels.index_select(0, part.indices).cpu())


def population_floor(bench: Bench, population: Sequence[Genome], precision: Precision) -> float:
    """Return the least seconds that a step of every member takes together."""
    return sum(
        floor_seconds(
            network_shape(config, bench.dataset),
            number(config, "batch_size"),
            bench.peaks[precision],
            bench.peaks["bandwidth"],
        )
        for config in population
    )


def ladder(bench: Bench) -> Results:
    """Seconds per member-step of what exists, one change per rung; then whole trainings, also in processes."""
    population = report_population(2 if bench.small else 32, 2019, bench.small)
    found: Results = {"members": len(population), "steps": [], "whole_trainings": []}
    budget = 0.35 * bench.left / (len(population) * 3 * len(PRECISIONS))
    for precision in PRECISIONS:
        trainer = bench.report_trainer(precision)
        images = _host_images(trainer)
        times: dict[str, list[float]] = {"DataLoader": [], "resident, default Adam": [], "evo": []}
        for config in population:
            rungs = (usual_step(trainer, images, config), resident_step(trainer, config), evo_step(trainer, config))
            for seconds, step in zip(times.values(), rungs, strict=True):
                seconds.append(seconds_per_call(bench, step, budget))
        floor = population_floor(bench, population, precision)
        for name, seconds in times.items():
            row = {"engine": name, "precision": precision, "seconds_per_member_step": statistics.fmean(seconds)}
            row |= {"speed_up": sum(times["DataLoader"]) / sum(seconds), "roofline_share": floor / sum(seconds)}
            found["steps"].append(row)
        del images
    for precision in reversed(PRECISIONS):
        found["whole_trainings"] += _whole_trainings(bench, population, precision, 0.0 if precision == "fp32" else 0.3)
    return found


def _whole_trainings(
    bench: Bench, population: Sequence[Genome], precision: Precision, keep: float
) -> Iterator[Results]:
    """Yield the time of trainings with their last measurement: in this process, then in 1, 2, 4 and 8 workers.

    Args:
        bench: Knows how much time is left.
        population: What to train.
        precision: Of all of them.
        keep: Share of the remaining time that is for others.
    """
    ends, steps = bench.left * keep, 10 if bench.small else 300 if bench.left > 60 else 100
    tasks = [Task(number, 0, number, {**config, "steps": steps}) for number, config in enumerate(population)]
    settings: dict[str, Any] = {"preprocess": "subtract_mean_image", "evaluate_every": 10**6}
    started = time.perf_counter()
    alone = [bench.task(precision, **settings).evaluate(task) for task in tasks]
    base = time.perf_counter() - started
    row = {"precision": precision, "steps": steps}
    floor = population_floor(bench, population, precision) * steps
    yield row | _whole_row("this process", steps, floor, base, base, alone, alone)
    for workers in (1, 2) if bench.small else (1, 4, 8, 2):
        # A start takes about ten seconds, the trainings about as long as in this process.
        if bench.left - ends < 15 + 1.5 * base:
            yield row | {"engine": f"{workers} workers", "skipped": "no time left"}
            continue
        with ready_pool(bench.setup(precision, **settings), workers, population[0]) as pool:
            started = time.perf_counter()
            evaluations = run_tasks(pool, tasks)
            seconds = time.perf_counter() - started
        yield row | _whole_row(f"{workers} workers", steps, floor, seconds, base, evaluations, alone)


def _whole_row(
    engine: str,
    steps: int,
    floor: float,
    seconds: float,
    base: float,
    evaluations: Sequence[Evaluation],
    alone: Sequence[Evaluation],
) -> Results:
    """Return a row: `seconds` for the evaluations, `base` for the same in this process, `floor` by the roofline."""
    return {
        "engine": engine,
        "seconds_per_member_step": seconds / (len(evaluations) * steps),
        "speed_up": base / seconds,
        "roofline_share": floor / seconds,
        "equal_to_alone": sum(outcome(one) == outcome(two) for one, two in zip(evaluations, alone, strict=True)),
        "complete": sum(evaluation.status == "complete" for evaluation in evaluations),
    }
