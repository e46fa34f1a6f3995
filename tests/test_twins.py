"""What a training says about genomes that differ from it only in steps, and what it does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import evo
from evo.evaluation import CurvePoint, Evaluation, Status
from evo.individual import Genome, Individual, training_seed
from evo.loop.dispatch import Twins
from evo.record.run import Run
from tests.test_run import make_settings

SPACE = evo.SearchSpace(
    {
        "hidden_layers": evo.Layers(choices=[(4,), (8,)]),
        "steps": evo.Categorical([10, 20, 25, 30, 40, 60]),
    },
    name="twins",
    model="mlp",
    dataset="digits",
    training={"evaluate_every": 10, "learning_rate": 0.01, "batch_size": 64},
)
SMALL, LARGE = (4,), (8,)
DIGITS = {"image_shape": [1, 8, 8], "classes": list("0123456789"), "train_count": 1500, "test_count": 297}


def genome(steps: int, layers: tuple[int, ...] = SMALL) -> Genome:
    return {"hidden_layers": layers, "steps": steps}


def make_run(*genomes: Genome, **changes: Any) -> Run:
    """Return a run in memory that has proposed so many individuals."""
    run = Run.create(
        make_settings(**{"space": SPACE.to_dict(), "objective": None, "model": "mlp", "dataset": DIGITS} | changes)
    )
    for number, one in enumerate(genomes):
        run.record_proposal(Individual(number, one))
    return run


def point(step: int, part: str = "validation") -> CurvePoint:
    return CurvePoint(step, {"train_loss": 1 / step, f"{part}_accuracy": step / 100, "loss": 2 / step})


def trained(run: Run, number: int, status: Status = "complete", ended: int | None = None, **more: Any) -> Evaluation:
    """Record what a training of an individual found, with a curve as its steps want it; return it."""
    one = run.individuals[number].genome
    last = ended if ended is not None else int(one["steps"])  # type: ignore[arg-type]
    part = run.settings.fitness
    grid = [*range(10, last, 10), last]
    if status == "diverged":
        grid.pop()
    complete = status == "complete"
    values: dict[str, Any] = {
        "fitness": last / 100 if complete else None,
        "train_accuracy": 0.99 if complete else None,
        "loss": 2 / last if complete else None,
        f"{part}_accuracy": last / 100 if complete else None,
        "curve": tuple(point(step, part) for step in grid) if status in ("complete", "diverged") else (),
        "steps_trained": last,
        "error": "" if complete else f"{status} by step {last}",
        **{"parameters": 7, "seconds": 3.0, "worker": "worker-1", "started": 5.0, "engine": "eager"},
        "precision": "fp32",
    }
    seed = training_seed(run.settings.seed, one, 0)
    evaluation = Evaluation(number, 0, seed, status, **values | more)
    run.record(evaluation)
    return evaluation


def read(run: Run, number: int) -> Evaluation | None:
    """Ask about an individual as if it had been proposed right after those that are evaluated."""
    known = [one for one in run.individuals[:number] if (one.id, 0) in run.evaluations]
    asked = Individual(len(known), run.individuals[number].genome)
    assert known == run.individuals[: len(known)]
    short = Run.create(run.settings)
    for one in (*known, asked):
        short.record_proposal(one)
    for one in known:
        short.record(run.evaluations[one.id, 0])
    return Twins(short).read(asked)


def test_a_shorter_training_is_read_from_the_curve_of_a_longer_one() -> None:
    run = make_run(genome(40), genome(20))
    long = trained(run, 0)
    found = read(run, 1)
    assert found is not None
    assert found.curve == long.curve[:2]
    assert (found.individual, found.shared_with, found.status, found.error) == (1, 0, "complete", "")
    assert (found.fitness, found.validation_accuracy, found.loss, found.steps_trained) == (0.2, 0.2, 0.1, 20)
    assert (found.train_accuracy, found.seconds, found.worker) == (None, 0.0, "")
    assert (found.seed, found.parameters, found.engine, found.precision) == (long.seed, 7, "eager", "fp32")
    assert found.started > long.started


def test_a_training_of_equal_genes_is_copied_whole() -> None:
    run = make_run(genome(40), genome(40))
    first = trained(run, 0, seconds_before=2.0)
    found = read(run, 1)
    assert found is not None
    assert replace(found, started=0.0) == replace(
        first, individual=1, shared_with=0, seconds=0.0, seconds_before=0.0, worker="", started=0.0
    )


def test_a_copy_is_preferred_to_a_part_and_names_who_was_trained() -> None:
    run = make_run(genome(40), genome(20), genome(20), genome(20))
    trained(run, 0)
    own = trained(run, 1)
    found = read(run, 2)
    assert found is not None
    assert (found.shared_with, found.train_accuracy) == (1, own.train_accuracy)
    run.record(found)
    third = read(run, 3)
    assert third is not None
    assert third.shared_with == 1
    assert replace(third, individual=2, started=found.started) == found


def test_a_part_of_a_part_names_who_was_trained() -> None:
    run = make_run(genome(60), genome(40), genome(40))
    trained(run, 0)
    second = read(run, 1)
    assert second is not None
    run.record(second)
    third = read(run, 2)
    assert third is not None
    assert third.shared_with == 0


@pytest.mark.parametrize("steps", [25, 60])
def test_steps_off_the_grid_and_beyond_the_end_are_not_read(steps: int) -> None:
    run = make_run(genome(40), genome(steps))
    trained(run, 0)
    assert read(run, 1) is None


def test_a_training_that_ends_off_the_grid_still_shows_the_points_on_it() -> None:
    run = make_run(genome(25), genome(20), genome(30), genome(25))
    trained(run, 0)
    assert read(run, 2) is None
    found = read(run, 1)
    assert found is not None
    assert found.curve == (point(10), point(20))
    whole = read(run, 3)
    assert whole is not None
    assert [entry.step for entry in whole.curve] == [10, 20, 25]


def test_other_genes_share_nothing() -> None:
    run = make_run(genome(40), genome(20, LARGE))
    trained(run, 0)
    assert read(run, 1) is None
    assert not Twins(run).is_awaited(run.individuals[1])
    assert not Twins(run).has_begun(run.individuals[1])


@pytest.mark.parametrize("status", ["failed", "timeout", "out_of_memory", "partial"])
def test_a_training_that_failed_says_nothing_even_about_equal_genes(status: Status) -> None:
    run = make_run(genome(40), genome(40), genome(20), genome(60))
    trained(run, 0, status)
    assert [read(run, number) for number in (1, 2, 3)] == [None] * 3
    assert not Twins(run).has_begun(run.individuals[1])


def test_what_failed_does_not_hide_what_worked() -> None:
    run = make_run(genome(40), genome(60), genome(20))
    trained(run, 0, "failed")
    trained(run, 1)
    found = read(run, 2)
    assert found is not None
    assert found.shared_with == 1


def test_a_divergence_is_that_of_every_longer_training_and_its_shorter_part_is_complete() -> None:
    run = make_run(genome(40), genome(20), genome(30), genome(60), genome(25), genome(40))
    diverged = trained(run, 0, "diverged", ended=30)
    shorter, at_the_end, longer, between, same = (read(run, number) for number in range(1, 6))
    assert shorter is not None
    assert (shorter.status, shorter.fitness, shorter.error, shorter.curve) == ("complete", 0.2, "", diverged.curve)
    assert shorter.steps_trained == 20
    for found in (at_the_end, longer, same):
        assert found is not None
        assert (found.status, found.fitness, found.error) == ("diverged", None, diverged.error)
        assert (found.steps_trained, found.curve, found.shared_with) == (30, diverged.curve, 0)
    assert between is None, "whether the loss was finite after 25 steps was not measured"


def test_a_divergence_that_was_found_off_the_grid_says_nothing_about_longer_trainings() -> None:
    run = make_run(genome(25), genome(40), genome(20), genome(25))
    trained(run, 0, "diverged", ended=25)
    assert read(run, 1) is None, "its own training would have found it at step 30"
    shorter, same = read(run, 2), read(run, 3)
    assert shorter is not None
    assert same is not None
    assert (shorter.status, same.status) == ("complete", "diverged")


def test_with_the_test_set_as_fitness_its_accuracy_is_read() -> None:
    run = make_run(genome(40), genome(20), fitness="test")
    trained(run, 0)
    found = read(run, 1)
    assert found is not None
    assert (found.fitness, found.test_accuracy, found.validation_accuracy) == (0.2, 0.2, None)


@pytest.mark.parametrize("lacking", ["validation_accuracy", "loss"])
def test_a_point_that_lacks_what_selection_needs_is_not_read(lacking: str) -> None:
    run = make_run(genome(40), genome(20))
    curve = tuple(map(point, (10, 20, 30, 40)))
    for one in curve:
        del one.values[lacking]
    trained(run, 0, curve=curve)
    assert read(run, 1) is None


def test_only_earlier_individuals_are_awaited_and_all_of_them() -> None:
    run = make_run(genome(40), genome(20), genome(60), genome(20, LARGE))
    twins = Twins(run)
    assert [twins.is_awaited(one) for one in run.individuals] == [False, True, True, False]
    trained(run, 0)
    assert [twins.is_awaited(one) for one in run.individuals] == [False, False, True, False]
    trained(run, 2)
    assert [twins.is_awaited(one) for one in run.individuals] == [False, False, True, False]
    assert read(run, 0) is None, "a later one decided what happens to an earlier"
    trained(run, 1)
    assert not twins.is_awaited(run.individuals[2])


def test_individuals_that_are_proposed_later_are_found_too() -> None:
    run = make_run(genome(40))
    twins = Twins(run)
    assert not twins.is_awaited(run.individuals[0])
    trained(run, 0)
    run.record_proposal(Individual(1, genome(20)))
    run.record_proposal(Individual(2, genome(30)))
    assert twins.is_awaited(run.individuals[2])
    assert twins.read(run.individuals[1]) is not None
    assert twins.has_begun(run.individuals[1])


def test_an_objective_shares_nothing() -> None:
    run = make_run(genome(40), genome(20), genome(40), objective="f", model=None)
    trained(run, 0)
    twins = Twins(run)
    assert [twins.read(one) for one in run.individuals] == [None] * 3
    assert not any(twins.is_awaited(one) or twins.has_begun(one) for one in run.individuals)


def test_a_user_defined_model_shares_only_with_equal_genomes() -> None:
    run = make_run(genome(40), genome(40), genome(20), model="mine:build")
    trained(run, 0)
    found = read(run, 1)
    assert found is not None
    assert found.shared_with == 0
    assert read(run, 2) is None, "it may read the steps"
