"""What a search of a space will cost on this machine's processor, before anything is trained."""

from __future__ import annotations

import os
import random
import statistics
from dataclasses import dataclass

from evo.cost import CostModel, counter, guessed_rates, known_rates, rates_name
from evo.data.splits import validation_count
from evo.space import SearchSpace
from evo.training.hardware import processor_name, resolve_engine, resolve_precision

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
