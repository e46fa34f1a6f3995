"""`pareto`: the front is what nothing else dominates, and the objectives are those that are measured."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest

import evo
from evo.errors import ConfigurationError
from evo.individual import Individual
from evo.loop.search_loop import SilentObserver
from evo.space import SearchSpace
from evo.strategies import make_strategy
from evo.strategies.pareto import Pareto
from tests.strategies.loops import finish, lottery, make, measures_of

SPACE = SearchSpace({"width": evo.Integer(1, 1000), "skill": evo.Float(0.0, 1.0)})


def pareto(**settings: Any) -> Pareto:
    strategy = make("pareto", **{"budget": 60, "population": 20, **settings})
    assert isinstance(strategy, Pareto)
    return strategy


def undominated(points: dict[int, tuple[float, ...]]) -> set[int]:
    """The keys of those points that no other reaches or exceeds in everything, and exceeds in something."""

    def dominates(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
        return all(a >= b for a, b in zip(first, second, strict=True)) and first != second

    return {key for key, own in points.items() if not any(dominates(other, own) for other in points.values())}


def test_the_front_is_what_no_other_dominates() -> None:
    strategy = pareto(seed=3)
    individuals = finish(strategy, room=3, order=random.Random(0))
    points = {one.id: (lottery(one), -measures_of(one)["parameters"]) for one in individuals}
    assert set(strategy.front) == undominated(points)
    assert len(strategy.front) > 1
    assert strategy.front == sorted(strategy.front, key=lambda number: -lottery(individuals[number]))
    assert strategy.best is not None
    assert strategy.front[0] == strategy.best.id


@pytest.mark.parametrize(
    ("direction", "sign"), [("minimise", -1.0), ("maximise", 1.0)], ids=["few parameters", "many parameters"]
)
def test_each_objective_has_its_direction(direction: str, sign: float) -> None:
    strategy = pareto(objectives={"parameters": direction, "fitness": "maximise"})
    individuals = finish(strategy)
    points = {one.id: (lottery(one), sign * measures_of(one)["parameters"]) for one in individuals}
    assert set(strategy.front) == undominated(points)


def test_any_number_of_objectives_is_taken() -> None:
    objectives = {"fitness": "maximise", "parameters": "minimise", "seconds": "minimise", "loss": "minimise"}
    strategy = pareto(objectives=objectives, population=40)
    points: dict[int, tuple[float, ...]] = {}
    while not strategy.done():
        [individual] = strategy.ask()
        rng = random.Random(individual.id)
        measures = {name: rng.random() for name in ("parameters", "seconds", "loss", "train_accuracy")}
        strategy.tell(individual, lottery(individual), measures=measures)
        points[individual.id] = (
            lottery(individual),
            *(-measures[name] for name in ("parameters", "seconds", "loss")),
        )
    assert set(strategy.front) <= undominated(points)
    assert len(strategy.front) == min(40, len(undominated(points)))


def test_the_population_keeps_the_best_fronts() -> None:
    strategy = pareto(population=6)
    individuals = finish(strategy)
    points = {one.id: (lottery(one), -measures_of(one)["parameters"]) for one in individuals}
    last = set(strategy.populations()[-1])
    assert len(last) == 6
    front = undominated(points)
    assert front <= last if len(front) <= 6 else last <= front


def test_it_evolves_both_ends_of_the_front() -> None:
    def trained(individual: Individual) -> tuple[float, dict[str, float]]:
        """Wide networks are better; skill costs nothing."""
        width, skill = float(individual.genome["width"]), float(individual.genome["skill"])
        return skill * width**0.5, {"parameters": width}

    def front(name: str) -> list[tuple[float, float]]:
        strategy = make_strategy(name, SPACE, seed=1, budget=120)
        while not strategy.done():
            [individual] = strategy.ask()
            fitness, measures = trained(individual)
            strategy.tell(individual, fitness, measures=measures)
        points = {one.id: (trained(one)[0], -trained(one)[1]["parameters"]) for one in strategy.individuals}
        return [points[number] for number in undominated(points)]

    def volume(points: list[tuple[float, float]]) -> float:
        """The share of thirty times thirty targets that are reached."""
        targets = [(f, -1000 * s) for f in range(1, 31) for s in (k / 30 for k in range(1, 31))]
        return sum(any(p[0] >= t[0] and p[1] >= t[1] for p in points) for t in targets) / len(targets)

    assert volume(front("pareto")) > volume(front("random"))


def test_failures_are_never_in_the_population() -> None:
    strategy = pareto()
    finish(strategy, lambda individual: None if individual.id % 2 else lottery(individual))
    assert all(number % 2 == 0 for population in strategy.populations() for number in population)
    assert pareto().front == []


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        ({"fitness": "maximise", "parameter": "minimise"}, '"parameter" is not measured. Did you mean "parameters"'),
        ({"fitness": "maximise", "size": "minimise"}, "Known: fitness, parameters, seconds, loss, train_accuracy"),
        ({"fitness": "max", "seconds": "minimise"}, 'objectives.fitness: must be "maximise" or "minimise", got "max"'),
        ({"fitness": "maximise"}, "must be fitness and at least one of parameters, .*, got fitness"),
        ({"parameters": "minimise", "loss": "minimise"}, "must be fitness and at least one of"),
        ({}, "must be fitness and at least one of"),
        (
            {"fitness": "minimise", "seconds": "minimise"},
            r'objectives\.fitness: must be "maximise".* because it is an accuracy',
        ),
        ([("fitness", "maximise"), ("seconds", "minimise")], 'objectives: must be "maximise" or "minimise" by name'),
    ],
)
def test_objectives_that_cannot_be_are_refused(objectives: dict[str, str], message: str) -> None:
    """Those of trainings; a function of the user's own measures what it likes, see tests/test_goals.py."""
    with pytest.raises(ConfigurationError, match=message):
        evo.search("mlp", strategy="pareto", objectives=objectives, budget=4)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (
            'objectives = { fitness = "maximise", flops = "minimise" }',
            'search.objectives: "flops" is not measured. Did you mean',
        ),
        ('objectives = { fitness = "maximise" }', "search.objectives: must be fitness and at least one of"),
        (
            'objectives = { fitness = "minimise", seconds = "minimise" }',
            'search.objectives.fitness: must be "maximise", got "minimise"',
        ),
        (
            'strategy = "ga"\nobjectives = { fitness = "maximise", loss = "minimise" }',
            'search.objectives: only the strategy "pareto" takes them, and strategy is "ga"',
        ),
    ],
    ids=["not measured", "only one", "minimised fitness", "another strategy"],
)
def test_objectives_of_a_space_file_are_checked_with_the_file(tmp_path: Path, search: str, message: str) -> None:
    file = tmp_path / "space.toml"
    file.write_text(f'[search]\n{search}\n[genes.x]\ntype = "float"\nlow = 0.0\nhigh = 1.0\n')
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        evo.load_space(file)


@pytest.mark.parametrize(("strategy", "said"), [("random", True), ("pareto", False)])
def test_a_strategy_that_has_no_use_for_the_spaces_objectives_says_so(strategy: str, said: bool) -> None:
    class Listener(SilentObserver):
        def notify(self, message: str) -> None:
            heard.append(message)

    heard: list[str] = []
    space = evo.SearchSpace(SPACE.genes, search={"objectives": {"fitness": "maximise", "seconds": "minimise"}})
    evo.search(space, lambda config: 0.0, strategy=strategy, budget=4, observer=Listener())
    note = "note: the space's objectives are for strategy pareto; random uses only fitness"
    assert (note in heard) == said


def test_objectives_of_another_strategy_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"--objectives: strategy surrogate has no such setting; .*: pareto"):
        evo.search("mlp", strategy="surrogate", objectives={"fitness": "maximise", "seconds": "minimise"})


def test_an_older_run_that_minimised_fitness_is_read_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minimised = {"fitness": "minimise", "seconds": "minimise"}
    with monkeypatch.context() as older:
        for place in ("evo.space.settings", "evo.loop.goals", "evo.strategies.pareto"):
            older.setattr(f"{place}.check_objectives", lambda objectives, recorded=False, own=False: None)
        space = evo.SearchSpace(SPACE.genes, search={"objectives": minimised})
        evo.search(space, lambda config: config["skill"], strategy="pareto", budget=4, output=tmp_path / "run")
    read = evo.load(tmp_path / "run")
    assert read.settings.objectives == read.space.search.objectives == minimised
    assert len(evo.resume(tmp_path / "run", lambda config: config["skill"], budget=6).table) == 6
    with pytest.raises(ConfigurationError, match='must be "maximise"'):
        evo.SearchSpace(SPACE.genes, search={"objectives": minimised})


def test_what_the_training_does_not_report_is_said_with_what_it_does() -> None:
    strategy = pareto(population=1, pending=1)
    [individual] = strategy.ask()
    strategy.tell(individual, 0.5, measures={"seconds": 1.0})
    with pytest.raises(ConfigurationError, match="individual 0 reports no parameters; it reports fitness, seconds"):
        strategy.ask()


def test_the_default_objectives_are_those_of_trainings(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="strategy pareto: name what your function measures"):
        evo.search(SPACE, lambda config: config["skill"], strategy="pareto", budget=8, output=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_an_objective_of_the_users_own_has_its_seconds() -> None:
    objectives = {"fitness": "maximise", "seconds": "minimise"}
    run = evo.search(SPACE, lambda config: config["skill"], strategy="pareto", budget=8, objectives=objectives)
    assert len(run.table) == 8
    assert run.settings.objectives == objectives


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("measure", ["train_accuracy", "seconds"])
def test_what_a_shared_curve_does_not_show_is_measured_for_every_genome(tmp_path: Path, measure: str) -> None:
    space = evo.SearchSpace(
        {"hidden_layers": evo.Layers(choices=[[4], [8]]), "steps": evo.Integer(10, 40, step=10)},
        model="mlp",
        dataset="digits",
        training={"evaluate_every": 10, "learning_rate": 0.01, "batch_size": 64},
    )
    run = evo.search(
        space,
        strategy="pareto",
        objectives={"fitness": "maximise", measure: "minimise"},
        budget=8,
        population=4,
        finalists=0,
        workers=1,
        output=tmp_path / "run",
    )
    assert len(run.table) == 8
    assert run.table["shared_with"].isna().all()
    assert (run.table[measure] > 0).all()
