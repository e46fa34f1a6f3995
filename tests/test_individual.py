"""Individuals and evaluations survive JSON; keys and seeds depend on what they should and on nothing else."""

from __future__ import annotations

import json
import math
import random
from dataclasses import fields, replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo.evaluation import MEASURES, CurvePoint, Evaluation, Phase, phase_of, place_of, replicate_number
from evo.individual import Individual, genome_from_json, genome_key, training_seed
from evo.plain_text import read_json
from evo.ranking import standing
from evo.space import SearchSpace
from tests.spaces import spaces

SEEDS = st.integers(0, 2**32)
GENOME = {"layers": (64, 32), "rate": 1e-3, "steps": 400, "use": True, "kind": "relu"}


@given(spaces(), SEEDS)
def test_an_individual_survives_json(space: SearchSpace, seed: int) -> None:
    genome = space.sample(random.Random(seed))
    individual = Individual(7, genome, 2, (3, 5), "crossover", {"rate": 0.1, "layers": [1, 2]})
    read = Individual.from_dict(json.loads(json.dumps(individual.to_dict())))
    assert read == individual
    assert list(read.genome) == list(genome)
    assert [type(value) for value in read.genome.values()] == [type(value) for value in genome.values()]


def test_an_evaluation_survives_json() -> None:
    curve = (CurvePoint(100, {"train_loss": 2.3, "validation_accuracy": 0.12}), CurvePoint(200, {"anything": 1.9}))
    evaluation = Evaluation(3, 1, 42, "diverged", None, 0.1, 0.2, loss=9.5, error="loss is NaN", curve=curve)
    assert Evaluation.from_dict(json.loads(json.dumps(evaluation.to_dict()))) == evaluation


def test_every_field_is_written() -> None:
    more: dict[str, Any] = {"confusion": ((0, 1, 2),), "named": {"size": 1.0}, "violation": 2.0}
    written = Evaluation(0, 0, 0, "complete", 0.5, **more).to_dict()
    notes = {"unread", "traceback"}
    assert set(written) == {field.name for field in fields(Evaluation)} - notes, "a worker's notes are not kept"
    assert set(Individual(0, {}, until=3).to_dict()) == {field.name for field in fields(Individual)}


def test_only_an_evaluation_with_a_fitness_counts_and_a_paused_one_is_not_complete() -> None:
    whole, paused = Evaluation(0, 0, 0, "complete", 0.0), Evaluation(0, 0, 0, "partial", 0.0, steps_trained=30)
    assert whole.complete
    assert whole.succeeded
    assert whole.paused_at is None
    assert not paused.complete
    assert paused.succeeded
    assert paused.paused_at == 30
    for failed in (Evaluation(0, 0, 0, "complete"), Evaluation(0, 0, 0, "diverged", 0.5)):
        assert not failed.complete
        assert not failed.succeeded


def test_a_continued_training_took_the_time_of_all_its_parts() -> None:
    first = Evaluation(0, 0, 0, "partial", 0.1, seconds=5.0, started=100.0)
    second = Evaluation(0, 0, 0, "partial", 0.2, seconds=3.0, seconds_before=1.0, started=200.0).after(first)
    assert (second.seconds, second.seconds_before, second.ended) == (8.0, 6.0, 202.0)
    third = Evaluation(0, 0, 0, "failed", seconds=4.0, started=300.0).after(second)
    assert (third.seconds, third.seconds_before, third.ended) == (12.0, 8.0, 304.0)
    whole = Evaluation(0, 0, 0, "complete", 0.1, seconds=5.0)
    assert whole.after(None) == whole.after(third) == whole


def test_until_is_written_only_where_a_training_pauses() -> None:
    individual = Individual(7, dict(GENOME))
    assert "until" not in individual.to_dict()
    paused = replace(individual, until=200)
    assert Individual.from_dict(json.loads(json.dumps(paused.to_dict()))) == paused
    assert [replace(individual, until=steps).pauses for steps in (None, 399, 400)] == [False, True, False]
    with pytest.raises(ValueError, match="until must be a whole number"):
        Individual.from_dict(individual.to_dict() | {"until": "200"})


def test_changing_the_configuration_leaves_the_genome() -> None:
    individual = Individual(0, dict(GENOME))
    individual.config["rate"] = 5.0
    assert individual.genome == GENOME


def test_json_lists_become_tuples_and_nothing_else_changes() -> None:
    assert genome_from_json(json.loads(json.dumps(GENOME))) == GENOME


@given(spaces(), SEEDS, st.randoms(use_true_random=False))
def test_the_key_does_not_depend_on_the_order_of_genes(space: SearchSpace, seed: int, order: random.Random) -> None:
    genome = space.sample(random.Random(seed))
    names = list(genome)
    order.shuffle(names)
    assert genome_key({name: genome[name] for name in names}) == genome_key(genome)


@given(spaces(), SEEDS, SEEDS)
def test_keys_are_equal_for_equal_genomes_only(space: SearchSpace, first: int, second: int) -> None:
    a, b = space.sample(random.Random(first)), space.sample(random.Random(second))
    assert (genome_key(a) == genome_key(b)) == (a == b)


def test_the_key_is_the_same_before_and_after_json() -> None:
    assert genome_key(genome_from_json(json.loads(json.dumps(GENOME)))) == genome_key(GENOME)


def test_steps_alone_do_not_change_the_training_seed() -> None:
    assert training_seed(1, GENOME, 0) == training_seed(1, {**GENOME, "steps": 4000}, 0)


def test_run_seed_replicate_and_every_other_gene_change_the_training_seed() -> None:
    variants = [
        training_seed(1, GENOME, 0),
        training_seed(2, GENOME, 0),
        training_seed(1, GENOME, 1),
        training_seed(1, {**GENOME, "layers": (32, 64)}, 0),
        training_seed(1, {**GENOME, "rate": 1.1e-3}, 0),
        training_seed(1, {**GENOME, "use": False}, 0),
        training_seed(1, {name: value for name, value in GENOME.items() if name != "kind"}, 0),
    ]
    assert len(set(variants)) == len(variants)


@given(SEEDS, st.integers(0, 100))
def test_a_training_seed_fits_a_spreadsheet(seed: int, replicate: int) -> None:
    assert 0 <= training_seed(seed, GENOME, replicate) < 2**48


def test_training_seeds_never_change() -> None:
    # The number of the day it was written: a recorded run is replayed from it.
    assert training_seed(1, GENOME, 0) == 84221787881427


# Ranks.


def of_rung(rung: int | None) -> Individual:
    return Individual(0, {}, strategy_parameters={} if rung is None else {"rung": rung})


def test_what_was_trained_further_then_came_further_in_the_race_then_of_the_higher_mean_stands_higher() -> None:
    ascending = [
        standing(of_rung(None), [None, None]),
        standing(of_rung(None), [0.9, None]),
        standing(replace(of_rung(None), until=100), [0.95], paused=True),
        standing(replace(of_rung(None), until=300), [0.94], paused=True),
        standing(of_rung(0), [0.2, 0.2, 0.2]),
        standing(of_rung(0), [0.9]),
        standing(of_rung(0), [0.1, 0.3], 1),
        standing(of_rung(0), [0.3, 0.3], 1),
        standing(of_rung(0), [0.1, 0.1, 0.1], 2),
        standing(of_rung(1), [-5.0]),
        standing(of_rung(2), [-9.0]),
    ]
    assert ascending == sorted(ascending)
    assert len(set(ascending)) == len(ascending)


def test_an_individual_without_a_rung_is_on_the_first() -> None:
    assert standing(of_rung(None), [0.5]) == standing(of_rung(0), [0.5])


@pytest.mark.parametrize("failures", [[], [None], [None, None]])
def test_who_has_no_result_stands_below_everybody_that_has(failures: list[None]) -> None:
    lowest = standing(of_rung(None), [-1e300, None])
    assert standing(of_rung(2), failures) < lowest
    assert standing(of_rung(2), failures)[0] < 0 <= lowest[0]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_standing_does_not_depend_on_the_order_of_results(values: list[float], order: random.Random) -> None:
    shuffled = list(values)
    order.shuffle(shuffled)
    assert standing(of_rung(1), shuffled) == standing(of_rung(1), values)


def test_a_replicate_survives_json_and_is_0_in_what_was_written_before_there_were_any() -> None:
    individual = replace(Individual(7, dict(GENOME)), replicate=3)
    values = json.loads(json.dumps(individual.to_dict()))
    assert Individual.from_dict(values) == individual
    del values["replicate"]
    assert Individual.from_dict(values) == replace(individual, replicate=0)


def test_measures_are_what_was_measured_of_those_that_may_be_objectives() -> None:
    evaluation = Evaluation(0, 0, 0, "complete", 0.5, loss=1.25, parameters=70, seconds=2.0)
    assert evaluation.measures == {"parameters": 70.0, "seconds": 2.0, "loss": 1.25}
    assert set(replace(evaluation, train_accuracy=0.75).measures) == set(MEASURES)


def test_an_evaluation_ends_when_its_last_part_does() -> None:
    resumed = Evaluation(0, 0, 0, "complete", 0.5, started=1000.0, seconds=90.0, seconds_before=80.0)
    assert resumed.ended == 1010.0
    values = json.loads(json.dumps(resumed.to_dict()))
    assert Evaluation.from_dict(values) == resumed
    del values["seconds_before"]
    assert Evaluation.from_dict(values) == replace(resumed, seconds_before=0.0), "written before there was the field"


@pytest.mark.parametrize("before", [-1.0, 90.5, "1", None])
def test_earlier_parts_take_no_more_time_than_all(before: object) -> None:
    values = Evaluation(0, 0, 0, "complete", 0.5, seconds=90.0).to_dict() | {"seconds_before": before}
    with pytest.raises((ValueError, TypeError)):
        Evaluation.from_dict(values)


def test_a_measure_that_is_not_finite_is_none_and_the_reason_is_kept() -> None:
    whole, lost = {"train_loss": 0.5, "loss": 0.75}, {"training_mode_loss": math.inf, "minibatch_loss": math.nan}
    curve = (CurvePoint(10, whole), CurvePoint(20, whole | lost))
    evaluation = Evaluation(0, 0, 0, "complete", 0.5, loss=math.nan, curve=curve)
    assert evaluation.complete
    assert evaluation.loss is None
    assert evaluation.curve == (CurvePoint(10, whole), CurvePoint(20, whole))
    assert evaluation.error == "loss was nan, and 2 more like it"
    assert Evaluation.from_dict(json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))) == evaluation


def test_a_fitness_that_is_not_finite_is_a_failure() -> None:
    evaluation = Evaluation(0, 0, 0, "complete", math.inf)
    assert (evaluation.status, evaluation.fitness, evaluation.error) == ("failed", None, "fitness was inf")
    diverged = Evaluation(0, 0, 0, "diverged", loss=math.nan, error="the loss was nan by step 10")
    assert (diverged.status, diverged.error) == ("diverged", "the loss was nan by step 10")


def test_a_point_of_the_curve_without_a_finite_value_is_left_out() -> None:
    curve = (CurvePoint(10, {"train_loss": math.nan}), CurvePoint(20, {"train_loss": 0.5}))
    evaluation = Evaluation(0, 0, 0, "complete", 0.5, curve=curve)
    assert evaluation.curve == curve[1:]
    assert evaluation.error == "train_loss was nan at step 10"


@pytest.mark.parametrize(
    "point",
    [
        {"loss": 0.5},
        {"step": -1, "loss": 0.5},
        {"step": 1.5, "loss": 0.5},
        {"step": 10, "loss": "0.5"},
        {"step": 10, "loss": math.inf},
        {"step": 10, "replicate": 0.5},
        {"step": 10, "a formula": 0.5},
        {"step": 10, "=1+1": 0.5},
    ],
    ids=str,
)
def test_a_point_of_the_curve_has_a_step_and_finite_numbers_with_plain_names(point: dict[str, object]) -> None:
    values = Evaluation(0, 0, 0, "complete", 0.5).to_dict() | {"curve": [point]}
    with pytest.raises((KeyError, TypeError, ValueError)):
        Evaluation.from_dict(values)


def test_replicate_numbers_keep_the_ranges_that_journals_hold() -> None:
    firsts = {phase: replicate_number(phase) for phase in get_args(Phase)}
    assert firsts == {"search": 0, "finalist": 101, "weights": 1000, "replay": 1001}
    for phase in get_args(Phase):
        number = replicate_number(phase)
        assert (phase_of(number), place_of(number)) == (phase, 0)
    assert [phase_of(number) for number in (100, 102, 999, 5000)] == ["search", "finalist", "finalist", "replay"]
    assert place_of(replicate_number("finalist", 7)) == 7


ANYTHING = st.floats() | st.none()


@given(
    st.fixed_dictionaries(
        {
            **dict.fromkeys(("started", "seconds", "seconds_before"), st.floats()),
            **dict.fromkeys(("fitness", "validation_accuracy", "train_accuracy", "test_accuracy", "loss"), ANYTHING),
            **dict.fromkeys(("worker", "engine", "error"), st.text(max_size=9)),
        }
    ),
    st.sampled_from(["complete", "partial", "failed"]),
)
def test_every_evaluation_that_is_written_can_be_read(values: dict[str, Any], status: Any) -> None:
    evaluation = Evaluation(0, 0, 1, status, **values, curve=(CurvePoint(1, {"loss": values["fitness"] or 0.0}),))
    text = json.dumps(evaluation.to_dict(), allow_nan=False).encode()
    assert Evaluation.from_dict(read_json(text)) == evaluation


def test_a_clock_before_1970_leaves_the_beginning_unknown() -> None:
    assert Evaluation(0, 0, 1, "complete", fitness=1.0, started=-5.0, seconds=2.0).started == 0.0
