"""The search quality benchmark: its arithmetic on made-up runs with known answers, and that it runs from end to end."""

from __future__ import annotations

import json
import math
import os
import pickle
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.command_line import start
from benchmarks.search_quality import environments
from benchmarks.search_quality.__main__ import app
from benchmarks.search_quality.analysis import (
    Estimate,
    band,
    comparisons,
    evaluations_to,
    interval,
    level_estimates,
    levels,
    paired_curves,
    regret_curve,
    regret_curve_by_steps,
    resampled,
    shares_better,
)
from benchmarks.search_quality.encoding import decode, encode, parameters_of
from benchmarks.search_quality.methods import (
    PEER_METHODS,
    EvoSearcher,
    Method,
    Peer,
    PeerSearcher,
    check_method,
)
from benchmarks.search_quality.objectives import FunctionObjective, TableObjective, noise_number
from benchmarks.search_quality.peers import protocol, tables_adapter
from benchmarks.search_quality.places import PEERS, Adapter, Places
from benchmarks.search_quality.runs import Job, Recorder, Store, fingerprint, jobs_of, make_row, run_search
from benchmarks.search_quality.tasks import HALVES, TASKS, Function, Table, Training, place_in_table, tasks_named
from evo.errors import ConfigurationError
from evo.individual import Genome, Individual
from evo.space import SearchSpace
from evo.space.genes import Boolean, Categorical, Float, Integer, Layers
from evo.strategies import make_strategy
from tests.spaces import space_of_every_kind, spaces

SPACE = SearchSpace(
    {
        "hidden_layers": Layers(depth=(1, 3), width=(8, 64), log=True),
        "batch_norm": Boolean(),
        "dropout": Float(0.0, 0.5, when={"batch_norm": False}),
        "steps": Integer(10, 90, log=True),
    },
    initial=[{"hidden_layers": (16,), "batch_norm": False, "dropout": 0.1, "steps": 30}],
)
[VEHICLE] = tasks_named(["hpobench-vehicle"], "tuning")


def row(method: str = "a", task: str = "t", seed: int = 0, true: Any = ((1, 0.0),), **more: Any) -> dict[str, Any]:
    """A row whose best value is 10 and whose random draw's is 0."""
    return {"method": method, "task": task, "seed": seed, "scale": [10.0, 0.0], "true": true, **more}


# Curves.


def test_a_regret_holds_from_the_training_at_which_the_recommendation_changed() -> None:
    curve = regret_curve(row(true=[[1, 0.0], [3, 5.0], [4, 10.0]]), 6)
    assert curve.tolist() == [1.0, 1.0, 0.5, 0.0, 0.0, 0.0]


def test_the_same_against_steps_counts_trainings_that_have_ended() -> None:
    # Full trainings have 10 steps: after 10 steps two trainings have ended, after 20 four, after 30 four still.
    run = row(true=[[1, 0.0], [3, 5.0], [5, 10.0]], steps=[4, 6, 4, 6, 11, 1], full_steps=10)
    assert regret_curve_by_steps(run, 4).tolist() == [1.0, 0.5, 0.5, 0.0]


def test_before_the_first_training_has_ended_its_own_regret_holds() -> None:
    run = row(true=[[1, 5.0], [2, 10.0]], steps=[20, 10], full_steps=10)
    assert regret_curve_by_steps(run, 3).tolist() == [0.5, 0.5, 0.0]


def test_only_tasks_and_seeds_that_all_methods_have_are_compared() -> None:
    rows = [row("a", "t", seed) for seed in (0, 1, 2)] + [row("b", "t", seed, [[1, 5.0]]) for seed in (2, 1)]
    rows += [row("a", "u", 0)]
    methods, curves = paired_curves(rows, 3)
    assert methods == ["a", "b"]
    assert list(curves) == ["t"]
    assert curves["t"].shape == (2, 2, 3)
    assert curves["t"][:, :, 0].tolist() == [[1.0, 1.0], [0.5, 0.5]]


# Figures of curves.

FAST = np.array([4.0, 2.0, 1.0, 1.0])
SLOW = np.array([4.0, 3.0, 2.0, 1.5])


def test_every_task_weighs_the_same_in_the_level_whatever_its_seeds() -> None:
    few, many = np.full((1, 1, 2), 4.0), np.full((1, 9, 2), 2.0)
    assert levels([few, many]).tolist() == [[3.0, 3.0]]


def test_evaluations_to_anothers_level_are_counted_from_one() -> None:
    found = evaluations_to(np.stack([FAST, SLOW]), at=3)
    # FAST has SLOW's level at 3, which is 2, after 2 trainings; SLOW never has FAST's, which is 1.
    assert found.tolist() == [[3.0, 2.0], [math.inf, 3.0]]


def test_the_share_of_better_runs_is_of_pairs_and_ties_count_half() -> None:
    runs = np.array([[[1.0], [2.0], [3.0], [4.0]], [[2.0], [2.0], [1.0], [5.0]]])
    share = shares_better(runs, at=1)
    assert share[0, 1] == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert share[0, 1] + share[1, 0] == pytest.approx(1.0)


def test_an_interval_leaves_two_and_a_half_percent_out_and_may_be_infinite() -> None:
    low, high = interval(np.arange(1001.0))
    assert (low, high) == (25.0, 975.0)
    assert interval(np.array([1.0, math.inf, math.inf]))[1] == math.inf


def test_runs_that_all_agree_have_intervals_of_no_width() -> None:
    curves = {task: np.stack([np.tile(FAST, (3, 1)), np.tile(SLOW, (3, 1))]) for task in "tu"}
    first, second = comparisons(["fast", "slow"], curves, at=3, draws=50)
    assert (first.first, first.second, first.at) == ("fast", "slow", 3)
    assert first.better == Estimate(1.0, 1.0, 1.0)
    assert first.evaluations == first.evaluations_median == Estimate(2.0, 2.0, 2.0)
    assert first.by_task == {"t": (1.0, 2.0), "u": (1.0, 2.0)}
    assert second.better.value == 0.0
    assert second.evaluations.value == math.inf
    assert second.evaluations.text(0) == "– [–, –]"
    assert level_estimates(curves, [1, 4], draws=50)[1] == [Estimate(4.0, 4.0, 4.0), Estimate(1.5, 1.5, 1.5)]


def test_the_median_over_tasks_is_that_of_each_task_apart() -> None:
    # On "t" fast needs 2 trainings, on "u" and "v" 3: the mean level is ruled by "t", whose scale is the largest.
    late = np.array([4.0, 3.0, 1.9, 1.0])
    curves = {
        "t": 100 * np.stack([FAST[None], SLOW[None]]),
        "u": np.stack([late[None], SLOW[None]]),
        "v": np.stack([late[None], SLOW[None]]),
    }
    first, _ = comparisons(["fast", "slow"], curves, at=3, draws=10)
    assert (first.evaluations.value, first.evaluations_median.value) == (3.0, 3.0)
    assert first.by_task["t"][1] == 2.0


def test_a_bootstrap_sample_takes_the_same_runs_of_all_methods() -> None:
    generator = np.random.default_rng(0)
    runs = generator.normal(size=(1, 30, 4))
    for sample in resampled([np.concatenate([runs, runs + 1.0])] * 3, generator):
        assert sample.shape == (2, 30, 4)
        np.testing.assert_allclose(sample[1] - sample[0], 1.0)


def test_the_interval_over_seeds_covers_the_mean_and_narrows() -> None:
    generator = np.random.default_rng(1)
    widths = []
    for count in (10, 1000):
        mean, low, high = band(generator.normal(size=(count, 3)), draws=400)
        assert (low <= mean).all()
        assert (mean <= high).all()
        widths.append(float((high - low).mean()))
    assert widths[0] == pytest.approx(2 * 1.96 / math.sqrt(10), rel=0.5)
    assert widths[1] == pytest.approx(2 * 1.96 / math.sqrt(1000), rel=0.2)


# Tasks.


def test_the_halves_are_alike_and_at_most_twelve_tasks() -> None:
    assert len(TASKS) <= 12
    assert len({task.name for task in TASKS}) == len(TASKS)
    kinds = {half: [type(task.source) for task in TASKS if task.half == half] for half in HALVES}
    assert kinds["tuning"] == kinds["reporting"]
    for half in HALVES:
        sources = [task.source for task in TASKS if task.half == half]
        assert sorted(source.suite for source in sources if isinstance(source, Table)) == [
            "hpobench",
            "hpolib",
            "nasbench201",
        ]
        assert sorted(source.dimension for source in sources if isinstance(source, Function)) == [5, 10]
    assert all(task.seeds >= (5 if isinstance(task.source, Training) else 20) for task in TASKS)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_task_has_one_complete_anchor(task: Any) -> None:
    space = task.space()
    [anchor] = space.initial
    assert space.problems(anchor) == []
    if isinstance(task.source, Table):
        sizes = tuple(int(gene.points) for gene in space.genes.values())
        assert sizes == tables_adapter.SIZES[task.source.suite]
        assert all(0 <= place < size for place, size in zip(place_in_table(space.genes, anchor), sizes, strict=True))
    assert fingerprint(task) == fingerprint(task)


def test_tasks_of_the_other_half_are_refused() -> None:
    assert [task.name for task in tasks_named([], "tuning")] == [task.name for task in TASKS if task.half == "tuning"]
    assert tasks_named([], "all") == list(TASKS)
    with pytest.raises(ConfigurationError, match="belongs to the reporting half"):
        tasks_named(["ellipsoid-5"], "tuning")
    with pytest.raises(ConfigurationError, match=r'unknown task "elipsoid-5".*ellipsoid-5'):
        tasks_named(["elipsoid-5"], "all")


# The spaces that peers see.


def test_peers_see_a_list_of_layers_as_a_depth_and_widths_with_conditions() -> None:
    parameters = {entry["name"]: entry for entry in parameters_of(SPACE)}
    assert parameters["hidden_layers_depth"] == {
        "name": "hidden_layers_depth",
        "kind": "integer",
        "low": 1,
        "high": 3,
        "log": False,
        "when": {},
    }
    assert parameters["hidden_layers_width_0"]["when"] == {}
    assert parameters["hidden_layers_width_2"]["when"] == {"hidden_layers_depth": [3]}
    assert parameters["hidden_layers_width_1"]["log"]
    assert parameters["batch_norm"]["choices"] == [False, True]
    assert parameters["dropout"]["when"] == {"batch_norm": [False]}


@given(spaces(), st.integers(0, 5))
def test_a_genome_comes_back_from_the_peers_values(space: SearchSpace, seed: int) -> None:
    genome = space.sample(random.Random(seed))
    values = encode(space, genome)
    assert set(values) == {entry["name"] for entry in parameters_of(space)}
    assert decode(space, json.loads(json.dumps(values))) == genome
    active = protocol.active_only(parameters_of(space), values)
    assert decode(space, active) == genome


def test_the_values_of_every_kind_of_gene_come_back() -> None:
    space = space_of_every_kind()
    for seed in range(50):
        genome = space.sample(random.Random(seed))
        assert decode(space, protocol.active_only(parameters_of(space), encode(space, genome))) == genome


def test_peers_see_none_and_tuples_as_texts_and_comparisons_as_conditions() -> None:
    genes: dict[str, Any] = {
        "kernel": Categorical([None, (3, 3), 1]),
        "rate": Float(0.0, 1.0),
        "large": Integer(1, 10**6),
        "few": Integer(0, 3),
        "a": Boolean(when={"kernel": [None, 1]}),
        "b": Boolean(when={"rate": ">= 0.5"}),
        "c": Boolean(when={"large": ">= 10"}),
        "d": Boolean(when={"few": "!= 1"}),
    }
    parameters = {entry["name"]: entry for entry in parameters_of(SearchSpace(genes))}
    assert parameters["kernel"]["choices"] == ["null", "[3, 3]", 1]
    assert parameters["a"]["when"] == {"kernel": ["null", 1]}
    assert parameters["b"]["when"] == {"rate": {"sign": ">=", "number": 0.5}}
    assert parameters["c"]["when"] == {"large": {"sign": ">", "number": 9}}
    assert parameters["d"]["when"] == {"few": [0, 2, 3]}
    assert protocol.is_active(parameters["c"], {"large": 10})
    assert not protocol.is_active(parameters["c"], {"large": 9})


# Runs.


class Counting:
    """An objective that says what it was asked: the value is x, plus a thousandth a replicate; the truth is -x."""

    scale = (0.0, -10.0)

    def __init__(self) -> None:
        self.asked: list[tuple[Any, int]] = []

    def observe(self, genome: Genome, replicate: int) -> float:
        self.asked.append((genome.get("x"), replicate))
        return float(genome["x"]) + replicate / 1000  # type: ignore[arg-type]  # a number

    def truth(self, genome: Genome) -> float:
        return -float(genome["x"])  # type: ignore[arg-type]  # a number


class Listed:
    """A searcher that asks for listed genomes."""

    shares_curves = False

    def __init__(self, genomes: list[Genome], recommended: Genome | None = None):
        self.versions: dict[str, str] = {}
        self.genomes, self.recommended, self.told = list(genomes), recommended, list[float]()

    def ask(self) -> Genome | None:
        return self.genomes.pop(0) if self.genomes else None

    def tell(self, value: float) -> None:
        self.told.append(value)

    def recommend(self) -> Genome | None:
        return self.recommended


X = SearchSpace({"x": Integer(0, 9)})


def test_a_genome_that_comes_again_is_evaluated_on_a_new_seed() -> None:
    objective, searcher = Counting(), Listed([{"x": 3}, {"x": 5}, {"x": 3}, {"x": 3}])
    found = run_search(searcher, objective, X, 4, by_steps=False)
    assert objective.asked == [(3, 0), (5, 0), (3, 1), (3, 2)]
    assert searcher.told == found["observed"] == [3.0, 5.0, 3.001, 3.002]
    assert found["repeats"] == 2


def test_without_a_recommendation_the_best_value_observed_counts_and_its_truth_is_kept_where_it_changes() -> None:
    found = run_search(Listed([{"x": 3}, {"x": 2}, {"x": 5}, {"x": 4}]), Counting(), X, 10, by_steps=False)
    assert found["true"] == [[1, -3.0], [3, -5.0]]
    assert found["recommended"] == {"x": 5}
    assert len(found["seconds"]) == 1


def test_a_methods_own_recommendation_counts() -> None:
    found = run_search(Listed([{"x": 3}, {"x": 5}], {"x": 1}), Counting(), X, 10, by_steps=False)
    assert found["true"] == [[1, -1.0]]


def test_a_method_that_does_not_begin_with_the_anchor_is_refused() -> None:
    genes = {"x": Float(0.0, 1.0), "steps": Integer(1, 10)}
    space = SearchSpace(genes, initial=[{"x": 0.5, "steps": 10}])
    for first in ({"x": 0.5, "steps": 10}, {"x": 0.5, "steps": 3}, {"x": 0.5 + 1e-12, "steps": 10}):
        found = run_search(Listed([first, {"x": 0.9, "steps": 10}]), Counting(), space, 2, by_steps=False)
        assert len(found["observed"]) == 2
    with pytest.raises(RuntimeError, match=r"begins with .*0\.4.*, not with the anchor"):
        run_search(Listed([{"x": 0.4, "steps": 10}]), Counting(), space, 2, by_steps=False)


def test_a_budget_of_steps_ends_when_they_are_spent() -> None:
    space = SearchSpace({"x": Integer(0, 9), "steps": Integer(1, 10)})
    genomes: list[Genome] = [{"x": 1, "steps": steps} for steps in (5, 5, 9, 1, 9, 9)]
    found = run_search(Listed(genomes), Counting(), space, 2, by_steps=True)
    assert found["steps"] == [5, 5, 9, 1]
    assert found["full_steps"] == 10


@pytest.mark.parametrize(("shares", "steps"), [(True, [3, 6, 0, 5]), (False, [3, 9, 4, 5])])
def test_a_training_that_goes_on_from_a_shorter_one_counts_the_steps_that_it_adds(
    shares: bool, steps: list[int]
) -> None:
    recorder = Recorder(Counting(), SPACE, shares)
    for x, wanted in ((1, 3), (1, 9), (1, 4), (2, 5)):
        recorder.evaluate({"x": x, "steps": wanted})
    assert recorder.steps == steps


def test_the_noise_of_a_table_depends_on_run_genome_and_replicate_and_the_truth_is_the_mean() -> None:
    space = SearchSpace({"a": Integer(0, 3), "b": Categorical(("p", "q"))})
    fitness = np.random.default_rng(0).normal(size=(4, 2, 5)).astype(np.float32)
    objective = TableObjective(fitness, space, seed=1)
    genome: Genome = {"a": 2, "b": "q"}
    seen = {objective.observe(genome, replicate) for replicate in range(60)}
    assert seen == {float(value) for value in fitness[2, 1]}
    assert objective.observe(genome, 3) == TableObjective(fitness, space, seed=1).observe(genome, 3)
    assert objective.truth(genome) == pytest.approx(float(fitness[2, 1].mean()))
    assert objective.scale == pytest.approx((float(fitness.mean(-1).max()), float(np.median(fitness.mean(-1)))))
    assert len({noise_number(run, genome, 0) for run in range(20)}) == 20


@pytest.mark.parametrize("name", ["random", "ga", "report2019-fixed"])
def test_one_of_evos_strategies_is_asked_and_told_to_its_end(name: str) -> None:
    searcher = EvoSearcher(make_strategy(name, X, seed=1, budget=6, population=3))
    found = run_search(searcher, Counting(), X, 9, by_steps=False)
    assert len(found["observed"]) == 6
    assert found["true"][-1][1] == -max(found["observed"])


def test_who_was_evaluated_more_often_is_recommended_as_at_the_end_of_a_run_of_evo() -> None:
    class Race:
        all_proposals = (
            Individual(0, {"x": 5}),
            Individual(1, {"x": 4}),
            Individual(2, {"x": 9}),
            Individual(1, {"x": 4}, replicate=1),
        )

        def __init__(self) -> None:
            self.told: list[tuple[int, int]] = []
            self.proposals: list[Individual] = []

        def ask(self, room: int) -> list[Individual]:
            asked = list(self.all_proposals[len(self.told) :][:room])
            self.proposals += asked
            return asked

        def tell(self, individual: Individual, value: float) -> None:
            self.told.append((individual.id, individual.replicate))

        def done(self) -> bool:
            return True

    race, objective = Race(), Counting()
    found = run_search(EvoSearcher(race), objective, X, 9, by_steps=False)  # type: ignore[arg-type]  # a stand-in
    assert race.told == [(0, 0), (1, 0), (2, 0), (1, 1)]
    assert objective.asked == [(5, 0), (4, 0), (9, 0), (4, 1)]
    assert found["true"] == [[1, -5.0], [3, -9.0], [4, -4.0]], "who is evaluated again is in front"


def test_jobs_that_are_there_are_not_made_again_and_real_trainings_have_few_seeds() -> None:
    tasks = tasks_named(["hpobench-vehicle", "mlp-dropout"], "tuning")
    methods = [Method("random"), Method("dehb")]
    done = [{"task": "hpobench-vehicle", "method": "random", "seed": 1, "budget": 50}]
    jobs = jobs_of(tasks, methods, 6, 50, done)
    made = [(job.task.name, job.method.label, job.seed) for job in jobs]
    assert made == [
        *(("hpobench-vehicle", "random", seed) for seed in (0, 2, 3, 4, 5)),
        *(("mlp-dropout", "random", seed) for seed in range(5)),
        # DEHB needs a gene of steps.
        *(("mlp-dropout", "dehb", seed) for seed in range(5)),
    ]
    assert len(jobs_of(tasks, methods[:1], None, 100, done)) == 20 + 5


def test_rows_of_another_version_of_a_task_do_not_count(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed, mark in ((1, fingerprint(VEHICLE)), (0, fingerprint(VEHICLE)), (2, "another")):
        store.add({"task": VEHICLE.name, "method": "ga@x", "seed": seed, "budget": 5, "fingerprint": mark})
    assert [entry["seed"] for entry in store.rows()] == [0, 1]
    assert store.rows(labels=["ga"]) == []
    store.remove([VEHICLE], ["ga@x"])
    assert store.rows() == []


def test_a_row_that_was_torn_by_a_kill_is_made_again(tmp_path: Path) -> None:
    store, kept = (
        Store(tmp_path),
        {"task": VEHICLE.name, "method": "ga", "budget": 5, "fingerprint": fingerprint(VEHICLE)},
    )
    store.add(kept | {"seed": 0})
    path = store.path(VEHICLE.name, "ga")
    path.write_text(path.read_text() + '{"task":"hpoben')
    assert [entry["seed"] for entry in store.rows()] == [0]
    store.add(kept | {"seed": 1})
    assert [entry["seed"] for entry in store.rows()] == [0, 1]


def test_methods_may_carry_a_note() -> None:
    check_method("ga@with-crossover")
    assert Method("ga@with-crossover").name == "ga"
    with pytest.raises(ConfigurationError, match=r'unknown method "optuna-tp".*Did you mean'):
        check_method("optuna-tp")
    assert all((PEERS / peer.script).is_file() for peer in PEER_METHODS.values())
    assert {peer.environment for peer in PEER_METHODS.values()} <= set(environments.ENVIRONMENTS)


# Peers.

PEER = f"""
import sys
sys.path.insert(0, {str(PEERS)!r})
import protocol

class Search:
    def __init__(self, start):
        self.start, self.values = start, []
    def ask(self):
        print("a peer that talks")
        if len(self.values) == 3:
            raise ArithmeticError("it breaks")
        return dict(self.start["anchor"], hidden_layers_width_0=8 + len(self.values))
    def tell(self, value):
        self.values.append(value)

protocol.serve(Search, [])
"""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    python = tmp_path / "environments" / "stub" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (tmp_path / "peer.py").write_text(PEER)
    return Places(tmp_path / "environments", tmp_path / "cache")


PARALLEL = f"""
import sys
sys.path.insert(0, {str(PEERS)!r})
import protocol

class Search:
    def __init__(self, start):
        self.asked, self.known = 0, []
    def ask(self):
        self.asked += 1
        return {{"asked": self.asked, "known": self.known}}
    def tell_of(self, number, value):
        self.known.append([number, value])
    def see(self, config):
        self.asked += config["as many as"]

protocol.serve(Search, [])
"""


def test_a_peer_may_propose_while_results_are_awaited_and_take_what_was_proposed_elsewhere(
    places: Places, tmp_path: Path
) -> None:
    (tmp_path / "parallel.py").write_text(PARALLEL)
    adapter = Adapter(places, "stub", str(tmp_path / "parallel.py"))
    adapter.exchange({"start": {}})
    assert os.getpgid(adapter._process.pid) != os.getpgid(0), "Ctrl-C in a terminal ends all of its process group"
    assert adapter.exchange({"seen": {"as many as": 4}}) == {"seen": True}
    adapter.exchange({"ask": True})
    assert adapter.exchange({"tell": 0.5, "of": 4}) == {"told": True}
    assert adapter.exchange({"ask": True})["config"] == {"asked": 6, "known": [[4, 0.5]]}
    adapter.close()


def test_a_peer_speaks_lines_of_json_and_its_own_prints_do_no_harm(places: Places, tmp_path: Path) -> None:
    adapter = Adapter(places, "stub", str(tmp_path / "peer.py"))
    peer = Peer("stub", "peer.py")
    for _ in range(2):  # the process serves a second search
        searcher = PeerSearcher(adapter, peer, SPACE, seed=0, budget=5, deterministic=False)
        assert searcher.ask() == SPACE.initial[0] | {"hidden_layers": (8,)}
        searcher.tell(0.5)
        assert searcher.ask() == SPACE.initial[0] | {"hidden_layers": (9,)}
        assert searcher.recommend() is None
    for _ in range(2):
        searcher.tell(0.5)
    with pytest.raises(RuntimeError, match="ArithmeticError: it breaks"):
        searcher.ask()
    assert adapter.alive
    adapter.close()
    assert not adapter.alive


def test_a_peer_that_ends_says_why(places: Places, tmp_path: Path) -> None:
    (tmp_path / "peer.py").write_text("raise SystemExit('no such package')")
    adapter = Adapter(places, "stub", str(tmp_path / "peer.py"))
    with pytest.raises(RuntimeError, match="no such package"):
        adapter.exchange({"ask": True})
    adapter.close()


def test_an_environment_that_is_not_there_names_the_command(places: Places) -> None:
    with pytest.raises(ConfigurationError, match="setup --peers optuna"):
        places.python("optuna")


def test_a_functions_value_is_minus_the_logarithm_of_its_regret_and_its_instance_follows_from_the_seed() -> None:
    class Evaluator:
        def __init__(self) -> None:
            self.asked: list[Any] = []

        def exchange(self, message: dict[str, Any]) -> dict[str, float]:
            self.asked.append(message)
            return {"value": 109.0} if "x" in message else {"optimum": 10.0, "median": 1009.0}

    evaluator = Evaluator()
    objective = FunctionObjective(evaluator, Function(8, 5), seed=17)  # type: ignore[arg-type]  # a stand-in
    assert objective.observe({"x0": 1, "x1": 0.5}, 0) == pytest.approx(-2.0)
    assert objective.scale == pytest.approx((0.0, -3.0))
    assert evaluator.asked[-1] == {"function": 8, "dimension": 5, "instance": 3, "x": [1, 0.5]}


def test_tables_are_read_as_plain_data_and_short_cells_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "datasets" / "nasbench201"
    folder.mkdir(parents=True)
    monkeypatch.setitem(tables_adapter.SIZES, "nasbench201", (2, 1))
    rows = {"00": {"val_acc": [50.0, 60.0, 70.0]}, "10": {"val_acc": [10.0, 20.0]}}
    (folder / "small.pkl").write_bytes(pickle.dumps(rows))
    tables_adapter.convert(tmp_path, "nasbench201/small", tmp_path)
    with np.load(tmp_path / "nasbench201-small.npz") as arrays:
        np.testing.assert_allclose(arrays["fitness"][:, 0], [[0.5, 0.6, 0.7], [0.1, 0.2, 0.1]])
    (folder / "small.pkl").write_bytes(pickle.dumps(print))
    with pytest.raises(pickle.UnpicklingError, match="not plain data"):
        tables_adapter.convert(tmp_path, "nasbench201/small", tmp_path)
    assert tables_adapter.fitness_of("hpolib", {"val_loss": [0.01, 1.0]}) == pytest.approx([2.0, 0.0])


# From end to end.


@pytest.fixture
def vehicle(places: Places) -> Places:
    """A made-up table in the place of the real one: better towards the middle of every axis."""
    path = places.table("hpobench", "vehicle")
    path.parent.mkdir(parents=True)
    sizes = tables_adapter.SIZES["hpobench"]
    distance = sum((place / size - 0.5) ** 2 for place, size in zip(np.indices(sizes), sizes, strict=True))
    noise = np.random.default_rng(0).normal(scale=0.01, size=(*sizes, 5))
    np.savez(path, fitness=(1 - distance[..., None] + noise).astype(np.float32))
    return places


def test_the_anchor_comes_first_and_a_row_says_the_same_again(vehicle: Places) -> None:
    first, again = (make_row(Job(VEHICLE, Method("ga"), 3, 8), vehicle) for _ in range(2))
    timeless = {name: value for name, value in first.items() if name not in ("seconds", "wall")}
    assert timeless == {name: value for name, value in again.items() if name not in ("seconds", "wall")}
    other = make_row(Job(VEHICLE, Method("random"), 3, 8), vehicle)
    assert other["observed"][0] == first["observed"][0]


def test_runs_are_made_once_and_reported(
    vehicle: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "results"
    shared = ["--half", "tuning", "--tasks", "hpobench-vehicle", "--budget", "12", "--output", str(output)]
    where = ["--environments", str(vehicle.environments), "--cache", str(vehicle.cache)]

    def command(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["search_quality", *arguments])
        with pytest.raises(SystemExit) as ended:
            start(app)
        return int(ended.value.code or 0)

    methods = ["--methods", "random,ga@wide", "--set", "population=4", "--seeds", "2"]
    assert command("run", *methods, *shared, *where) == 0
    assert "4 runs to make" in capsys.readouterr().out
    assert command("run", *methods, *shared, *where) == 0
    assert "0 runs to make" in capsys.readouterr().out
    rows = Store(output).rows()
    assert [(entry["method"], entry["seed"]) for entry in rows] == [
        ("ga@wide", 0),
        ("ga@wide", 1),
        ("random", 0),
        ("random", 1),
    ]
    assert all(len(entry["observed"]) == 12 and entry["settings"] == {"population": 4} for entry in rows)
    assert command("report", *shared) == 0
    assert "ga@wide" in capsys.readouterr().out
    table = pd.read_csv(output / "comparisons-tuning-12-trainings.csv")
    assert set(table["task"]) == {"all", "hpobench-vehicle"}
    assert (output / "curves-tuning-12-trainings.png").stat().st_size > 10_000
    assert command("report", *shared, "--at", "6") == 0
    assert "is where the column's is at 6: median over tasks" in capsys.readouterr().out
    earlier = pd.read_csv(output / "comparisons-tuning-12-trainings-at-6.csv")
    assert set(earlier["at"]) == {6}
    assert list(earlier["better"]) != list(table["better"])
    monkeypatch.setattr(sys, "argv", ["search_quality", "report", *shared, "--at", "13"])
    with pytest.raises(SystemExit, match="--at: must be from 1 to the budget of 12, got 13"):
        start(app)


def test_a_run_that_fails_is_named_and_the_others_go_on(
    vehicle: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "run",
        "--methods",
        "optuna-tpe,random",
        "--tasks",
        "hpobench-vehicle",
        "--seeds",
        "1",
        "--budget",
        "3",
    ]
    where = ["--environments", str(vehicle.environments), "--cache", str(vehicle.cache), "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["search_quality", *arguments, *where])
    with pytest.raises(SystemExit, match="1"):
        start(app)
    shown = capsys.readouterr().out
    assert "optuna-tpe on hpobench-vehicle, seed 0: no environment" in shown
    assert [entry["method"] for entry in Store(tmp_path).rows()] == ["random"]


def test_mistakes_in_the_arguments_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["search_quality", "report", "--output", str(tmp_path)])
    with pytest.raises(SystemExit, match="has no rows of budget 100"):
        start(app)


def test_the_small_image_folder_holds_the_first_images_of_each_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "IMAGES", {"train": 2, "test": 1})
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "all" / part / name).mkdir(parents=True)
            for number in range(3):
                (tmp_path / "all" / part / name / f"{number}.png").write_bytes(b"image")
    places = Places(tmp_path / "environments", tmp_path / "cache")
    assert environments.set_up([], places, tmp_path / "all", lambda line: None) == []
    found = sorted(str(file.relative_to(places.images)) for file in places.images.rglob("*.png"))
    assert found == ["test/cat/0.png", "test/dog/0.png"] + [
        f"train/{name}/{number}.png" for name in ("cat", "dog") for number in (0, 1)
    ]
    monkeypatch.setattr(environments, "IMAGES", {"train": 4})
    with pytest.raises(ConfigurationError, match="3 images, 4 are needed"):
        environments.make_images(tmp_path / "all", tmp_path / "other", lambda line: None)


def test_an_unknown_peer_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r'unknown peer "optun".*Did you mean "optuna"'):
        environments.set_up(["optun"], Places(Path("a"), Path("b")), None)
