"""What a training costs, in seconds and bytes, from its genome: a guess at first, fitted to the trainings already done.

It orders the work and tells a person how long something takes. It never changes a result.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evo.data.cache import cache_root
from evo.data.splits import validation_count
from evo.files import write_json
from evo.models.workload import WORKLOADS
from evo.settings import Settings
from evo.space_settings import TrainingSettings

REMEMBERED = 256
"""Trainings that the rates are fitted to: the last ones, for a machine's load changes."""
DOUBT = 0.1
"""Weight of a rate before any training, against that of one training."""
EVALUATION_BATCH = 125
GUESSED_RATES = {
    "mlp": (1 / 60e9, 3e-9, 15e-6, 1e-9),
    "cnn": (1 / 30e9, 3e-9, 15e-6, 1e-9),
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
        rates: Seconds a unit of each amount, before anything is known.
    """

    def __init__(self, count: Callable[[Mapping[str, Any]], Count], rates: Sequence[float]):
        self._count = count
        self._rates, self._factors = tuple(rates), (1.0,) * len(rates)
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
        if seconds > 0:
            parts = [amount * rate for amount, rate in zip(self._count(config).amounts, self._rates, strict=True)]
            self._rows.append((parts, seconds))
            self.trainings += 1
            self._fitted = False

    def _fit(self) -> None:
        """Fit factors of the rates, none below zero, to the trainings; the first rates count as a doubtful training."""
        import numpy as np

        parts, seconds = (np.array(column) for column in zip(*self._rows, strict=True))
        # Relative errors: a short training counts as much as a long one. One rate alone is to be the mean.
        weights = 1 / seconds if len(self._rates) > 1 else np.full(len(seconds), 1 / seconds.mean())
        rows = np.vstack([parts * weights[:, None], DOUBT * np.eye(len(self._rates))])
        target = np.concatenate([seconds * weights, np.full(len(self._rates), DOUBT)])
        factors = np.linalg.lstsq(rows, target, rcond=None)[0]
        if factors.min() < 0:
            from scipy.optimize import nnls

            factors, _ = nnls(rows, target)
        self._factors, self._fitted = tuple(map(float, factors)), True


def cost_model(settings: Settings, training: TrainingSettings) -> CostModel:
    """Return the cost model of a run's trainings, with the rates of earlier runs on this machine if there are any."""
    if settings.model is None or settings.dataset is None:
        return CostModel(lambda config: Count((1.0,)), (1.0,))
    shape, classes = tuple(settings.dataset["image_shape"]), len(settings.dataset["classes"])
    total = int(settings.dataset["train_count"])
    held_out = int(settings.dataset["test_count"]) if settings.fitness == "test" else validation_count(total)
    images = total if settings.fitness == "test" else total - held_out
    count = counter(settings.model, training, shape, classes, images, held_out)
    rates, _ = known_rates(rates_name_of(settings))
    return CostModel(count, rates or guessed_rates(settings.model))


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
        if model not in WORKLOADS:
            return Count((steps * batch + measured / 3, steps, 1.0))
        work = WORKLOADS[model](config, (channels, height, width), classes)
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


def rates_name(model: str, dataset: str, device_name: str, precision: str, engine: str) -> str:
    """Return the name under which a machine's rates are kept."""
    return "; ".join((model, dataset, device_name, precision, engine))


def rates_name_of(settings: Settings) -> str:
    """Return that of a run."""
    dataset = str((settings.dataset or {}).get("name"))
    return rates_name(settings.model or "", dataset, settings.device_name, settings.precision, settings.engine)


def known_rates(name: str) -> tuple[tuple[float, ...] | None, int]:
    """Return the rates that earlier runs on this machine have left, and from how many trainings; None without any."""
    try:
        entry = json.loads(_calibration_file().read_text(encoding="utf-8"))[name]
        rates, trainings = tuple(map(float, entry["rates"])), int(entry["trainings"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, 0
    expected = len(guessed_rates(name.partition(";")[0]))
    return (rates, trainings) if len(rates) == expected and all(rate >= 0 for rate in rates) else (None, 0)


def keep_rates(name: str, model: CostModel) -> None:
    """Leave the rates for later runs on this machine and for `evo check`; a cache that cannot be written is no loss."""
    if not model.trainings:
        return
    with suppress(OSError, ValueError):
        file = _calibration_file()
        entries = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        entries[name] = {"rates": model.rates, "trainings": model.trainings}
        write_json(file, entries)


def _calibration_file() -> Path:
    return cache_root() / "calibration.json"
