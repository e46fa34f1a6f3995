"""What is shared among twins equals what each would have found by itself, in whatever order results arrive."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import evo
from evo.data import PreparedDataset
from evo.errors import RunError
from evo.evaluation import CurvePoint, Evaluation, Status
from evo.evaluators import Evaluator, InProcessEvaluator, Task
from evo.evaluators.base import Evaluate, Setup, StopRequest
from evo.evaluators.planner import Planner
from evo.evaluators.training_task import TrainingTask
from evo.individual import Genome, Individual, training_seed
from evo.loop.cost import CostModel, known_speed, rates_of, speed_name_of
from evo.loop.deadline import Stop
from evo.loop.dispatch import Dispatch, Twins, cost_of
from evo.loop.search_loop import SilentObserver, run_search
from evo.models import ModelBuilder, mlp
from evo.record.run import Run
from evo.strategies import Strategy, make_strategy
from evo.training.engines import eager
from evo.training.progress import Training
from evo.training.trainer import Trainer
from tests.test_run import make_settings
from tests.test_twins import LARGE, SMALL, genome, make_run

CLOCK = ("seconds", "worker", "started", "seconds_before")
OWN = (*CLOCK, "shared_with", "individual")
STEPS = [10, 20, 25, 30, 35, 40, 50, 60, 80]
SEARCHED = evo.SearchSpace(
    {
        "hidden_layers": evo.Layers(choices=[(4,), (8,), (16,)]),
        "learning_rate": evo.Categorical([0.1, 0.01]),
        "steps": evo.Categorical(STEPS),
    },
    name="searched",
    model="mlp",
    dataset="digits",
    training={"evaluate_every": 10, "batch_size": 64},
)
DATASET = {"name": "digits", "image_shape": [1, 8, 8], "classes": [*"0123456789"], "train_count": 1500}
DATASET |= {"test_count": 297}


@pytest.fixture(autouse=True)
def own_cache(digits: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the rates of these trainings from other tests."""
    monkeypatch.setenv("EVO_CACHE_DIR", str(tmp_path / "own cache"))


def values(evaluation: Evaluation, but: tuple[str, ...] = CLOCK) -> dict[str, Any]:
    return {name: value for name, value in asdict(evaluation).items() if name not in but}


def carry_out(run: Run, evaluator: Evaluator) -> None:
    """Evaluate every individual of a run."""
    with Dispatch(run, evaluator) as dispatch:
        for individual in run.unevaluated():
            dispatch.submit(individual)
        while dispatch.pending:
            evaluation = dispatch.next_completed(timeout=0.1)
            assert evaluation is not None
            run.record(evaluation)
            dispatch.recorded(evaluation)


# Trainings.


class Given(Setup):
    """Evaluates by a trainer that is there already."""

    def __init__(self, trainer: Trainer):
        self.trainer = trainer

    def build(self, stop: StopRequest) -> tuple[Evaluate, dict[str, Any]]:
        return TrainingTask(self.trainer, stop), {}


def with_dropout(config: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> nn.Module:
    return mlp.build({**config, "dropout": 0.3, "batch_norm": True}, shape, classes)


class Breaks(nn.Module):
    """Gives numbers for 25 batches and none after that."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)
        self.batches: torch.Tensor
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.batches += float(self.training)
        logits: torch.Tensor = self.layer(images.flatten(1))
        return torch.where(self.batches > 25, math.nan, logits)


def breaking(config: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> nn.Module:
    return Breaks()


@pytest.fixture
def steps_done(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Count the optimiser steps, and keep the state of every training; on one thread, as workers train."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr("evo.training.checkpoint.Keeper.seconds", property(lambda self: 3600.0))
    counted, step = [0], eager.step

    def counting(training: Training) -> None:
        counted[0] += 1
        step(training)

    monkeypatch.setattr(eager, "step", counting)
    yield counted
    torch.set_num_threads(threads)


def run_in(folder: Path | None, genomes: list[Genome], **changes: Any) -> Run:
    space = make_run().settings.space
    settings = {"space": space, "objective": None, "model": "mlp", "dataset": DATASET} | changes
    run = Run.create(make_settings(**settings), folder)
    for number, one in enumerate(genomes):
        run.record_proposal(Individual(number, one))
    return run


def trainer_for(run: Run, digits: PreparedDataset, build: ModelBuilder) -> Trainer:
    return Trainer(digits, run.space.training, build, fitness=run.settings.fitness)


def check_as_by_themselves(run: Run, trainer: Trainer) -> None:
    """Every row is that of a training of its own."""
    alone = TrainingTask(trainer, StopRequest())
    for individual in run.individuals:
        seed = training_seed(run.settings.seed, individual.genome, 0)
        found = run.evaluations[individual.id, 0]
        own = alone.evaluate(Task(individual.id, 0, seed, individual.config))
        part = found.shared_with is not None and found.train_accuracy is None
        but = (*OWN, "train_accuracy") if part else OWN
        assert values(found, but) == values(own, but), individual


ORDERS: dict[str, tuple[list[Genome], int, list[int | None]]] = {
    "longest first": ([genome(60), genome(40), genome(10), genome(60)], 60, [None, 0, 0, 0]),
    "shortest first": ([genome(10), genome(20), genome(40), genome(60)], 60, [None] * 4),
    "mixed": (
        [genome(20), genome(40, LARGE), genome(40), genome(30), genome(60), genome(20, LARGE), genome(20)],
        60 + 40,
        [None, None, None, 2, None, 1, 0],
    ),
    "off the grid": ([genome(25), genome(20), genome(40), genome(25), genome(30)], 25 + 40, [None, 0, None, 0, 2]),
    "off the grid later": ([genome(40), genome(25), genome(60)], 40 + 25 + 20, [None, None, None]),
}


@pytest.mark.parametrize(("genomes", "steps", "shared"), ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("fitness", ["validation", "test"])
def test_every_row_is_that_of_a_training_of_its_own_and_no_step_is_done_twice(
    digits: PreparedDataset,
    tmp_path: Path,
    steps_done: list[int],
    genomes: list[Genome],
    steps: int,
    shared: list[int | None],
    fitness: Any,
) -> None:
    run = run_in(tmp_path / "run", genomes, fitness=fitness)
    trainer = trainer_for(run, digits, with_dropout)
    carry_out(run, InProcessEvaluator(Given(trainer)))
    assert steps_done == [steps]
    assert [run.evaluations[number, 0].shared_with for number in range(len(genomes))] == shared
    check_as_by_themselves(run, trainer)
    run.close()


@pytest.mark.parametrize("kept", [True, False])
def test_a_continued_training_ends_as_one_that_never_paused(
    digits: PreparedDataset, tmp_path: Path, steps_done: list[int], kept: bool
) -> None:
    run = run_in(tmp_path / "run" if kept else None, [])
    trainer = trainer_for(run, digits, with_dropout)
    evaluator = InProcessEvaluator(Given(trainer))
    for until in (20, 30, 60):
        run.record_proposal(Individual(0, genome(60), until=until))
        carry_out(run, evaluator)
    assert steps_done == [60 if kept else 20 + 30 + 60]
    assert [(one.status, one.steps_trained) for one in run.results] == [
        ("partial", 20), ("partial", 30), ("complete", 60),
    ]  # fmt: skip
    assert [one.fitness for one in run.results] == [one.curve[-1].values["validation_accuracy"] for one in run.results]
    assert run.results[2].seconds > run.results[2].seconds_before == run.results[1].seconds
    check_as_by_themselves(run, trainer)
    run.close()


def test_a_paused_training_answers_no_other_and_waits_for_none(digits: PreparedDataset) -> None:
    run = make_run()
    for number, (steps, until) in enumerate(((40, None), (60, 20), (20, None))):
        run.record_proposal(Individual(number, genome(steps), until=until))
    pool = Pool(1, 0, complete)
    dispatch = submitted(run, pool)
    assert [(task.individual, task.until) for task in pool.submitted] == [(0, None), (1, 20)]
    while dispatch.pending:
        finish(dispatch, run)
    assert run.evaluations[2, 0].shared_with == 0


BREAKS: dict[str, tuple[list[Genome], int, list[Status]]] = {
    "longest first": (
        [genome(60), genome(20), genome(30), genome(40), genome(25)],
        30 + 25,
        ["diverged", "complete", "diverged", "diverged", "complete"],
    ),
    "shortest first": ([genome(20), genome(40), genome(60)], 30, ["complete", "diverged", "diverged"]),
}


@pytest.mark.parametrize(("genomes", "steps", "statuses"), BREAKS.values(), ids=BREAKS)
def test_twins_of_a_divergence_are_as_they_would_be_by_themselves(
    digits: PreparedDataset,
    tmp_path: Path,
    steps_done: list[int],
    genomes: list[Genome],
    steps: int,
    statuses: list[Status],
) -> None:
    run = run_in(tmp_path / "run", genomes)
    trainer = trainer_for(run, digits, breaking)
    carry_out(run, InProcessEvaluator(Given(trainer)))
    assert [run.evaluations[number, 0].status for number in range(len(genomes))] == statuses
    assert steps_done == [steps]
    check_as_by_themselves(run, trainer)
    run.close()


@pytest.mark.parametrize("damage", ["garbage", "cut", "another's", "gone"])
def test_a_state_that_is_damaged_or_anothers_is_ignored(
    digits: PreparedDataset, tmp_path: Path, steps_done: list[int], damage: str
) -> None:
    run = run_in(tmp_path / "run", [genome(20), genome(40), genome(20, LARGE)])
    trainer = trainer_for(run, digits, with_dropout)
    evaluator = InProcessEvaluator(Given(trainer))
    with Dispatch(run, evaluator) as dispatch:
        for number in (0, 2):
            dispatch.submit(run.individuals[number])
            evaluation = dispatch.next_completed(1.0)
            assert evaluation is not None
            run.record(evaluation)
            dispatch.recorded(evaluation)
    state, other = (Path(run.last_state(training_seed(1, genome(20, layers), 0)) or "") for layers in (SMALL, LARGE))
    content = state.read_bytes()
    if damage == "gone":
        state.unlink()
    else:
        state.write_bytes({"garbage": b"\xff" * 99, "cut": content[:-9], "another's": other.read_bytes()}[damage])
    carry_out(run, evaluator)
    assert steps_done == [20 + 20 + 40]
    check_as_by_themselves(run, trainer)
    run.close()


def test_a_run_in_memory_shares_curves_and_keeps_no_state(digits: PreparedDataset, steps_done: list[int]) -> None:
    run = make_run(genome(40), genome(20), genome(60))
    trainer = trainer_for(run, digits, with_dropout)
    carry_out(run, InProcessEvaluator(Given(trainer)))
    assert steps_done == [40 + 60]
    check_as_by_themselves(run, trainer)


def test_a_linked_states_folder_is_refused_and_nothing_is_written_through_it(
    digits: PreparedDataset, tmp_path: Path, steps_done: list[int]
) -> None:
    run = run_in(tmp_path / "run", [genome(20)])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.tex").write_text("years of work")
    (tmp_path / "run" / "states").symlink_to(elsewhere)
    with pytest.raises(RunError, match=r"states: is a link"):
        carry_out(run, InProcessEvaluator(Given(trainer_for(run, digits, mlp.build))))
    with pytest.raises(RunError, match=r"states: is a link"):
        run.forget_states()
    assert [entry.name for entry in elsewhere.iterdir()] == ["thesis.tex"]
    assert (tmp_path / "run" / "states").is_symlink()
    run.close()


def test_states_are_there_while_a_search_goes_on_and_gone_when_it_is_done(
    digits: PreparedDataset, tmp_path: Path, steps_done: list[int]
) -> None:
    run = Run.create(searched_settings(), tmp_path / "run")
    evaluator = InProcessEvaluator(Given(trainer_for(run, digits, mlp.build)))
    seen: list[int] = []

    class Watching(SilentObserver):
        def evaluated(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
            seen.append(len(list((tmp_path / "run" / "states").glob("*.safetensors"))))

    run_search(algorithm("random", 8), evaluator, run, Watching())
    assert max(seen) > 0
    assert not (tmp_path / "run" / "states").exists()
    assert not (tmp_path / "run" / "checkpoints").exists()
    run.close()


# Whole searches, without networks.


def broken_step(seed: int) -> int | None:
    """Return the step from which on the loss of a seed's training is not a number, for every third seed."""
    return 20 + seed % 40 if seed % 3 == 0 else None


def outcome(task: Task) -> Evaluation:
    """Return what a training that takes no time finds: a function of its seed and its steps, as real ones are."""
    steps, seed = int(task.config["steps"]), task.seed  # type: ignore[arg-type]
    base: dict[str, Any] = {
        "individual": task.individual,
        "replicate": 0,
        "seed": seed,
        "seconds": steps / 100,
        "engine": "eager",
    }
    if (seed + steps) % 5 == 0:
        return Evaluation(status="failed", error=f"no luck with {steps}", **base)
    curve: list[CurvePoint] = []
    for step in (*range(10, steps, 10), steps):
        broken = broken_step(seed)
        if broken is not None and step >= broken:
            error = f"nan by step {step}"
            return Evaluation(status="diverged", error=error, curve=tuple(curve), steps_trained=step, **base)
        accuracy = random.Random(f"{seed} {step}").random()
        curve.append(CurvePoint(step, {"train_loss": 0.5, "validation_accuracy": accuracy, "loss": 1 - accuracy}))
    measured = {"fitness": accuracy, "validation_accuracy": accuracy, "loss": 1 - accuracy, "train_accuracy": 0.5}
    return Evaluation(status="complete", curve=tuple(curve), steps_trained=steps, **base | measured)


class Pool(Evaluator):
    """Workers that are not there: as many tasks run as there are workers, and a random one of them ends next."""

    def __init__(self, workers: int, seed: int, answer: Callable[[Task], Evaluation] = outcome):
        self._workers, self.rng, self.answer = workers, random.Random(seed), answer
        self.planner = Planner()
        self.at_work: list[Task] = []
        self.submitted: list[Task] = []
        self.started: list[int] = []

    def start(self) -> dict[str, Any]:
        return {}

    @property
    def workers(self) -> int:
        return self._workers

    def room(self) -> int:
        return max(0, 16 * self._workers - self.pending)

    def submit(self, *tasks: Task) -> None:
        self.submitted += tasks
        for task in tasks:
            self.planner.add(task)

    def next_completed(self, timeout: float | None = None) -> Evaluation | None:
        while len(self.at_work) < self._workers and (batch := self.planner.take(self.at_work)):
            self.at_work += batch
            self.started += [task.individual for task in batch]
        return self.answer(self.at_work.pop(self.rng.randrange(len(self.at_work)))) if self.at_work else None

    def cancel(self) -> None:
        self.planner.clear()

    def close(self) -> None:
        self.planner.clear()

    @property
    def pending(self) -> int:
        return len(self.planner) + len(self.at_work)


def searched_settings(**changes: Any) -> Any:
    values: dict[str, Any] = {
        "space": SEARCHED.to_dict(),
        "objective": None,
        "model": "mlp",
        "dataset": DATASET,
        "initial": [],
    }
    return make_settings(**values | changes)


def algorithm(name: str = "ga", budget: int = 30) -> Strategy:
    return make_strategy(name, SEARCHED, seed=5, population=8, budget=budget, initial=[])


def rows(run: Run) -> list[dict[str, Any]]:
    """Return the table: every individual with its evaluation, but not what a clock says."""
    return [one.to_dict() | values(run.evaluations[one.id, 0]) for one in run.individuals]


def searched(workers: int, seed: int, name: str = "ga") -> tuple[Run, Pool]:
    run, pool = Run.create(searched_settings()), Pool(workers, seed)
    run_search(algorithm(name), pool, run, SilentObserver())
    return run, pool


@pytest.mark.parametrize("name", ["ga", "random", "report2019-fixed"])
def test_the_table_does_not_depend_on_the_workers_or_on_who_finishes_first(name: str) -> None:
    expected, _ = searched(1, 0, name)
    shared = [row["shared_with"] for row in rows(expected)]
    assert sum(origin is not None for origin in shared) >= 3, "hardly anything is shared, so this shows little"
    assert {"complete", "diverged", "failed"} <= {row["status"] for row in rows(expected)}
    for workers in (1, 2, 5):
        for seed in range(4):
            run, pool = searched(workers, seed, name)
            assert rows(run) == rows(expected)
            assert run.generations == expected.generations
            assert len(pool.submitted) == shared.count(None)


def test_every_row_of_a_search_is_that_of_a_training_of_its_own() -> None:
    run, _ = searched(3, 1, "random")
    for individual in run.individuals:
        seed = training_seed(run.settings.seed, individual.genome, 0)
        found, own = run.evaluations[individual.id, 0], outcome(Task(individual.id, 0, seed, individual.config))
        if found.shared_with is not None and own.status == "failed":
            continue  # a failure has its reason in the moment, and was spared here
        but = (*OWN, "train_accuracy") if found.train_accuracy is None else OWN
        assert values(found, but) == values(own, but)


@pytest.mark.parametrize("name", ["ga", "random"])
def test_the_table_does_not_depend_on_what_trainings_cost(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, usual = searched(2, 0, name)
    rng = random.Random(8)
    monkeypatch.setattr(CostModel, "seconds", lambda self, config: rng.random())
    orders = set()
    for _ in range(4):
        run, pool = searched(2, 0, name)
        assert rows(run) == rows(expected)
        orders.add(tuple(pool.started))
    assert len(orders | {tuple(usual.started)}) > 1, "the costs changed no order, so this shows nothing"


@pytest.mark.parametrize("name", ["ga", "random"])
@pytest.mark.parametrize("moment", [1, 5, 11, 17, 26])
def test_a_search_that_is_stopped_and_resumed_has_the_same_table(name: str, moment: int, tmp_path: Path) -> None:
    expected, _ = searched(1, 0, name)
    run = Run.create(searched_settings(), tmp_path / "run")

    def stop() -> None:
        if len(run.evaluations) >= moment:
            raise Stop("enough", 75)

    with pytest.raises(Stop):
        run_search(algorithm(name), Pool(3, moment), run, SilentObserver(), stop)
    run.close()
    again = Run.open(tmp_path / "run", warn=print)
    going_on = algorithm(name)
    going_on.replay(again.individuals, again.search_evaluations)
    run_search(going_on, Pool(2, moment + 1), again, SilentObserver())
    assert rows(again) == rows(expected)
    assert again.generations == expected.generations
    again.close()


def rising() -> Callable[[CostModel, Mapping[str, Any]], float]:
    asked = iter(range(1, 100_000))
    return lambda self, config: float(next(asked))


def test_the_first_three_individuals_start_first_even_if_they_are_the_cheapest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CostModel, "seconds", rising())
    run = make_run(*(genome(20, layers) for layers in (SMALL, LARGE)))
    space = evo.SearchSpace(
        {"hidden_layers": evo.Layers(depth=(3, 3), width=(4, 900)), "steps": evo.Categorical([20])},
        model="mlp",
        dataset="digits",
        training=run.space.training.model_dump(exclude_none=True),
    )
    run, pool = Run.create(searched_settings(space=space.to_dict())), Pool(1, 0)
    run_search(make_strategy("random", space, seed=1, population=9, budget=9), pool, run, SilentObserver())
    assert pool.started[:3] == [0, 1, 2]
    assert pool.started[3:] == [8, 7, 6, 5, 4, 3]


# One by one.


def failed(task: Task) -> Evaluation:
    return Evaluation(task.individual, 0, task.seed, "failed", error="no luck")


def finish(dispatch: Dispatch, run: Run) -> Evaluation:
    evaluation = dispatch.next_completed(1.0)
    assert evaluation is not None
    run.record(evaluation)
    dispatch.recorded(evaluation)
    return evaluation


def submitted(run: Run, pool: Pool) -> Dispatch:
    dispatch = Dispatch(run, pool)
    for individual in run.individuals:
        dispatch.submit(individual)
    return dispatch


def complete(task: Task) -> Evaluation:
    return outcome(Task(task.individual, 0, 1, task.config))


def test_twins_wait_for_one_another() -> None:
    genomes = [genome(40), genome(60), genome(20), genome(30, LARGE)]
    run, pool = make_run(*genomes, dataset=DATASET), Pool(1, 0, complete)
    dispatch = submitted(run, pool)
    assert [task.individual for task in pool.submitted] == [0, 3]
    assert dispatch.pending == 4
    assert dispatch.room() == pool.room() - 2
    assert finish(dispatch, run).individual == 0, "the costlier"
    assert [task.individual for task in pool.submitted] == [0, 3, 1]
    assert finish(dispatch, run).individual == 1
    answer = finish(dispatch, run)
    assert (answer.individual, answer.shared_with) == (2, 0), "what is known already comes first"
    assert finish(dispatch, run).individual == 3
    assert dispatch.pending == 0
    assert len(pool.submitted) == 3


def test_a_twin_of_a_training_that_failed_is_trained_itself() -> None:
    run, pool = make_run(genome(40), genome(40), genome(20)), Pool(1, 0, failed)
    dispatch = submitted(run, pool)
    assert [finish(dispatch, run).individual for _ in range(3)] == [0, 1, 2]
    assert [task.individual for task in pool.submitted] == [0, 1, 2]
    assert [run.evaluations[number, 0].shared_with for number in range(3)] == [None] * 3


def test_objectives_are_all_called_at_once() -> None:
    run = make_run(genome(40), genome(40), genome(20), objective="f", model=None)
    pool = Pool(1, 0, complete)
    submitted(run, pool)
    assert [task.individual for task in pool.submitted] == [0, 1, 2]


def test_only_whole_trainings_teach_what_trainings_cost() -> None:
    run = make_run(genome(20), genome(40), genome(10), genome(20, LARGE), genome(10, LARGE), dataset=DATASET)
    pool = Pool(1, 0, complete)
    dispatch = submitted(run, pool)
    while dispatch.pending:
        finish(dispatch, run)
    assert dispatch._cost.trainings == 2, "the second went on from the first, and two were read"
    assert cost_of(run, Twins(run)).trainings == 2
    pool = Pool(1, 0, failed)
    other = make_run(genome(20), genome(20, LARGE))
    dispatch = submitted(other, pool)
    finish(dispatch, other)
    assert dispatch._cost.trainings == 0, "a failure took the time that it took"


def test_finalists_of_a_search_of_free_steps_cost_what_the_best_checkpoint_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learned: list[Any] = []
    monkeypatch.setattr(CostModel, "learn", lambda self, config, *_: learned.append(config["steps"]))
    run = make_run(genome(60), free_steps=True, dataset=DATASET)
    found = replace(outcome(Task(0, 0, 1, genome(60))), status="complete", fitness=0.5, steps_trained=20)
    run.record(found)
    run.record(replace(found, replicate=101, phase="finalist"))
    cost_of(run, Twins(run))
    assert learned == [60, 20]


def test_only_the_first_part_of_a_paused_training_teaches_what_trainings_cost() -> None:
    def part(task: Task) -> Evaluation:
        found = outcome(Task(task.individual, 0, 1, {**task.config, "steps": task.until or 0}))
        return replace(found, status="partial" if task.until != task.config["steps"] else "complete")

    run, pool = make_run(dataset=DATASET), Pool(1, 0, part)
    for until in (20, 30, 60):
        run.record_proposal(Individual(0, genome(60), until=until))
        with Dispatch(run, pool) as dispatch:
            dispatch.submit(run.proposals[-1])
            finish(dispatch, run)
            assert dispatch._cost.trainings == 1
    assert cost_of(run, Twins(run)).trainings == 1
    costs = [task.cost for task in pool.submitted]
    assert costs == sorted(costs)
    assert len(set(costs)) == 3, "a proposal costs what it is trained for now"


@pytest.mark.parametrize("duration", ["steps", "epochs"])
def test_what_is_in_hand_ends_at_its_pause_whatever_its_genome_counts_in(duration: str) -> None:
    """Its seconds are those of a training that is as long as this part, also where the genome says epochs."""

    class AtWork(Pool):
        def in_hand(self) -> list[tuple[Task, float]]:
            return [(task, 0.0) for task in self.submitted]

    space = evo.SearchSpace(
        {"hidden_layers": evo.Layers(choices=[SMALL]), duration: evo.Integer(10, 90)},
        model="mlp",
        dataset="digits",
        training={"learning_rate": 0.01, "batch_size": 64, "evaluate_every": 10},
    )
    run = make_run(space=space.to_dict(), dataset=DATASET)
    run.record_proposal(Individual(0, {"hidden_layers": SMALL, duration: 90}, until=30))
    dispatch = submitted(run, AtWork(1, 0))
    [seconds] = dispatch.seconds_in_hand()
    assert seconds == dispatch.cost.seconds({"hidden_layers": SMALL, duration: 30})


def test_tasks_carry_where_their_state_is_and_what_they_need(tmp_path: Path) -> None:
    run, pool = run_in(tmp_path / "run", [genome(40), genome(40, LARGE)]), Pool(1, 0, complete)
    dispatch = Dispatch(run, pool, urgent=range(1))
    for individual in run.individuals:
        dispatch.submit(individual)
    urgent, usual = pool.submitted
    assert urgent.cost == math.inf
    assert 0 < usual.cost < math.inf
    assert 0 < urgent.memory < usual.memory
    seed = training_seed(1, genome(40), 0)
    assert urgent.seed == seed
    assert urgent.state == str(tmp_path / "run" / "states" / f"{seed}.safetensors")
    assert urgent.checkpoint == str(tmp_path / "run" / "checkpoints" / "0-0.safetensors")
    run.close()


def test_a_state_is_kept_only_for_trainings_that_may_be_continued(tmp_path: Path) -> None:
    run, pool = run_in(tmp_path / "run", [], objectives={"fitness": "maximise", "seconds": "minimise"}), Pool(1, 0)
    assert not run.shares_curves(genome(40)), "a training that began at another's state would take less time"
    for number, until in enumerate((None, 20)):
        run.record_proposal(Individual(number, genome(40, (SMALL, LARGE)[number]), until=until))
    submitted(run, pool)
    assert [task.state is not None for task in pool.submitted] == [False, True]
    run.close()


def test_the_time_left_is_that_of_what_is_to_come_with_the_finalists_shared_by_the_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CostModel, "seconds", lambda self, config: float(config["steps"]))
    now = [1000.0]
    monkeypatch.setattr("evo.loop.dispatch.time.monotonic", lambda: now[0])
    run = make_run(genome(20), genome(40, LARGE), workers=99, finalists=1, finalist_seeds=3)
    pool = Pool(2, 0, complete)
    dispatch = submitted(run, pool)
    assert dispatch.seconds_left(4) is None, "nothing was trained yet"
    finish(dispatch, run)
    now[0] += 2
    left = 20.0 if (1, 0) in run.evaluations else 40.0
    assert dispatch.seconds_left(4) == (left + (2 + 3) * 30.0) / 2
    now[0] += 0.5
    assert dispatch.seconds_left(4) == (left + (2 + 3) * 30.0) / 2 - 0.5, "counted down in between"
    finish(dispatch, run)
    now[0] += 2
    assert dispatch.seconds_left(4) == (2 + 3) * 30.0 / 2
    pool._workers = 5
    now[0] += 2
    assert dispatch.seconds_left(4) == (2 + 3) * 30.0 / 5, "of a cluster, those that there are now count"
    pool._workers = 2
    now[0] += 2
    assert dispatch.seconds_left(2) == 3 * 30.0 / 2


def test_what_a_search_learned_of_the_machine_is_left_for_the_next() -> None:
    guess = cost_of(Run.create(searched_settings()), Twins(Run.create(searched_settings())))
    first, _ = searched(1, 0)
    following = Run.create(searched_settings())
    fresh = cost_of(following, Twins(following))
    assert fresh.trainings == 0
    factor, trainings = known_speed(speed_name_of(first.settings), rates_of(first.settings))
    assert fresh.factor == factor != guess.factor
    taught = [e for e in first.search_evaluations if e.complete and e.shared_with is None]
    assert 0 < trainings <= len(taught)
