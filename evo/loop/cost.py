"""What a training costs, in seconds and bytes, from its genome: a guess at first, fitted to the trainings already done.

It orders the work and tells a person how long something takes. It never changes a result.
"""

from __future__ import annotations

import json
import math
import os
import random
import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evo.data.cache import cache_root
from evo.data.splits import validation_count
from evo.files import write_json
from evo.models import MODELS
from evo.record.settings import Settings
from evo.space import SearchSpace
from evo.space.settings import TrainingSettings
from evo.training.hardware import processor_name, resolve_engine, resolve_precision

REMEMBERED = 256
"""Trainings that the rates are fitted to: the last ones, for a machine's load changes."""
DOUBT = 0.1
"""Weight of a guessed rate, against that of one training."""
TRUST = 0.3
"""Weight of a rate that one earlier training has left; that of many grows with their root."""
EVALUATION_BATCH = 125
SHORTEST, LONGEST = 1e-6, 1e9
"""Seconds of a training that can be true."""
GUESSED_RATES = {
    "mlp": (1 / 60e9, 3e-9, 15e-6, 1e-9),
    "cnn": (1 / 30e9, 3e-9, 15e-6, 1e-9),
    "numpy_mlp": (1 / 60e9, 3e-9, 50e-6, 1e-9),
}
"""Seconds an operation of the products, a parameter's update, an operator's call, and a number moved: one core of a
2021 server processor in float32."""
GUESSED_OTHER_RATES = (1e-5, 2e-3, 0.05)
"""Seconds an image, a step and a training of a model that evo knows nothing of."""


@dataclass(frozen=True)
class Count:
    """What a training does: amounts, each of which has a rate, and the bytes that it needs beside the data."""

    amounts: tuple[float, ...]
    memory: float = 0.0


class CostModel:
    """Predicts seconds as a sum of amounts times rates; the rates are fitted to the trainings done.

    Args:
        count: Counts what the training of a configuration does.
        rates: Guessed seconds a unit of each amount.
        known: What earlier trainings on this machine have made of them, if there were any.
        known_from: How many those were.
    """

    def __init__(
        self,
        count: Callable[[Mapping[str, Any]], Count],
        rates: Sequence[float],
        known: Sequence[float] | None = None,
        known_from: int = 0,
    ):
        self._count, self._rates = count, tuple(rates)
        # Not zero, even where the last fit was: a rate counts again when trainings show it.
        self._prior = tuple(max(now / guess, 0.01) for now, guess in zip(known or rates, rates, strict=True))
        self._factors = self._prior
        self.known_from = known_from
        self._rows: deque[tuple[list[float], float]] = deque(maxlen=REMEMBERED)
        self._fitted = True
        self.trainings = 0

    @property
    def rates(self) -> tuple[float, ...]:
        """Seconds a unit of each amount, by what is known now."""
        if not self._fitted:
            self._fit()
        return tuple(rate * factor for rate, factor in zip(self._rates, self._factors, strict=True))

    def seconds(self, config: Mapping[str, Any]) -> float:
        """Return how long a training takes, by what is known now."""
        return sum(amount * rate for amount, rate in zip(self._count(config).amounts, self.rates, strict=True))

    def memory(self, config: Mapping[str, Any]) -> float:
        """Return the bytes that a training needs beside the data: weights, gradients, optimiser, activations."""
        return self._count(config).memory

    def learn(self, config: Mapping[str, Any], seconds: float) -> None:
        """Take in how long a training took."""
        if SHORTEST < seconds < LONGEST:
            parts = [amount * rate for amount, rate in zip(self._count(config).amounts, self._rates, strict=True)]
            self._rows.append((parts, seconds))
            self.trainings += 1
            self._fitted = False

    def _fit(self) -> None:
        """Fit factors of the rates, none below zero, to the trainings.

        How the rates compare that were guessed, or that earlier trainings have left, counts a little, too; how fast
        the machine is, only in the second case. The more trainings there were, the more it counts.
        """
        import numpy as np

        self._fitted = True

        parts, seconds = (np.array(column) for column in zip(*self._rows, strict=True))
        # Relative errors: a short training counts as much as a long one. One rate alone is to be the mean.
        weights = 1 / seconds if len(self._rates) > 1 else np.full(len(seconds), 1 / seconds.mean())
        trust = max(DOUBT, TRUST * self.known_from**0.5)
        ratios = np.log(seconds / (parts @ self._prior))
        speed = float(np.exp(ratios.sum() / (len(ratios) + TRUST**2 * self.known_from)))
        rows = np.vstack([parts * speed * weights[:, None], trust * np.eye(len(self._rates))])
        target = np.concatenate([seconds * weights, trust * np.array(self._prior)])
        with suppress(np.linalg.LinAlgError, RuntimeError):  # it may fail to converge; the old rates then hold
            factors = np.linalg.lstsq(rows, target, rcond=None)[0]
            if factors.min() < 0:
                from scipy.optimize import nnls

                factors, _ = nnls(rows, target)
            self._factors = tuple(map(float, speed * factors))


def cost_model(settings: Settings, training: TrainingSettings) -> CostModel:
    """Return the cost model of a run's trainings, with the rates of earlier runs on this machine if there are any."""
    if settings.model is None or settings.dataset is None:
        return CostModel(lambda config: Count((1.0,)), (1.0,))
    shape, classes = tuple(settings.dataset["image_shape"]), len(settings.dataset["classes"])
    total = int(settings.dataset["train_count"])
    held_out = int(settings.dataset["test_count"]) if settings.fitness == "test" else validation_count(total)
    images = total if settings.fitness == "test" else total - held_out
    count = counter(settings.model, training, shape, classes, images, held_out)
    return CostModel(count, guessed_rates(settings.model), *known_rates(rates_name_of(settings)))


def counter(
    model: str, training: TrainingSettings, shape: tuple[int, ...], classes: int, images: int, held_out: int
) -> Callable[[Mapping[str, Any]], Count]:
    """Return what counts a training of a model.

    Args:
        model: A shipped model's name, or anything else for a model of the user's own.
        training: The settings that no gene decides.
        shape: (channels, height, width) of an image.
        classes: Number of classes.
        images: Images of the training part.
        held_out: Images that a point of the learning curve is measured on.
    """
    fixed = training.model_dump(exclude_none=True)
    channels, height, width = shape

    def count(config: Mapping[str, Any]) -> Count:
        setting = {**fixed, **config}
        steps, batch = int(setting["steps"]), min(int(setting["batch_size"]), images)
        measured = images + held_out * -(-steps // training.evaluate_every)
        if model not in MODELS:
            return Count((steps * batch + measured / 3, steps, 1.0))
        work = MODELS[model].workload(config, (channels, height, width), classes)
        amounts = (
            steps * batch * work.training_operations + measured * work.operations,
            steps * work.parameters,
            (3 * steps + measured / EVALUATION_BATCH) * work.calls,
            (3 * steps * batch + measured) * work.activations,
        )
        # Weights, gradients and Adam's two moments; activations and their gradients: four bytes each.
        return Count(amounts, memory=16.0 * work.parameters + 8.0 * batch * work.activations)

    return count


def guessed_rates(model: str) -> tuple[float, ...]:
    """Return the rates of a machine that has not trained the model yet."""
    return GUESSED_RATES.get(model, GUESSED_OTHER_RATES)


def rates_name(model: str, shape: Sequence[int], device_name: str, precision: str, engine: str) -> str:
    """Return the name under which a machine's rates for a shipped model and a shape of images are kept."""
    return "; ".join((model, "x".join(map(str, shape)), device_name, precision, engine))


def rates_name_of(settings: Settings) -> str:
    """Return that of a run."""
    shape = (settings.dataset or {}).get("image_shape", ())
    return rates_name(settings.model or "", shape, settings.device_name, settings.precision, settings.engine)


def known_rates(name: str) -> tuple[tuple[float, ...] | None, int]:
    """Return the rates that earlier runs on this machine have left, and from how many trainings; None without any."""
    try:
        entry = _calibrations()[name]
        rates, trainings = tuple(map(float, entry["rates"])), min(REMEMBERED, int(entry["trainings"]))
    except (ValueError, KeyError, TypeError, OverflowError):
        return None, 0
    expected = len(guessed_rates(name.partition(";")[0]))
    sound = len(rates) == expected and all(0 <= rate < math.inf for rate in rates) and any(rates) and trainings > 0
    return (rates, trainings) if sound else (None, 0)


def keep_rates(settings: Settings, model: CostModel) -> None:
    """Leave a shipped model's rates for later runs on this machine and for `evo check`."""
    if settings.model not in MODELS or not model.trainings:
        return
    entry = {"rates": model.rates, "trainings": min(REMEMBERED, model.known_from + model.trainings)}
    with suppress(OSError, ValueError):  # a cache that cannot be written is no loss
        write_json(_calibration_file(), _calibrations() | {rates_name_of(settings): entry})


def _calibrations() -> dict[str, Any]:
    try:
        entries = json.loads(_calibration_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _calibration_file() -> Path:
    return cache_root() / "calibration.json"


DRAWS = 200
IMAGES: dict[str, tuple[tuple[int, int, int], int]] = {"cifar10": ((3, 32, 32), 50_000), "digits": ((1, 8, 8), 1500)}
"""Shape and number of the training images, where it is known without reading them."""
CLASSES = 10


@dataclass(frozen=True)
class Estimate:
    """What trainings of genomes drawn at random cost.

    Attributes:
        mean: Seconds of a training on average.
        longest: Seconds of the longest of those drawn.
        memory: Bytes of the largest, beside the data.
        cores: Trainings at a time.
        trainings: Trainings on this machine that it is fitted to; with 0 it is a guess.
    """

    mean: float
    longest: float
    memory: float
    cores: int
    trainings: int

    def total(self, trainings: int) -> float:
        """Return the seconds of so many trainings."""
        return self.mean * trainings / min(self.cores, trainings)


def estimate(space: SearchSpace) -> Estimate | None:
    """Return what trainings of a space cost; None where model, dataset or a number of steps is not known."""
    fixed = space.training.model_dump(exclude_none=True)
    if space.model is None or space.dataset not in IMAGES or not {"steps", "batch_size"} <= {*fixed, *space.genes}:
        return None
    shape, total = IMAGES[space.dataset]
    held_out = validation_count(total)
    precision = resolve_precision("auto", "cpu")
    engine = resolve_engine("auto", "cpu", precision)
    name = rates_name(space.model, shape, processor_name(), precision, engine)
    rates, trainings = known_rates(name)
    count = counter(space.model, space.training, shape, CLASSES, total - held_out, held_out)
    model = CostModel(count, guessed_rates(space.model), rates, trainings)
    rng = random.Random(0)
    genomes = [space.sample(rng) for _ in range(DRAWS)]
    seconds = [model.seconds(genome) for genome in genomes]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = max(model.memory(genome) for genome in genomes)
    return Estimate(statistics.fmean(seconds), max(seconds), memory, cores, trainings)
