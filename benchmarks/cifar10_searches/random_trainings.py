"""Random genomes of a space, trained in full: how far their median lies below the best that searches have found.

If it is near the best, any search is good, and a comparison of searches says little.
"""

from __future__ import annotations

import random

from benchmarks.cifar10_searches.rows import RANDOM, accuracies, best_found, random_rows, read_all, write_rows
from benchmarks.cifar10_searches.runs import Bench, train_listed
from evo.data.splits import validation_count
from evo.individual import Genome
from evo.loop.cost import counter
from evo.space import SearchSpace
from evo.space.file import load_space

POINTS_BELOW = 8
"""How far at least the median is to lie below the best, in points."""
SEED = 1000
"""Of the draws, so that they are others than those of the searches, whose seeds count from 1."""
PART = 10
"""Genomes of one run of evo: how often it is asked whether enough is known."""


def train_at_random(bench: Bench, space: str, count: int) -> None:
    """Train random genomes, those with the least arithmetic first, until what is wanted of their median is certain.

    It is certain once more than half of all are far enough below the best, whatever the others reach. The longest
    trainings take most of the time and are seldom needed.
    """
    loaded = load_space(space)
    genomes = cheapest_first(bench, loaded, count)
    for start in range(0, count, PART):
        rows, best = random_rows(read_all(bench.output), loaded.name), best_found(read_all(bench.output), loaded.name)
        below = 0 if best is None else sum(value <= best - POINTS_BELOW / 100 for value in accuracies(rows))
        if below > count / 2:
            bench.say(f"{below} of {count} random trainings are {POINTS_BELOW} points or more below the best found")
            return
        part = genomes[start : start + PART]
        name = f"{RANDOM}-{loaded.name}-{start + len(part):03}"
        bench.say(f"{name}: {len(part)} trainings, the cheapest first")
        try:
            train_listed(bench, name, loaded, part)
        finally:
            write_rows(bench, name, loaded, {"kind": RANDOM, "drawn": count, "seed": SEED})


def cheapest_first(bench: Bench, space: SearchSpace, count: int) -> list[Genome]:
    """Return random genomes, ordered by the arithmetic of their trainings."""
    generator = random.Random(SEED)
    genomes = [space.sample(generator) for _ in range(count)]
    assert space.model is not None
    assert space.dataset is not None
    dataset = bench.prepared(space.dataset)
    total = dataset.train_count
    images = total - validation_count(total)
    work = counter(space.model, space.training, dataset.image_shape, len(dataset.classes), images, total - images)
    return sorted(genomes, key=lambda genome: work(genome).amounts[0])
