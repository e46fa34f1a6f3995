"""What a training costs, in seconds and bytes, from its genome: a guess at first, then fitted.

It orders the work, tells a person how long something takes, and keeps a time budget. What it has measured of a machine
never changes a result; counted work at the shipped rates decides how many finalists there are.
"""

from __future__ import annotations

import json
import math
import random
import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from evo.data.cache import cache_root
from evo.data.splits import validation_count
from evo.evaluation import Phase
from evo.files import read_file, write_json
from evo.individual import DURATION, STEPS
from evo.models import MODELS
from evo.processes import usable_cores
from evo.record.settings import TRAIN_IMAGES, Settings
from evo.space import SearchSpace
from evo.space.problems import IMAGES
from evo.space.training_settings import TrainingSettings
from evo.training.hardware import processor_name, resolve_engine, resolve_precision

REMEMBERED = 256
"""Trainings that the speed is fitted to: only the last ones, because a machine's load changes."""
TRUST = 0.1
"""Weight of a training of an earlier run, against that of one of this run."""
OUTLIER = 10.0
"""A training that took more than this many times what is usual counts as this many: the machine was asleep."""
EVALUATION_BATCH = 125
SHORTEST, LONGEST = 1e-6, 1e9
"""Seconds of a training that can be true."""
GUESSED_RATES = {
    "mlp": (1 / 60e9, 3e-9, 15e-6, 1e-9),
    "cnn": (1 / 30e9, 3e-9, 15e-6, 1e-9),
    "numpy_mlp": (1 / 60e9, 3e-9, 50e-6, 1e-9),
}
"""Seconds per operation of the products, per update of a parameter, per call of an operator, and per number moved, on
one core of a 2021 server processor in float32."""
GUESSED_RATES_BF16 = {"mlp": (1 / 1e12, 4e-9, 60e-6, 1.5e-9), "cnn": (1 / 800e9, 3e-9, 400e-6, 1.2e-9)}
"""The same in bfloat16, on one core of a processor with AMX (2023): fitted to the steps of 70 random genomes of the
space `mlp` and 29 of `cnn`; four of five took 0.75 to 1.4 times as long as is guessed."""
GUESSED_OTHER_RATES = (1e-5, 2e-3, 0.05)
"""Seconds per image, per step and per training of a model that evo knows nothing about."""


@dataclass(frozen=True)
class Count:
    """What a training does: amounts, each of which has a rate, and the bytes that it needs beside the data."""

    amounts: tuple[float, ...]
    memory: float = 0.0


Counter: TypeAlias = Callable[[Mapping[str, Any]], Count]


class CostModel:
    """Predicts seconds as guessed ones times one factor: how slow this machine is, fitted to the trainings done.

    Args:
        count: Counts what the training of a configuration does.
        rates: Guessed seconds per unit of each amount.
        known: The factor that earlier runs on this machine have left, if there were any.
        known_from: From how many trainings.
        of_finalists: Counts what a finalist's training does, where that is more.
    """

    def __init__(
        self,
        count: Counter,
        rates: Sequence[float],
        known: float = 1.0,
        known_from: int = 0,
        of_finalists: Counter | None = None,
    ):
        self._count, self._of_finalists, self._rates = count, of_finalists or count, tuple(rates)
        self._known, self.known_from = known, known_from
        self._rows: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)
        self._factor: float | None = known
        self.trainings = 0

    @property
    def factor(self) -> float:
        """How many times the guessed seconds a training takes: the ratio of sums, so that a total is right.

        What earlier runs have left counts as some trainings of a usual size.
        """
        if self._factor is None:
            most = OUTLIER * statistics.median(seconds / guess for guess, seconds in self._rows)
            guessed = math.fsum(guess for guess, _ in self._rows)
            taken = math.fsum(min(seconds, most * guess) for guess, seconds in self._rows)
            earlier = TRUST * self.known_from * guessed / len(self._rows)
            self._factor = (taken + earlier * self._known) / (guessed + earlier)
        return self._factor

    def seconds(self, config: Mapping[str, Any], phase: Phase = "search") -> float:
        """Return how long a training takes, by what is known now."""
        return self.factor * self._guess(config, phase)

    def memory(self, config: Mapping[str, Any]) -> float:
        """Return the bytes that a training needs beside the data: weights, gradients, optimiser, activations."""
        return self._count(config).memory

    def learn(self, config: Mapping[str, Any], seconds: float, phase: Phase = "search") -> None:
        """Learn from how long a training took."""
        if SHORTEST < seconds < LONGEST:
            self._rows.append((self._guess(config, phase), seconds))
            self._factor = None
            self.trainings += 1

    def _guess(self, config: Mapping[str, Any], phase: Phase) -> float:
        count = self._count if phase == "search" else self._of_finalists
        return sum(amount * rate for amount, rate in zip(count(config).amounts, self._rates, strict=True))


def cost_model(settings: Settings, training: TrainingSettings) -> CostModel:
    """Return the cost model of a run's trainings, with the speed that earlier runs on this machine have left."""
    rates = rates_of(settings)
    return _model_of(settings, training, *known_speed(speed_name_of(settings), rates))


def guessed_cost(settings: Settings, training: TrainingSettings) -> CostModel:
    """Return a cost model at the rates that evo ships: the same on every machine, so results may depend on it."""
    return _model_of(settings, training)


def _model_of(settings: Settings, training: TrainingSettings, known: float = 1.0, known_from: int = 0) -> CostModel:
    if settings.model is None or settings.dataset is None:
        most = settings.max_steps if STEPS not in settings.space.get("genes", {}) else None
        # A part of a training that reports costs its share of the steps.
        return CostModel(lambda config: Count((config.get(STEPS, most) / most if most else 1.0,)), (1.0,))
    search, finalists = (counter_of(settings, training, phase) for phase in ("search", "finalist"))
    return CostModel(search, rates_of(settings), known, known_from, finalists)


def counter_of(settings: Settings, training: TrainingSettings, phase: Phase = "search") -> Counter:
    """Return what counts a training of a run; see `counter`. After the search, all training images are measured."""
    assert settings.model is not None  # it trains networks
    assert settings.dataset is not None
    shape, classes = tuple(settings.dataset["image_shape"]), len(settings.dataset["classes"])
    images = training_images(settings)
    held_out = int(settings.dataset["test_count" if settings.fitness == "test" else "train_count"])
    held_out -= images if settings.fitness != "test" else 0
    train_images = settings.train_images if phase == "search" else None
    return counter(settings.model, training, shape, classes, images, held_out, train_images)


def training_images(settings: Settings) -> int:
    """Return how many images the training part of a run has."""
    assert settings.dataset is not None  # it trains networks
    total = int(settings.dataset["train_count"])
    held_out = settings.dataset.get("validation_count") or validation_count(total)
    return total if settings.fitness == "test" else total - held_out


def counter(
    model: str,
    training: TrainingSettings,
    shape: tuple[int, ...],
    classes: int,
    images: int,
    held_out: int,
    train_images: int | None = None,
) -> Counter:
    """Return what counts a training of a model.

    Args:
        model: A shipped model's name, or anything else for a user-defined model.
        training: The settings that no gene decides.
        shape: (channels, height, width) of an image.
        classes: Number of classes.
        images: Images of the training part.
        held_out: Images that a point of the learning curve is measured on.
        train_images: Images of the training part that are measured at the end; None for all.
    """
    at_the_end = images if train_images is None else min(train_images, images)
    channels, height, width = shape

    def count(config: Mapping[str, Any]) -> Count:
        batch, steps, every = training.length(config, images)
        measured = (1 + training.test_flip) * (at_the_end + held_out * -(-steps // every))
        if model not in MODELS:
            return Count((steps * batch + measured / 3, steps, 1.0))
        work = MODELS[model].workload(config, (channels, height, width), classes)
        muon = work.muon_operations if training.read(config).get("optimiser", training.optimiser) == "muon" else 0
        amounts = (
            steps * (batch * work.training_operations + muon) + measured * work.operations,
            steps * work.parameters,
            (3 * steps + measured / EVALUATION_BATCH) * work.calls,
            (3 * steps * batch + measured) * work.activations,
        )
        # Weights, gradients and Adam's two moments; activations and their gradients: four bytes each.
        return Count(amounts, memory=16.0 * work.parameters + 8.0 * batch * work.activations)

    return count


def guessed_rates(model: str, precision: str = "fp32") -> tuple[float, ...]:
    """Return the rates of a usual machine; those of "mlp" for another shipped model."""
    rates = GUESSED_RATES | (GUESSED_RATES_BF16 if precision == "bf16" else {})
    return rates.get(model, rates["mlp"]) if model in MODELS else GUESSED_OTHER_RATES


def rates_of(settings: Settings) -> tuple[float, ...]:
    """Return the guessed rates of a run's trainings."""
    return guessed_rates(settings.model or "", settings.precision)


def speed_name(model: str, shape: Sequence[int], device_name: str, precision: str, engine: str) -> str:
    """Return the name under which a machine's speed for a shipped model and a shape of images is kept."""
    return "; ".join((model, "x".join(map(str, shape)), device_name, precision, engine))


def speed_name_of(settings: Settings) -> str:
    """Return that of a run."""
    shape = (settings.dataset or {}).get("image_shape", ())
    return speed_name(settings.model or "", shape, settings.device_name, settings.precision, settings.engine)


def known_speed(name: str, rates: Sequence[float]) -> tuple[float, int]:
    """Return the factor that earlier runs on this machine have left, and from how many trainings; else 1 and 0.

    A factor that an earlier version of evo has left is one of other rates.
    """
    try:
        entry = _calibrations()[name]
        if entry["rates"] != list(rates):
            return 1.0, 0
        factor, trainings = float(entry["factor"]), min(REMEMBERED, int(entry["trainings"]))
    except (ValueError, KeyError, TypeError, OverflowError):
        return 1.0, 0
    return (factor, trainings) if 0 < factor < math.inf and trainings > 0 else (1.0, 0)


def keep_speed(settings: Settings, model: CostModel) -> None:
    """Leave the speed of a shipped model's trainings for later runs on this machine and for `evo check`."""
    if settings.model not in MODELS or not model.trainings:
        return
    trainings = min(REMEMBERED, model.known_from + model.trainings)
    entry = {"factor": model.factor, "trainings": trainings, "rates": rates_of(settings)}
    with suppress(OSError, ValueError):  # losing a cache harms nothing
        write_json(_calibration_file(), _calibrations() | {speed_name_of(settings): entry})


def _calibrations() -> dict[str, Any]:
    try:
        entries = json.loads(read_file(_calibration_file()))
    except (OSError, ValueError, RecursionError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _calibration_file() -> Path:
    return cache_root() / "calibration.json"


DRAWS = 200
CLASSES = 10


@dataclass(frozen=True)
class Estimate:
    """What trainings of genomes drawn at random cost.

    Attributes:
        mean: Seconds of a training on average.
        longest: Seconds of the longest of those drawn.
        memory: Bytes of the largest, beside the data.
        cores: Trainings at a time.
        trainings: Trainings on this machine that it is fitted to; 0 for a guess.
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
    """Return what trainings of a space cost; None where model, dataset, steps or batch size are unknown."""
    known = {*space.training.model_dump(exclude_none=True), *space.genes}
    if space.model is None or space.dataset not in IMAGES or "batch_size" not in known or not known & {*DURATION}:
        return None
    shape, total = IMAGES[space.dataset]
    held_out = validation_count(total)
    precision = resolve_precision("auto", "cpu")
    engine = resolve_engine("auto", "cpu", precision)
    name = speed_name(space.model, shape, processor_name(), precision, engine)
    count = counter(space.model, space.training, shape, CLASSES, total - held_out, held_out, TRAIN_IMAGES)
    rates = guessed_rates(space.model, precision)
    model = CostModel(count, rates, *known_speed(name, rates))
    rng = random.Random(0)
    genomes = [space.sample(rng) for _ in range(DRAWS)]
    seconds = [model.seconds(genome) for genome in genomes]
    memory = max(model.memory(genome) for genome in genomes)
    return Estimate(statistics.fmean(seconds), max(seconds), memory, usable_cores(), model.known_from)
