"""What evaluates the genomes of a task: one noisy value at a time, and the true value, only for the analysis."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.search_quality.places import Adapter, Places
from benchmarks.search_quality.tasks import Function, Table, Task, Training, place_in_table
from evo.errors import ConfigurationError
from evo.individual import Genome, genome_key, training_seed
from evo.space import SearchSpace
from evo.space.training_settings import TrainingSettings

TRUTH_REPLICATES = 3
"""Trainings on separate seeds whose mean test accuracy counts as the true value of a real training."""
TRUTH_SEED = -1
CHANCE = 0.1
"""Accuracy that counts for a training that diverged: that of guessing."""
INSTANCES = 15
IMAGE_SIZE = 16


class Objective(Protocol):
    """What a run evaluates.

    Attributes:
        scale: The true values that count as regret 0 (the best) and as regret 1 (about a random draw's).
    """

    scale: tuple[float, float]

    def observe(self, genome: Genome, replicate: int) -> float:
        """Return one noisy value, higher is better; the same for the same genome, replicate and run."""

    def truth(self, genome: Genome) -> float:
        """Return the true value: never shown to a method."""


class TableObjective:
    """A table of trainings with several seeds per cell; the true value of a cell is their mean.

    Args:
        fitness: Shape (choices of gene 1, …, seeds).
        space: Its genes, in the order of the table's axes.
        seed: Of the run.
    """

    def __init__(self, fitness: npt.NDArray[np.float32], space: SearchSpace, seed: int):
        self.fitness, self.space, self.seed = fitness, space, seed
        means = fitness.mean(axis=-1)
        self.scale = (float(means.max()), float(np.median(means)))

    def observe(self, genome: Genome, replicate: int) -> float:
        cell = self._cell(genome)
        return float(cell[noise_number(self.seed, genome, replicate) % len(cell)])

    def truth(self, genome: Genome) -> float:
        return float(self._cell(genome).mean())

    def _cell(self, genome: Genome) -> npt.NDArray[np.float32]:
        cell: npt.NDArray[np.float32] = self.fitness[place_in_table(self.space.genes, genome)]
        return cell


class FunctionObjective:
    """A function of bbob-mixint: minus log10(1 + regret), 0 at the optimum; the instance follows from the run's seed.

    Args:
        evaluator: The adapter that knows the functions.
        function: Which one.
        seed: Of the run.
    """

    def __init__(self, evaluator: Adapter, function: Function, seed: int):
        self.evaluator = evaluator
        instance = 1 + seed % INSTANCES
        self.problem = {"function": function.number, "dimension": function.dimension, "instance": instance}
        described = evaluator.exchange(self.problem)
        self.optimum = float(described["optimum"])
        self.scale = (0.0, self._value(float(described["median"])))

    def observe(self, genome: Genome, replicate: int) -> float:
        answer = self.evaluator.exchange(self.problem | {"x": list(genome.values())})
        return self._value(float(answer["value"]))

    def truth(self, genome: Genome) -> float:
        return self.observe(genome, 0)

    def _value(self, value: float) -> float:
        return -math.log10(1 + max(value - self.optimum, 0.0))


class TrainingObjective:
    """Real trainings: validation accuracy is observed, mean test accuracy of other seeds is the truth.

    Args:
        images: The small image folder.
        known: File of true values that were measured before; new ones are appended.
        training: The task's scale.
        seed: Of the run.
    """

    def __init__(self, images: Path, known: Path, training: Training, seed: int):
        self.images, self.known, self.seed = images, known, seed
        self.scale = (training.best, training.reference)

    def observe(self, genome: Genome, replicate: int) -> float:
        return self._accuracy(genome, training_seed(self.seed, genome, replicate), test=False)

    def truth(self, genome: Genome) -> float:
        key = genome_key(genome)
        if self.known.is_file():
            for line in self.known.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                if entry["genome"] == key:
                    return float(entry["value"])
        seeds = [training_seed(TRUTH_SEED, genome, replicate) for replicate in range(TRUTH_REPLICATES)]
        value = statistics.fmean(self._accuracy(genome, seed, test=True) for seed in seeds)
        self.known.parent.mkdir(parents=True, exist_ok=True)
        # One short line in one write: workers may append at the same time.
        with self.known.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"genome": key, "value": value}) + "\n")
        return value

    def _accuracy(self, genome: Genome, seed: int, *, test: bool) -> float:
        trainer = _trainer(self.images)
        if not test:
            result = trainer.train(genome, seed)
            return float(result.held_out.accuracy) if result.held_out is not None else CHANCE
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "weights.safetensors"
            result = trainer.train(genome, seed, weights=weights)
            return float(trainer.test(genome, weights).accuracy) if result.status == "complete" else CHANCE


def noise_number(seed: int, genome: Mapping[str, Any], replicate: int) -> int:
    """Return a number that decides the noise of an evaluation: the same for every method in the same run."""
    text = f"{seed}|{genome_key(genome)}|{replicate}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest())


def make_objective(task: Task, seed: int, places: Places) -> Objective:
    """Return what evaluates a task's genomes in a run.

    Raises:
        ConfigurationError: A table, an environment or the images do not exist yet.
    """
    source = task.source
    if isinstance(source, Table):
        return TableObjective(_table(places.table(source.suite, source.dataset)), task.space(), seed)
    if isinstance(source, Function):
        return FunctionObjective(_functions(places), source, seed)
    if not places.images.is_dir():
        raise ConfigurationError(
            f"no images in {places.images}; make them with: "
            f"python -m benchmarks.search_quality setup --peers '' --data-dir FOLDER --cache {places.cache}"
        )
    return TrainingObjective(places.images, places.truth(task.name), source, seed)


@functools.cache
def _table(path: Path) -> npt.NDArray[np.float32]:
    if not path.is_file():
        raise ConfigurationError(
            f"no table {path}; make it with: python -m benchmarks.search_quality setup --peers tables"
        )
    with np.load(path, allow_pickle=False) as arrays:
        fitness: npt.NDArray[np.float32] = arrays["fitness"]
    return fitness


@functools.cache
def _functions(places: Places) -> Adapter:
    return Adapter(places, "functions", "functions_adapter.py")


@functools.cache
def _trainer(images: Path) -> Any:
    """Return evo's own trainer on the small images; one thread, as in every search."""
    import torch

    from evo.data.prepared import prepare_dataset
    from evo.models.mlp import build
    from evo.training.trainer import Trainer

    torch.set_num_threads(1)
    dataset = prepare_dataset("imagefolder", images, image_size=IMAGE_SIZE)
    # Only the last point of the learning curve matters.
    return Trainer(dataset, TrainingSettings(evaluate_every=100_000), build)
