"""What every strategy promises, whatever its algorithm."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache

import pytest

from evo import names
from evo.errors import ConfigurationError
from evo.evaluation import CurvePoint
from evo.individual import Individual, genome_key
from evo.ranking import standing
from evo.space import SearchSpace
from evo.space.genes import Boolean, Float, Integer
from evo.strategies import STRATEGIES as CLASSES
from evo.strategies import make_strategy, strategy_names
from evo.strategies.base import Strategy
from evo.strategies.steady_state import SteadyState
from tests.spaces import tiny_space
from tests.strategies.loops import evaluation_of, finish, lottery, make, measures_of, space_for

pytestmark = pytest.mark.usefixtures("quick_models")

STRATEGIES = strategy_names()
STEADY = [name for name, strategy in CLASSES.items() if issubclass(strategy, SteadyState)]
RACING = ["surrogate"]
"""Those that evaluate the best again, where an evaluation takes a seed."""
OF_PARTS = ["surrogate", "halving", "pareto"]
"""Those whose population is chosen from everything that was evaluated, and need not hold all of it once."""
OF_ANY_SIZE = ["surrogate", "halving"]
"""Those whose population has no fixed size."""
ON_ANY_SPACE = [name for name in STRATEGIES if name != "report2019"]
"""Those that keep to the bounds and propose nothing twice, on the spaces that they take."""
WITHOUT_STEPS = [name for name in ON_ANY_SPACE if name != "halving"]
"""Those that take a space of numbers without a gene `steps`."""
WITH_CONDITIONS = [name for name in WITHOUT_STEPS if name != "cma"]
"""Those that take any kind of gene, and conditions."""


@pytest.fixture(params=STRATEGIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_registry_has_every_name_that_can_be_typed_in_that_order() -> None:
    assert strategy_names() == tuple(CLASSES) == names.STRATEGIES
    assert all(strategy.name == name for name, strategy in CLASSES.items())
    assert names.DEFAULT_STRATEGY in CLASSES


@cache
def finished(name: str) -> Strategy:
    """Return the strategy at the end of a search, one individual at a time; no test changes it."""
    strategy = make(name)
    finish(strategy)
    return strategy


def told(strategy: Strategy, individual: Individual) -> None:
    """Tell the strategy what its individual reached."""
    strategy.tell(individual, lottery(individual), measures=measures_of(individual))


def test_a_whole_evaluation_tells_what_its_fitness_does(name: str) -> None:
    first, second, third = (make(name, retrainable=True) for _ in range(3))
    while asked := first.ask(4):
        assert second.ask(4) == third.ask(4) == asked
        for individual in asked:
            first.tell(evaluation_of(individual))
            second.tell(individual, lottery(individual), measures=measures_of(individual))
            third.tell(individual.id, lottery(individual), individual.replicate, measures_of(individual))
    assert first.done()
    assert first.best == second.best == third.best
    assert first.populations() == second.populations() == third.populations()


def test_what_a_strategy_learns_is_the_evaluation_that_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    learned = []
    monkeypatch.setattr(CLASSES["random"], "learn", lambda self, member: learned.append(member))
    strategy = make("random", budget=1)
    [individual] = strategy.ask()
    told = replace(evaluation_of(individual), curve=(CurvePoint(10, {"train_loss": 0.5}),), seconds=3.0)
    strategy.tell(told)
    [member] = learned
    assert member.evaluation is told
    assert (member.number, member.individual, member.value) == (0, individual, told.fitness)


# What is proposed.


@pytest.mark.parametrize(("room", "seed"), [(2, 0), (7, 0), (7, 1), (1000, 0)])
def test_proposals_depend_neither_on_the_room_nor_on_the_order_of_results(name: str, room: int, seed: int) -> None:
    assert finish(make(name), room=room, order=random.Random(seed)) == finished(name).proposals


def test_asking_again_before_any_result_changes_nothing(name: str) -> None:
    strategy = make(name)
    asked = strategy.ask(3)
    while more := strategy.ask(2):
        asked += more
    assert strategy.ask(5) == []
    assert asked == finished(name).proposals[: len(asked)]


def test_the_seed_decides_the_proposals(name: str) -> None:
    first, second = finished(name).proposals, finish(make(name, seed=6))
    assert finish(make(name)) == first
    assert all(a.genome != b.genome for a, b in zip(first, second, strict=True))


def test_results_decide_what_follows_them(name: str) -> None:
    first, second = finished(name).proposals, finish(make(name), lambda individual: -lottery(individual))
    blind = sum(make(name).required(number) == 0 for number in range(20))
    assert first[:blind] == second[:blind]
    assert (blind == 20) == (name == "random")
    assert name == "random" or first[blind:] != second[blind:]


def test_ids_count_from_0_and_generations_never_fall(name: str) -> None:
    individuals = finish(make(name), room=4, order=random.Random(0))
    assert [individual.id for individual in individuals] == list(range(20))
    generations = [individual.generation for individual in individuals]
    assert generations == sorted(generations)
    assert set(generations) == set(range(generations[-1] + 1))


@pytest.mark.parametrize("room", [1, 7])
def test_parents_are_older_and_their_results_were_known(name: str, room: int) -> None:
    strategy = make(name)
    known: set[int] = set()
    while not strategy.done():
        for individual in strategy.ask(room):
            assert all(parent < strategy.required(individual.id) <= individual.id for parent in individual.parents)
            assert known.issuperset(individual.parents)
            assert len(set(individual.parents)) == len(individual.parents)
        waiting = [individual for individual in strategy.proposals if individual.id not in known]
        told(strategy, waiting[0])
        known.add(waiting[0].id)
    assert name == "random" or any(individual.parents for individual in strategy.individuals)


@pytest.mark.parametrize("strategy", ON_ANY_SPACE)
def test_every_genome_is_legal_and_new(strategy: str) -> None:
    individuals = finish(make(strategy, budget=50))
    assert all(space_for(strategy).problems(individual.genome) == [] for individual in individuals)
    assert len({genome_key(individual.genome) for individual in individuals}) == 50


def test_what_is_proposed_survives_the_journal(name: str) -> None:
    for individual in finished(name).proposals:
        assert Individual.from_dict(json.loads(json.dumps(individual.to_dict(), allow_nan=False))) == individual


# Where it ends.


@pytest.mark.parametrize("budget", [1, 5, 6, 7, 13])
def test_the_budget_is_met_exactly(name: str, budget: int) -> None:
    strategy = make(name, budget=budget)
    assert strategy.limit == budget
    assert len(finish(strategy, room=1000)) == budget


@pytest.mark.parametrize("generations", [1, 2, 3])
def test_the_generations_are_met_exactly(name: str, generations: int) -> None:
    strategy = make(name, budget=None, generations=generations)
    individuals = finish(strategy)
    assert len(individuals) == strategy.trainings_of(generations) == strategy.limit
    assert individuals[-1].generation == generations - 1
    assert len(strategy.populations()) == generations
    assert all(population for population in strategy.populations())
    assert name in OF_ANY_SIZE or all(len(population) == 6 for population in strategy.populations())


def test_the_first_bound_that_is_reached_ends_the_search(name: str) -> None:
    one_generation = make(name, budget=None, generations=1).limit
    assert len(finish(make(name, budget=1000, generations=1))) == one_generation
    assert len(finish(make(name, budget=3, generations=1000))) == 3


def test_without_bounds_it_ends_all_the_same(name: str) -> None:
    limit = make_strategy(name, space_for(name)).limit
    assert limit is not None
    assert 1 <= limit <= 100


def test_nothing_is_proposed_after_the_end(name: str) -> None:
    strategy = finished(name)
    assert strategy.done()
    assert strategy.ask(10) == []
    assert len(strategy.individuals) == 20


def test_it_is_not_done_before_the_last_result(name: str) -> None:
    strategy = make(name, budget=4)
    while asked := strategy.ask(10):
        for individual in reversed(asked):
            assert not strategy.done()
            told(strategy, individual)
    assert strategy.done()
    assert len(strategy.proposals) == 4


@pytest.mark.parametrize("strategy", WITHOUT_STEPS)
@pytest.mark.parametrize("points", [1, 2, 5, 15])
def test_a_space_of_few_points_is_searched_once_and_ends(strategy: str, points: int) -> None:
    individuals = finish(make_strategy(strategy, tiny_space(points), population=4, budget=100), room=3)
    assert sorted(individual.genome["x"] for individual in individuals) == list(range(1, points + 1))


@pytest.mark.parametrize("strategy", WITH_CONDITIONS)
def test_conditions_that_leave_few_points_end_too(strategy: str) -> None:
    space = SearchSpace({"use": Boolean(), "x": Integer(1, 3, when={"use": True}), "y": Float(0.5, 0.5)})
    search = make_strategy(strategy, space, population=3, budget=50)
    assert len({genome_key(individual.genome) for individual in finish(search)}) == len(search.individuals) == 4
    assert search.populations()[-1]


# Failed trainings.


def failing(individual: Individual) -> float | None:
    failures: list[float | None] = [None, math.nan, math.inf, -math.inf]
    return lottery(individual) if individual.id % 5 == 4 else failures[individual.id % 5]


def first_by_standing(individuals: list[Individual]) -> Individual:
    """The individual that ranks first: of the highest fitness, among those that were trained as far as any."""
    return max(individuals, key=lambda individual: standing(individual, [lottery(individual)]))


def test_failed_trainings_never_become_the_best(name: str) -> None:
    strategy = make(name)
    individuals = finish(strategy, failing, room=4, order=random.Random(0))
    assert strategy.best == first_by_standing([individual for individual in individuals if individual.id % 5 == 4])


@pytest.mark.parametrize("fitness", [None, math.nan, math.inf, -math.inf])
def test_a_search_whose_every_training_fails_ends_without_a_best(name: str, fitness: float | None) -> None:
    strategy = make(name)
    assert len(finish(strategy, lambda _: fitness)) == 20
    assert strategy.best is None


def test_all_kinds_of_failure_are_the_same_to_a_strategy(name: str) -> None:
    without_result = finish(make(name), lambda individual: None if individual.id % 5 < 4 else lottery(individual))
    assert finish(make(name), failing) == without_result


def test_the_only_training_that_succeeds_is_the_best(name: str) -> None:
    strategy = make(name)
    finish(strategy, lambda individual: 0.1 if individual.id == 3 else None)
    assert strategy.best == strategy.individuals[3]


def test_the_best_is_that_of_the_highest_fitness_among_those_trained_furthest(name: str) -> None:
    strategy = finished(name)
    individuals = strategy.proposals
    assert strategy.best == first_by_standing(individuals)
    assert name == "halving" or strategy.best == max(individuals, key=lottery)


# Resume.


def test_replay_goes_on_as_if_nothing_had_happened(name: str) -> None:
    whole = make(name, budget=14)
    proposals = finish(whole)
    for stop in range(len(proposals) + 1):
        needed = whole.required(stop - 1) if stop else 0
        for known in {needed, stop} if stop % 2 else {(needed + stop + 1) // 2}:
            strategy = make(name, budget=14)
            strategy.replay(proposals[:stop], [evaluation_of(proposal) for proposal in proposals[:known]])
            order, awaited = random.Random(stop), proposals[known:stop]
            assert finish(strategy, room=3, order=order, awaited=awaited) == proposals
            assert strategy.populations() == whole.populations()
            assert strategy.best == whole.best


@pytest.mark.parametrize("strategy", RACING)
def test_replay_goes_on_in_the_middle_of_a_race(strategy: str) -> None:
    whole = make(strategy, budget=40, retrainable=True)
    proposals = finish(whole, noisy)
    begin = next(number for number, proposal in enumerate(proposals) if proposal.replicate)
    for stop in range(begin, len(proposals) + 1):
        known = whole.required(stop - 1)
        for results in {known, stop}:
            resumed = make(strategy, budget=40, retrainable=True)
            resumed.replay(proposals[:stop], [evaluation_of(proposal, noisy) for proposal in proposals[:results]])
            assert resumed.proposals == proposals[:stop]
            awaited = proposals[results:stop]
            assert finish(resumed, noisy, room=4, order=random.Random(stop), awaited=awaited) == proposals
            assert resumed.best == whole.best
            assert resumed.populations() == whole.populations()


def test_replay_reads_proposals_and_does_not_make_them(name: str) -> None:
    individuals = finished(name).proposals[:4]
    strategy = make(name, seed=6)
    strategy.replay(individuals, [])
    assert strategy.individuals == individuals


def test_a_larger_budget_goes_on_from_the_past(name: str) -> None:
    individuals = finish(make(name, budget=9))
    strategy = make(name, budget=20)
    strategy.replay(individuals, map(evaluation_of, individuals))
    assert not strategy.done()
    extended = finish(strategy)
    assert extended[:9] == individuals
    assert len(extended) == 20
    if name != "halving":  # its end, full trainings of the best, lies in the past of the extended search
        assert extended == finished(name).proposals


# Populations.


def test_populations_are_complete_and_evaluated(name: str) -> None:
    strategy = make(name)
    known: set[int] = set()
    for individual in _one_by_one(strategy):
        told(strategy, individual)
        known.add(individual.id)
        if not strategy.done() and name not in OF_ANY_SIZE:
            assert all(len(population) == 6 for population in strategy.populations())
        for population in strategy.populations():
            assert known.issuperset(population)
            assert 0 < len(set(population)) == len(population)
    if name not in OF_PARTS:
        assert set().union(*strategy.populations()) == known
        assert max(strategy.populations()[-1]) == 19


def test_populations_never_change_once_they_are_finished(name: str) -> None:
    strategy = make(name)
    before: list[tuple[int, ...]] = []
    for individual in _one_by_one(strategy):
        told(strategy, individual)
        assert strategy.populations()[: len(before)] == before
        before = strategy.populations()
    assert len(before) >= 3


def _one_by_one(strategy: Strategy) -> Iterator[Individual]:
    while asked := strategy.ask():
        yield from asked


# The world outside.


def test_the_global_generator_is_left_alone(name: str) -> None:
    random.seed(7)
    before = random.getstate()
    assert finish(make(name)) == finished(name).proposals, "drawn from a generator in another state"
    assert random.getstate() == before


def test_telling_twice_or_what_was_never_proposed_is_refused(name: str) -> None:
    strategy = make(name)
    with pytest.raises(ValueError, match="individual 0 was never proposed"):
        strategy.tell(0, 0.5)
    asked = strategy.ask(5)
    for number in (-1, 5, 1000):
        with pytest.raises(ValueError, match=f"individual {number} was never proposed"):
            strategy.tell(number, 0.5)
    for individual in asked:
        told(strategy, individual)
        with pytest.raises(ValueError, match=f"individual {individual.id} was told already"):
            strategy.tell(individual.id, 0.6)
    strategy.ask()
    with pytest.raises(ValueError, match="individual 0 was told already"):
        strategy.tell(0, 0.5)


@pytest.mark.parametrize("setting", ["population", "budget", "generations"])
@pytest.mark.parametrize("value", [0, -1])
def test_settings_below_one_are_refused_by_name(name: str, setting: str, value: int) -> None:
    with pytest.raises(ConfigurationError, match=f"{setting}: must be a whole number of at least 1, got {value}"):
        make(name, **{setting: value})


def test_an_unknown_strategy_is_refused_with_a_suggestion() -> None:
    with pytest.raises(
        ConfigurationError, match=r'unknown strategy "randon"\. Did you mean "random"\? Known: surrogate, '
    ):
        make_strategy("randon", tiny_space(3))


# Known configurations.


@pytest.mark.parametrize("strategy", ON_ANY_SPACE)
def test_known_configurations_come_first_and_are_completed(strategy: str) -> None:
    space = space_for(strategy)
    known = [{"rate": 1e-3, "layers": (64, 32)}, {"use_dropout": True, "dropout": 0.5, "shift": 0.1}, {"batch": 64}]
    initial = [{name: value for name, value in values.items() if name in space.genes} for values in known]
    individuals = finish(make(strategy, initial=initial))
    for individual, values in zip(individuals[:3], initial, strict=True):
        assert {name: individual.genome[name] for name in values} == values
        assert space.problems(individual.genome) == []
        assert individual.operator == "initial"
        assert individual.parents == ()
    assert all(individual.operator != "initial" for individual in individuals[3:])


@pytest.mark.parametrize("strategy", WITHOUT_STEPS)
def test_known_configurations_are_trained_once_and_no_more_than_a_population(strategy: str) -> None:
    initial = [{"x": 3}, {"x": 3}, {"x": 5}, {"x": 7}, {"x": 9}, {"x": 11}]
    individuals = finish(make_strategy(strategy, tiny_space(1000), population=4, budget=10, initial=initial))
    assert [individual.genome["x"] for individual in individuals[:3]] == [3, 5, 7]
    assert len({individual.genome["x"] for individual in individuals}) == 10


@pytest.mark.parametrize("strategy", WITHOUT_STEPS)
def test_known_configurations_that_do_not_fit_are_refused(strategy: str) -> None:
    with pytest.raises(ConfigurationError, match=r"initial\[1\]\.x: 9 is not in 1 to 3"):
        make_strategy(strategy, tiny_space(3), initial=[{"x": 1}, {"x": 9}])


# Evaluations of the same individual again.


def noisy(individual: Individual) -> float:
    """A fitness that is another one on every seed."""
    noise = random.Random(f"{genome_key(individual.genome)} {individual.replicate}").gauss(0.0, 0.3)
    return lottery(individual) + noise


def test_only_strategies_that_race_propose_an_individual_again(name: str) -> None:
    strategy = make(name, budget=20, retrainable=True)
    proposals = finish(strategy, noisy, room=4, order=random.Random(0))
    assert len(proposals) == strategy.limit == 20
    assert any(proposal.replicate for proposal in proposals) == (name in RACING)
    assert not any(proposal.replicate for proposal in finished(name).proposals)


@pytest.mark.parametrize("strategy", RACING)
@pytest.mark.parametrize("budget", [19, 20, 33])
def test_what_is_evaluated_again_is_an_individual_on_its_next_seed(strategy: str, budget: int) -> None:
    search = make(strategy, budget=budget, retrainable=True)
    proposals = finish(search, noisy, room=3, order=random.Random(0))
    assert len(proposals) == budget
    assert search.individuals == [proposal for proposal in proposals if not proposal.replicate]
    seen: Counter[int] = Counter()
    for proposal in proposals:
        assert proposal.replicate == seen[proposal.id]
        assert proposal == replace(search.individuals[proposal.id], replicate=proposal.replicate)
        seen[proposal.id] += 1


@pytest.mark.parametrize("strategy", RACING)
@pytest.mark.parametrize("budget", [20, 30])
def test_every_generation_has_its_population_where_the_search_ends_with_a_race(strategy: str, budget: int) -> None:
    search = make(strategy, budget=budget, population=10, retrainable=True)
    finish(search, noisy)
    generations = {individual.generation for individual in search.individuals}
    assert len(search.populations()) == len(generations)


@pytest.mark.parametrize("strategy", RACING)
def test_races_depend_neither_on_the_room_nor_on_the_order_of_results(strategy: str) -> None:
    expected = finish(make(strategy, budget=30, retrainable=True), noisy)
    for room in (3, 1000):
        search = make(strategy, budget=30, retrainable=True)
        assert finish(search, noisy, room=room, order=random.Random(room)) == expected


@pytest.mark.parametrize("strategy", RACING)
def test_a_result_of_a_race_is_told_once_by_its_replicate(strategy: str) -> None:
    search = make(strategy, budget=20, retrainable=True)
    while not search.proposals or not search.proposals[-1].replicate:
        for individual in search.ask():
            if not individual.replicate:
                told(search, individual)
    last = search.proposals[-1]
    with pytest.raises(ValueError, match=f"individual {last.id}, replicate 2, was never proposed"):
        search.tell(last.id, 0.5, 2)
    with pytest.raises(ValueError, match=f"individual {last.id} was told already"):
        search.tell(last.id, 0.5)
    search.tell(last.id, 0.5, 1)
    with pytest.raises(ValueError, match=f"individual {last.id}, replicate 1, was told already"):
        search.tell(last, 0.6)


# One at a time.


@pytest.mark.parametrize("strategy", STEADY)
@pytest.mark.parametrize("pending", [1, 6])
def test_the_window_alone_decides_what_is_proposed(strategy: str, pending: int) -> None:
    expected = finish(make(strategy, pending=pending))
    for room in (2, 1000):
        assert finish(make(strategy, pending=pending), room=room, order=random.Random(room)) == expected


@pytest.mark.parametrize("strategy", STEADY)
def test_so_many_are_pending_at_once_as_the_window_holds(strategy: str) -> None:
    search = make(strategy, pending=4, budget=30)  # the last ones of halving wait for everybody
    first = search.ask(1000)
    assert len(first) >= 5
    while (open_ends := len(search.proposals)) < 20:
        told(search, search.proposals[open_ends - 4])
        for earlier in search.proposals[: open_ends - 4]:
            with suppress(ValueError):
                told(search, earlier)
        assert len(search.ask(1000)) == 1


@pytest.mark.parametrize("strategy", STEADY)
@pytest.mark.parametrize("pending", [0, -2])
def test_a_window_below_one_is_refused(strategy: str, pending: int) -> None:
    with pytest.raises(ConfigurationError, match=f"--pending: must be a whole number of at least 1, got {pending}"):
        make(strategy, pending=pending)


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name not in STEADY])
def test_a_window_is_refused_where_there_is_none(strategy: str) -> None:
    for option, value in {"pending": 2, "asynchronous": True}.items():
        with pytest.raises(ConfigurationError, match=f"--{option}: strategy {strategy} has no such setting; .*ageing"):
            make(strategy, **{option: value})


@pytest.mark.parametrize("strategy", STEADY)
def test_an_asynchronous_strategy_never_waits(strategy: str) -> None:
    search = make(strategy, budget=60, asynchronous=True)
    asked = search.ask(50)
    assert len(asked) == len({genome_key(individual.genome) for individual in asked}) == 50
    order = random.Random(0)
    while not search.done():
        individual = asked.pop(order.randrange(len(asked)))
        told(search, individual)
        asked += search.ask(1)
    assert len(search.proposals) == 60
    assert search.best == first_by_standing(search.proposals)


@pytest.mark.parametrize("strategy", STEADY)
def test_an_asynchronous_strategy_knows_every_result_that_has_arrived(strategy: str) -> None:
    search = make(strategy, budget=30, asynchronous=True)
    asked = search.ask(12)
    for individual in asked[6:]:
        told(search, individual)
    children = search.ask(6)
    assert {parent for child in children for parent in child.parents} <= set(range(6, 12))
    assert any(child.parents for child in children)


@pytest.mark.parametrize("strategy", STEADY)
def test_an_asynchronous_search_goes_on_after_a_replay(strategy: str) -> None:
    search = make(strategy, budget=24, asynchronous=True)
    asked = search.ask(10)
    for individual in asked[3:]:
        told(search, individual)
    search.ask(2)
    resumed = make(strategy, budget=24, asynchronous=True)
    resumed.replay(search.proposals, map(evaluation_of, asked[3:]))
    assert resumed.proposals == search.proposals
    assert resumed.best == search.best
    proposals = finish(resumed, room=8, order=random.Random(0), awaited=[*asked[:3], *search.proposals[10:]])
    assert len(proposals) == len({genome_key(individual.genome) for individual in proposals}) == 24
    assert resumed.best == first_by_standing(proposals)


@pytest.mark.parametrize("strategy", RACING)
def test_an_asynchronous_race_waits_for_its_rounds_alone(strategy: str) -> None:
    search = make(strategy, budget=40, asynchronous=True, retrainable=True)
    asked = search.ask(1000)
    assert len(asked) == 36
    assert len(finish(search, noisy, room=36, order=random.Random(0), awaited=asked)) == 40
