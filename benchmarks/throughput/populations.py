"""The populations that the benchmarks train: built by evo from fixed seeds, so that every machine trains the same."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from evo.errors import ConfigurationError, did_you_mean
from evo.evaluators.base import Task
from evo.individual import STEPS, Genome, training_seed
from evo.space import SearchSpace
from evo.space.file import load_space
from evo.space.genes import Boolean, Categorical, Float, Integer, Layers
from evo.space.training_settings import TrainingSettings

SEED = 2019
GA1: Genome = {"hidden_layers": (1000, 500, 250, 100), "batch_size": 1609, "learning_rate": 1.68e-4}
"""The report's best genome of its first genetic algorithm."""
MEMBERS = {"report": 8, "homogeneous": 8, "small": 16, "cnn": 6, "pooled": 6}
SPACES = {"report": "report", "homogeneous": "report", "cnn": "cnn_classic"}
MEMBERS_ON_A_GPU = {"report": 32}


@dataclass(frozen=True)
class Population:
    """Networks that are trained together.

    Attributes:
        name: One of `MEMBERS`.
        model: A shipped model's name.
        training: What its trainings share.
        members: One genome per network, without `steps`.
    """

    name: str
    model: str
    training: TrainingSettings
    members: tuple[Genome, ...]

    def tasks(self, steps: int, order: Sequence[int] | None = None) -> list[Task]:
        """Return one training per member, of `steps` optimiser steps each.

        Args:
            steps: Steps of each member.
            order: Places of the members in the order in which to train them; None for all, in their own order.
        """
        return [
            Task(place, 0, training_seed(SEED, self.members[place], place), self.members[place] | {STEPS: steps})
            for place in (order if order is not None else range(len(self.members)))
        ]

    def batch_size(self, place: int, largest: int) -> int:
        """Return the batch size of a member, at most the `largest` images of the training part."""
        value = self.members[place]["batch_size"]
        assert isinstance(value, int)
        return min(value, largest)


def make_population(name: str, members: int | None = None, *, gpu: bool = False) -> Population:
    """Return a population; a smaller one is the start of a larger one.

    Args:
        name: One of `MEMBERS`.
        members: How many networks; None for the number in `MEMBERS`.
        gpu: Whether it is for a GPU, which needs more networks to be busy.
    """
    if name not in MEMBERS:
        hint = did_you_mean(name, MEMBERS)
        raise ConfigurationError(f'--populations: unknown population "{name}".{hint} Known: {", ".join(MEMBERS)}')
    count = members or (MEMBERS_ON_A_GPU if gpu else MEMBERS).get(name, MEMBERS[name])
    space = OWN_SPACES[name]() if name in OWN_SPACES else load_space(SPACES[name])
    if name == "homogeneous":
        genomes = [dict(GA1) for _ in range(count)]
    else:
        generator = random.Random(SEED)
        drawn = (space.sample(generator) for _ in itertools.count())
        genomes = list(itertools.islice((genome for genome in drawn if genome.get("block") != "classic"), count))
    without_steps = tuple({gene: value for gene, value in genome.items() if gene != STEPS} for genome in genomes)
    return Population(name, space.model or "mlp", space.training, without_steps)


def _small_space() -> SearchSpace:
    return SearchSpace(
        {
            "hidden_layers": Layers(depth=(1, 2), width=(16, 128), log=True),
            "learning_rate": Float(1e-4, 1e-2, log=True),
            "batch_size": Integer(32, 256, log=True),
            "steps": Integer(1, 1000, step=1),
        },
        name="small",
        model="mlp",
    )


def _pooled_space() -> SearchSpace:
    """Return CNNs of the space `cnn`: its pooled ones and its recipe, without the widest, which take long."""
    return SearchSpace(
        {
            "channels": Layers(depth=(2, 4), width=(32, 160), log=True),
            "block": Categorical(("pooled", "classic")),
            "convolutions": Integer(1, 3, when={"block": "pooled"}),
            "residual": Boolean(when={"block": "pooled", "convolutions": [2, 3]}),
            "activation": Categorical(("relu", "gelu", "silu")),
            "learning_rate": Float(1e-2, 1e-1, log=True),
            "batch_size": Integer(128, 512, log=True),
            "steps": Integer(1, 1000, step=1),
        },
        name="pooled",
        model="cnn",
        training={
            "optimiser": "sgd",
            "momentum": 0.85,
            "weight_decay": 5e-4,
            "label_smoothing": 0.2,
            "augment": "flip_crop",
            "crop_padding": 2,
        },
    )


OWN_SPACES = {"small": _small_space, "pooled": _pooled_space}
