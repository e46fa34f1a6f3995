"""Runs that differ in their seeds alone are a group; groups are compared where they can be, and nowhere else."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import evo
from evo.errors import ConfigurationError
from evo.reports.comparison import names_of
from evo.reports.run_groups import Grouping, grouped
from evo.run import Run

SPACE = evo.SearchSpace({"x": evo.Float(0.0, 1.0), "y": evo.Float(0.0, 1.0)}, name="square")


def bowl(config: dict[str, Any], seed: int) -> float:
    return 1 - (config["x"] - 0.3) ** 2 - (config["y"] - 0.6) ** 2 + random.Random(seed).gauss(0, 0.001)


def search(strategy: str = "random", *, seed: int = 0, budget: int = 6, finalists: int = 1, **more: Any) -> Run:
    space = more.pop("space", SPACE)
    objective = more.pop("objective", bowl)
    return evo.search(
        space, objective, strategy=strategy, budget=budget, population=4, seed=seed, finalists=finalists, **more
    )


def grouping_of(runs: Sequence[Run], **patterns: str) -> Grouping:
    return grouped(dict(zip(names_of(runs), runs, strict=True)), patterns)


def test_seeds_make_a_group_and_strategies_are_compared_seed_by_seed() -> None:
    runs = [search(strategy, seed=seed) for strategy in ("ga", "random") for seed in (2, 0, 1)]
    found = grouping_of(runs)
    assert {group.name for group in found.groups} == {"ga", "random"}
    assert all(group.seeds == (0, 1, 2) for group in found.groups)
    [pair] = found.pairs
    assert pair.paired
    assert pair.runs == (3, 3)
    by_name = {group.name: group for group in found.groups}
    first, second = by_name[pair.first], by_name[pair.second]
    won = sum(a > b for a, b in zip(first.outcomes, second.outcomes, strict=True))
    assert pair.better is not None
    assert pair.better.value == pytest.approx(won / 3)
    assert first.mean.value >= second.mean.value


def test_an_outcome_is_the_winners_mean_on_new_seeds_or_else_the_best_fitness() -> None:
    retrained = [search(seed=seed) for seed in range(2)]
    [group] = grouping_of(retrained).groups
    for run, outcome in zip(retrained, group.outcomes, strict=True):
        own = run.finalist_table[run.finalist_table["individual"] == run.winner]
        assert outcome == pytest.approx(own["fitness"].mean())
        assert outcome != run.best.fitness
    mixed = grouping_of([retrained[0], search("ga", seed=1, finalists=0)])
    best = {group.name: group.outcomes[0] for group in mixed.groups}
    assert best["random"] == retrained[0].ranked()[0].fitness
    assert any("optimistic" in note for note in mixed.notes)


def test_too_few_runs_give_no_figure_and_say_so() -> None:
    found = grouping_of([search("ga", seed=0), search("ga", seed=1), *(search(seed=seed) for seed in range(4))])
    [pair] = found.pairs
    assert pair.better is None
    assert "too few runs" in pair.sentence


def test_a_verdict_needs_six_runs_each_and_an_interval_without_one_half() -> None:
    def good(config: dict[str, Any]) -> float:
        return 2.0 + config["x"]

    def runs(count: int) -> list[Run]:
        better = [search("random", seed=seed, budget=20, finalists=0, objective=good) for seed in range(count)]
        worse = [search("random", seed=seed, budget=4, finalists=0, objective=good) for seed in range(count)]
        return better + worse

    [five] = grouping_of(runs(5)).pairs
    assert "too few runs for a verdict" in five.sentence
    [eight] = grouping_of(runs(8)).pairs
    assert eight.better is not None
    assert eight.better.low > 0.5
    assert eight.sentence.endswith("random, budget 20 is better.")


def test_groups_of_one_strategy_are_named_by_what_differs() -> None:
    found = grouping_of([search(budget=6), search(budget=8), search("ga")])
    assert {group.name for group in found.groups} == {"random, budget 6", "random, budget 8", "ga"}


def test_runs_of_different_spaces_are_not_compared() -> None:
    other = evo.SearchSpace({"x": evo.Float(0.0, 2.0), "y": evo.Float(0.0, 1.0)}, name="oblong")
    runs = [search(seed=seed) for seed in range(3)] + [search(seed=seed, space=other) for seed in range(3)]
    found = grouping_of(runs)
    assert found.pairs == ()
    assert len({group.problem for group in found.groups}) == 2
    assert len({group.name for group in found.groups}) == 2
    assert any("not compared" in note for note in found.notes)


def test_runs_on_other_data_or_another_fitness_are_not_compared() -> None:
    runs = [search() for _ in range(3)]
    for run in runs:
        run.settings.dataset = {"checksum": "of the images"}
    runs[1].settings.dataset = {"checksum": "of other images"}
    runs[2].settings.fitness = "test"
    found = grouping_of(runs)
    assert [group.problem for group in found.groups] == [0, 1, 2]
    assert found.pairs == ()


def test_the_same_seed_twice_counts_once() -> None:
    run = search(seed=1)
    found = grouping_of([run, run, search(seed=2)])
    [group] = found.groups
    assert group.seeds == (1, 2)
    assert any("left out" in note and "seed 1" in note for note in found.notes)


def test_an_unfinished_run_is_left_out(tmp_path: Path) -> None:
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise evo.Stop("enough", 75)

    with pytest.raises(evo.Stop):
        search(output=tmp_path / "run", stop_check=stop)
    found = grouping_of([evo.load(tmp_path / "run")])
    assert found.groups == ()
    assert found.notes == ("run is left out of the statistics: it is not finished.",)


def test_groups_may_be_named_by_patterns_of_run_names(tmp_path: Path) -> None:
    runs = [search("ga", seed=seed, output=tmp_path / f"tuned-{seed}") for seed in range(2)]
    runs += [search("ga", seed=seed, output=tmp_path / f"plain-{seed}") for seed in range(2)]
    found = grouping_of(runs, tuned="tuned-*", baseline="plain-*")
    assert {group.name: group.runs for group in found.groups} == {
        "tuned": ("tuned-0", "tuned-1"),
        "baseline": ("plain-0", "plain-1"),
    }
    with pytest.raises(ConfigurationError, match="no run has such a name; they are tuned-0"):
        grouping_of(runs, nobody="other-*")
