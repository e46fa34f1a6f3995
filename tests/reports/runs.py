"""Runs to report on, made in this process by functions that take no time."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import evo
from evo.evaluation import CurvePoint, Evaluation
from evo.individual import Individual, training_seed
from evo.record.run import Run
from evo.record.settings import Settings
from tests.images import FACTS


def space_of_kinds() -> evo.SearchSpace:
    """Layers, a log scale, a category and a gene that is active only now and then."""
    return evo.SearchSpace(
        {
            "layers": evo.Layers(depth=(1, 4), width=(8, 256), log=True),
            "rate": evo.Float(1e-4, 1e-1, log=True),
            "activation": evo.Categorical(["relu", "gelu", "tanh"]),
            "use_dropout": evo.Boolean(),
            "dropout": evo.Float(0.1, 0.5, when={"use_dropout": True}),
            "idle": evo.Integer(1, 9),
        }
    )


def objective(config: dict[str, Any], seed: int) -> float:
    """The rate decides nearly everything, and `idle` nothing; one in fifteen fails."""
    chance = random.Random(seed)
    if chance.random() < 1 / 15:
        raise ValueError(f"loss {chance.random():.6f} is too large")
    return -abs(math.log10(config["rate"]) + 2.5) - 0.1 * len(config["layers"]) + chance.gauss(0, 0.01)


def search(output: Path, budget: int = 120, strategy: str = "ga", finalists: int = 2, **named: Any) -> Run:
    """Return a search of that objective, finished."""
    return evo.search(
        space_of_kinds(),
        objective=objective,
        strategy=strategy,
        budget=budget,
        population=min(10, budget),
        finalists=finalists,
        seed=3,
        output=output,
        **named,
    )


def written_by_hand(
    individuals: list[Individual], evaluations: list[Evaluation], space: evo.SearchSpace, output: Path, **settings: Any
) -> Run:
    """Return a run of given records, with its CSV files."""
    named: dict[str, Any] = {"objective": "f", "strategy": "ga", "seed": 0, "population": 4}
    named |= {"generations": None, "budget": 99, "time_budget": None}
    asked = Settings(space=space.to_dict(), space_name=space.name, finalists=0, **{**named, **settings})
    run = Run.create(asked, output)
    for individual in individuals:
        run.record_proposal(individual)
    for evaluation in evaluations:
        run.record(evaluation)
    run.write_tables()
    run.close()
    return run


def paused_run(output: Path) -> Run:
    """Return a search by `halving` of which only paused trainings are known, at 100 and at 300 of 900 steps."""
    training = {"learning_rate": 0.01, "batch_size": 64}
    genes = {"hidden_layers": evo.Layers(choices=[(4,), (8,)]), "steps": evo.Integer(100, 900, step=100)}
    space = evo.SearchSpace(genes, name="mine", model="mlp", dataset="digits", training=training)
    named = {"objective": None, "model": "mlp", "dataset": FACTS, "strategy": "halving", "continuations": True}
    halving = evo.make_strategy("halving", space, seed=0, population=4, budget=99, continuations=True)
    individuals = [replace(one, until=until) for one, until in zip(halving.ask(2), (100, 300), strict=True)]
    parts = [
        Evaluation(one.id, 0, 1, "partial", 0.5, validation_accuracy=0.5, steps_trained=one.until)
        for one in individuals
    ]
    return written_by_hand(individuals, parts, space, output, **named)


def line_of(length: int, output: Path) -> Run:
    """Return a run in which every individual is a little better than the one before, its parent."""
    space = evo.SearchSpace({"x": evo.Integer(0, 10 * length)})
    individuals = [
        Individual(n, {"x": n}, n // 5, (n - 1,) if n else (), "mutation" if n else "random") for n in range(length)
    ]
    evaluations = [
        Evaluation(
            n, 0, training_seed(0, {"x": n}, 0), "complete", n / length, seconds=1.0, worker=f"worker-{n % 2}",
            started=1e9 + n, curve=(CurvePoint(1, {"train_loss": 0.5, "validation_accuracy": n / length}),),
        )
        for n in range(length)
    ]  # fmt: skip
    return written_by_hand(individuals, evaluations, space, output)
