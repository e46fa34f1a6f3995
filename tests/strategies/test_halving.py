"""`halving`: short trainings first, the best third continues, and a short training never ranks above a whole one."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import evo
from evo.data import PreparedDataset
from evo.errors import ConfigurationError
from evo.individual import STEPS, Individual, genome_key, training_seed, without_duration
from evo.loop.deadline import Stop
from evo.space import SearchSpace
from evo.space.genes import Boolean, Categorical, Float, Gene, Integer
from evo.strategies import make_strategy
from evo.strategies.base import Strategy
from evo.strategies.halving import rungs_of
from tests.conftest import quick_screening, training_in_this_process
from tests.spaces import smooth_fitness, smooth_space, tiny_space
from tests.strategies.loops import evaluation_of, finish

pytestmark = pytest.mark.usefixtures("quick_models")

SPACE = SearchSpace({**smooth_space().genes, "steps": Integer(100, 1800, step=100)})
RUNGS = [200, 600, 1800]
Make: TypeAlias = Callable[..., Strategy]


def make(space: SearchSpace = SPACE, **settings: Any) -> Strategy:
    return make_strategy("halving", space, **{"seed": 1, "budget": 60, **settings})


@pytest.fixture(params=[True, False], ids=["continuations", "individuals"])
def halving(request: pytest.FixtureRequest) -> Make:
    """Make the strategy whose promotions continue a training, and the older one whose promotions are individuals."""
    return lambda *args, **settings: make(*args, **settings, continuations=request.param)


@cache
def searched(continuations: bool) -> Strategy:
    """Return the strategy at the end of a search of 90; no test changes it."""
    strategy = make(budget=90, continuations=continuations)
    finish(strategy, quality)
    return strategy


@pytest.fixture(params=[True, False], ids=["continuations", "individuals"])
def ended(request: pytest.FixtureRequest) -> Strategy:
    return searched(request.param)


def steps(proposal: Individual) -> int:
    """How far a proposal is trained."""
    return proposal.until or int(proposal.genome[STEPS])  # type: ignore[arg-type]  # a number


def rung(proposal: Individual) -> int:
    return RUNGS.index(steps(proposal))


def key(proposal: Individual) -> str:
    return genome_key(without_duration(proposal.genome))


def quality(proposal: Individual) -> float:
    """What is trained longer reaches more."""
    return smooth_fitness(without_duration(proposal.genome)) + steps(proposal) / 1800


def lottery(proposal: Individual) -> float:
    """A fitness that depends on the genome and on the steps."""
    return random.Random(f"{key(proposal)} {steps(proposal)}").random()


@pytest.mark.parametrize(
    ("gene", "rungs"),
    [
        (Integer(100, 1800, step=100), [200, 600, 1800]),
        (Integer(100, 1600, log=True, step=100), [200, 500, 1600]),
        (Integer(200, 4050, log=True, step=100), [400, 1300, 4000]),
        (Integer(1, 9), [1, 3, 9]),
        (Integer(50, 900, step=50), [100, 300, 900]),
    ],
    ids=str,
)
def test_rungs_are_a_ninth_a_third_and_all_of_the_steps_on_their_grid(gene: Integer, rungs: list[int]) -> None:
    assert rungs_of(SearchSpace({"x": Float(0.0, 1.0), "steps": gene})) == rungs
    assert all(gene.contains(steps) for steps in rungs)


def test_every_proposal_is_trained_to_its_rung(ended: Strategy) -> None:
    proposals = ended.proposals
    assert {rung(proposal) for proposal in proposals} == {0, 1, 2}
    for proposal in proposals:
        whole = proposal.until is not None
        assert proposal.genome["steps"] == (1800 if whole else RUNGS[proposal.strategy_parameters["rung"]])
    assert list(proposals[0].genome) == [name for name in SPACE.genes if name in proposals[0].genome]


def test_a_promotion_is_in_the_best_third_of_what_was_known_of_its_rung(halving: Make) -> None:
    strategy = halving(budget=90)
    proposals = finish(strategy, quality, room=4, order=random.Random(0))
    promotions = [number for number, proposal in enumerate(proposals) if rung(proposal)]
    assert len(promotions) > 15
    for number in promotions:
        if number >= 88:
            continue  # the last two train the best in full
        promotion, known = proposals[number], proposals[: strategy.required(number)]
        below = sorted((p for p in known if rung(p) == rung(promotion) - 1), key=quality, reverse=True)
        assert key(promotion) in [key(proposal) for proposal in below[: len(below) // 3]]


def test_a_promotion_continues_the_training_of_its_genome(ended: Strategy) -> None:
    furthest: dict[str, Individual] = {}
    for proposal in ended.proposals:
        before = furthest.get(key(proposal))
        assert rung(proposal) == (0 if before is None else rung(before) + 1)
        if before is not None:
            assert training_seed(1, proposal.genome, 0) == training_seed(1, before.genome, 0)
            if proposal.until is None:
                assert (proposal.operator, proposal.parents) == ("promotion", (before.id,))
            else:
                assert proposal.id == before.id
                changed = {"until": RUNGS[rung(proposal)], "generation": proposal.generation}
                assert asdict(proposal) == asdict(before) | changed
                assert proposal.generation >= before.generation
        furthest[key(proposal)] = proposal


def choices(proposals: list[Individual]) -> list[tuple[str, int, list[str]]]:
    """What was proposed, whatever it is called."""
    genomes = {proposal.id: key(proposal) for proposal in proposals}
    return [
        (key(proposal), rung(proposal), [] if rung(proposal) else [genomes[parent] for parent in proposal.parents])
        for proposal in proposals
    ]


@pytest.mark.parametrize("fitness", [quality, lottery, lambda proposal: None if lottery(proposal) < 0.5 else 0.5])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_continued_trainings_and_new_individuals_are_the_same_choices(fitness: Any, asynchronous: bool) -> None:
    first, second = (
        finish(make(budget=60, continuations=kind, asynchronous=asynchronous), fitness, room=4, order=random.Random(2))
        for kind in (False, True)
    )
    assert choices(first) == choices(second)
    assert [one.generation for one in first if not rung(one)] == [one.generation for one in second if not rung(one)]


def test_a_result_is_learned_once_and_by_its_part() -> None:
    strategy = make(continuations=True, pending=1)
    while all(not rung(proposal) for proposal in strategy.proposals):
        for proposal in strategy.ask():
            if rung(proposal):
                break
            strategy.tell(proposal.id, quality(proposal))
            with pytest.raises(ValueError, match=f"individual {proposal.id} was told already"):
                strategy.tell(proposal, 0.5)
    continued = strategy.proposals[-1]
    assert strategy.best is not None
    assert not strategy.done()
    strategy.tell(evaluation_of(continued, quality))
    with pytest.raises(ValueError, match=f"individual {continued.id} was told already"):
        strategy.tell(continued.id, 0.5)


def test_proposals_depend_neither_on_the_room_nor_on_the_order_of_results(halving: Make) -> None:
    expected = finish(halving(), lottery)
    for room in (2, 7):
        assert finish(halving(), lottery, room=room, order=random.Random(room)) == expected


def test_a_replay_continues_as_if_nothing_had_happened(halving: Make) -> None:
    whole = halving(budget=40)
    proposals = finish(whole, lottery)
    for stop in range(0, 41, 5):
        needed = whole.required(stop - 1) if stop else 0
        for known in {needed, stop}:
            strategy = halving(budget=40)
            strategy.replay(proposals[:stop], [evaluation_of(proposal, lottery) for proposal in proposals[:known]])
            resumed = finish(strategy, lottery, room=3, order=random.Random(stop), awaited=proposals[known:stop])
            assert resumed == proposals
            assert (strategy.populations(), strategy.best) == (whole.populations(), whole.best)


def test_no_training_is_promoted_twice_and_no_genome_begins_twice(ended: Strategy) -> None:
    assert len({(key(proposal), rung(proposal)) for proposal in ended.proposals}) == len(ended.proposals) == 90


def test_it_spends_a_fraction_of_the_steps_of_whole_trainings(ended: Strategy) -> None:
    furthest: dict[str, int] = {}
    for proposal in ended.proposals:
        furthest[key(proposal)] = max(furthest.get(key(proposal), 0), steps(proposal))
    assert sum(furthest.values()) < 0.5 * 1800 * len(furthest)
    assert sum(most == 1800 for most in furthest.values()) >= 3


def test_a_short_training_never_ranks_above_a_whole_one(halving: Make) -> None:
    strategy = halving()
    proposals = finish(strategy, lambda proposal: -steps(proposal) + lottery(proposal))
    best = max((proposal for proposal in proposals if rung(proposal) == 2), key=lottery)
    assert strategy.best == strategy.individuals[best.id]


def test_the_rungs_are_those_of_the_ranking_of_a_run_of_an_objective() -> None:
    run = evo.search(SPACE, lambda config: -float(config["steps"]), strategy="halving", budget=40, seed=1)
    assert not run.settings.continuations, "a function cannot be continued"
    assert run.best.config["steps"] == 1800
    ranking = [entry.config["steps"] for entry in run.ranked()]
    assert ranking == sorted(ranking, reverse=True)
    assert len(set(ranking)) == 3


def test_failures_are_never_promoted(halving: Make) -> None:
    def failing(proposal: Individual) -> float | None:
        return None if random.Random(key(proposal)).random() < 0.6 else quality(proposal)

    proposals = finish(halving(), failing)
    assert all(failing(proposal) is not None for proposal in proposals if rung(proposal))
    assert any(rung(proposal) for proposal in proposals)
    assert not any(rung(proposal) for proposal in finish(halving(budget=30), lambda proposal: None))


def test_the_furthest_are_the_population(ended: Strategy) -> None:
    whole = {proposal.id for proposal in ended.proposals if rung(proposal) == 2}
    assert set(ended.populations()[-1]) == whole


@pytest.mark.parametrize("generations", [1, 3])
def test_a_generation_is_a_block_of_proposals(halving: Make, generations: int) -> None:
    strategy = halving(budget=None, generations=generations)
    assert len(finish(strategy, quality)) == generations * strategy.population_size
    assert len(strategy.populations()) == generations


def test_it_finds_better_whole_trainings_than_random_search_of_as_many_steps(halving: Make) -> None:
    for seed in range(2):
        proposals = finish(halving(budget=90, seed=seed), quality)
        spent = sum(steps(one) - (RUNGS[rung(one) - 1] if rung(one) else 0) for one in proposals)
        rng = random.Random(seed)
        drawn = [{**SPACE.sample(rng), STEPS: 1800} for _ in range(spent // 1800)]
        best = max((proposal for proposal in proposals if rung(proposal) == 2), key=quality)
        assert quality(best) > max(quality(Individual(0, genome)) for genome in drawn)


def test_known_configurations_begin_on_the_first_rung_whatever_their_steps(halving: Make) -> None:
    initial: list[dict[str, Any]] = [{"rate": 1e-3, "steps": 1800}, {"tanh": True}]
    first, second, third = halving(initial=initial).ask(3)
    assert [individual.operator for individual in (first, second, third)] == ["initial", "initial", "random"]
    assert (first.genome["rate"], second.genome["tanh"]) == (1e-3, True)
    assert rung(first) == rung(second) == 0


def test_the_same_configuration_with_other_steps_is_known_already(halving: Make) -> None:
    genome = {"layers": (8,), "rate": 1e-3, "batch": 16, "tanh": True}
    individuals = halving(initial=[{**genome, "steps": 1700}, {**genome, "steps": 900}, {"batch": 17}]).ask(3)
    assert [individual.operator for individual in individuals].count("initial") == 2
    assert len({key(individual) for individual in individuals}) == 3


@pytest.mark.parametrize("points", [1, 2, 5, 15])
def test_a_space_of_few_points_is_trained_in_full_each_once_whatever_the_number_of_workers(
    halving: Make, points: int
) -> None:
    space = SearchSpace({**tiny_space(points).genes, "steps": Integer(1, 9)})
    proposals = finish(halving(space, budget=100), lottery, room=3)
    for most in (1, 3, 9):
        there = [proposal.genome["x"] for proposal in proposals if steps(proposal) == most]
        assert sorted(there) == list(range(1, points + 1))
    assert finish(halving(space, budget=100), lottery, order=random.Random(1), room=2) == proposals


@pytest.mark.parametrize(
    "genes",
    [
        {"x": Float(0.0, 1.0)},
        {"x": Float(0.0, 1.0), "steps": Categorical([100, 900])},
        {"use": Boolean(), "steps": Integer(1, 9, when={"use": True})},
        {"steps": Integer(1, 9), "x": Float(0.0, 1.0, when={"steps": [1, 2]})},
    ],
    ids=["no steps", "steps of another kind", "steps with a condition", "a condition on the steps"],
)
def test_a_space_whose_steps_cannot_be_rungs_is_refused(genes: dict[str, Gene]) -> None:
    with pytest.raises(
        ConfigurationError, match="strategy halving: needs an integer gene steps or epochs without conditions"
    ):
        make(SearchSpace(genes))


@pytest.mark.parametrize("gene", [Integer(9, 9), Integer(5, 9), Integer(100, 300, step=100)], ids=str)
def test_too_few_values_of_steps_are_refused_with_the_remedy(gene: Integer) -> None:
    with pytest.raises(
        ConfigurationError, match=r"a ninth, a third and all of \d+ steps are not three different .*lower"
    ):
        make(SearchSpace({"x": Float(0.0, 1.0), "steps": gene}))


def test_a_space_of_steps_alone_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no gene but the length"):
        make(SearchSpace({"steps": Integer(1, 9)}))


TRAINED = """
model = "mlp"
dataset = "digits"

[training]
evaluate_every = 10
batch_size = 64

[genes.hidden_layers]
type = "layers"
depth = [1, 2]
width = [4, 16]

[genes.learning_rate]
type = "float"
low = 1e-3
high = 1e-1
log = true

[genes.steps]
type = "integer"
low = 10
high = 90
"""


def trained(folder: Path, name: str, **settings: Any) -> evo.Run:
    (folder / "trained.toml").write_text(TRAINED)
    values = {"budget": 16, "seed": 1, "finalists": 1, "workers": 1, "output": folder / name}
    return evo.search(folder / "trained.toml", strategy="halving", **values | settings)


def rows(run: evo.Run) -> list[dict[str, Any]]:
    clock = ["seconds", "seconds_before", "started", "worker"]
    return [dict(row) for row in run.table.drop(columns=clock).astype(str).to_dict("records")]


def test_epochs_are_rungs_as_steps_are_whatever_the_batch_sizes(tmp_path: Path) -> None:
    text = TRAINED.replace("evaluate_every = 10\nbatch_size = 64\n", 'schedule = "one_cycle"\n')
    text = text[: text.index("[genes.steps]")] + EPOCHS_AND_BATCHES
    (tmp_path / "epochs.toml").write_text(text)
    values = {"strategy": "halving", "seed": 1, "finalists": 1}
    whole = evo.search(tmp_path / "epochs.toml", budget=16, workers=2, output=tmp_path / "whole", **values)
    evo.search(tmp_path / "epochs.toml", budget=9, workers=1, output=tmp_path / "parts", **values)
    assert evo.resume(tmp_path / "parts", budget=16, workers=1).trainings == whole.trainings == 16
    images = 1500 - 150
    for evaluation in whole.search_evaluations:
        config, proposal = whole.individuals[evaluation.individual].config, whole.answered[evaluation.individual, 0]
        assert config["epochs"] == 9
        assert evaluation.steps_trained == (proposal.until or 9) * (images // config["batch_size"])
        assert evaluation.status == ("complete" if proposal.until == 9 else "partial")
    assert {proposal.until for proposal in whole.proposals} == {1, 3, 9}
    assert whole.best.config["epochs"] == 9


EPOCHS_AND_BATCHES = """
[genes.batch_size]
type = "integer"
low = 32
high = 128

[genes.epochs]
type = "integer"
low = 1
high = 9
"""


def test_trainings_pause_continue_and_are_ranked_by_how_far_they_came(undisturbed: evo.Run) -> None:
    run = undisturbed
    assert len(run.proposals) == len(run.results) - 3 == 16
    assert len(run.table) == len(run.individuals) < 16
    parts: dict[int, list[evo.evaluation.Evaluation]] = {}
    for result in run.results[:16]:
        parts.setdefault(result.individual, []).append(result)
    for number, (*paused, last) in parts.items():
        assert run.evaluations[number, 0] == last
        assert [part.steps_trained for part in (*paused, last)] == [10, 30, 90][: 1 + len(paused)]
        assert all(part.status == "partial" and not part.complete for part in paused)
        assert last.status == ("complete" if last.steps_trained == 90 else "partial")
        assert run.individuals[number].genome["steps"] == 90
        for before, after in zip(paused, (*paused, last)[1:], strict=True):
            assert after.curve[: len(before.curve)] == before.curve
            assert after.seconds_before >= before.seconds > 0
            assert after.seed == before.seed
    assert {entry.evaluation.steps_trained for entry in run.ranked()} == {90}, "only whole trainings are ranked"
    assert {entry.steps_trained for entry in run.search_evaluations} == {10, 30, 90}
    assert run.best.evaluation.complete
    assert all(run.evaluations[number, 0].complete for number in run.finalists)
    assert "rung" not in run.table


@pytest.mark.usefixtures("in_process", "digits")
def test_a_run_without_a_whole_training_ranks_the_paused_ones(tmp_path: Path) -> None:
    run = trained(tmp_path, "run", budget=2)
    assert {result.status for result in run.search_evaluations} == {"partial"}
    assert run.winner == run.ranked()[0].id
    assert run.finalist_evaluations[0].steps_trained == 90


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, digits: PreparedDataset) -> evo.Run:
    with quick_screening(), training_in_this_process():
        return trained(tmp_path_factory.mktemp("halving"), "whole")


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("moment", [3, 9, 14])
def test_a_run_that_is_stopped_and_resumed_has_the_same_table(
    tmp_path: Path, moment: int, undisturbed: evo.Run
) -> None:
    checks = [0]

    def stop() -> None:
        checks[0] += 1
        if checks[0] > moment:
            raise Stop("enough", 75)

    with pytest.raises(Stop):
        trained(tmp_path, "stopped", stop_check=stop)
    resumed = evo.resume(tmp_path / "stopped")
    assert rows(resumed) == rows(undisturbed)
    assert resumed.generations == undisturbed.generations
    assert evo.load(tmp_path / "stopped").best.config == undisturbed.best.config
