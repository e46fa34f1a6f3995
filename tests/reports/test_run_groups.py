"""Runs that differ only in their seeds are a group; groups are compared only where they can be."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import evo
from evo.errors import ConfigurationError
from evo.record.run import Run
from evo.reports.comparison import names_of
from evo.reports.run_groups import TESTED, Group, Grouping, Pair, _pair, grouped
from evo.reports.statistics import Estimate
from tests.test_run import evaluation, individual, make_settings
from tests.tracking.searches import StopAfter

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


def pair_of(first: Sequence[float], second: Sequence[float], *, paired: bool) -> Pair:
    """Return the comparison of two groups of outcomes."""

    def group(name: str, outcomes: Sequence[float], start: int) -> Group:
        names, seeds = (name,) * len(outcomes), tuple(range(start, start + len(outcomes)))
        return Group(name, 0, names, seeds, TESTED, tuple(outcomes), Estimate(0.0, 0.0, 0.0), 1.0, 1.0)

    return _pair(group("first", first, 0), group("second", second, 0 if paired else 100))


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
        better = [search("random", seed=seed, budget=40, finalists=0, objective=good) for seed in range(count)]
        worse = [search("random", seed=seed, budget=2, finalists=0, objective=good) for seed in range(count)]
        return better + worse

    [five] = grouping_of(runs(5)).pairs
    assert "too few runs for a verdict" in five.sentence
    [eight] = grouping_of(runs(8)).pairs
    assert eight.better is not None
    assert eight.better.low > 0.5
    assert eight.sentence.endswith("random, budget 40 is better.")


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


def test_runs_that_are_older_than_a_setting_of_the_training_are_compared_with_newer_ones() -> None:
    runs = [search(seed=1), search(seed=2)]
    del runs[0].settings.space["training"]["weight_decay"]
    [group] = grouping_of(runs).groups
    assert group.seeds == (1, 2)


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


def test_a_run_that_is_being_extended_does_not_stand_for_a_finished_one(tmp_path: Path) -> None:
    finished = search(seed=1, budget=9, output=tmp_path / "finished")
    old = search(seed=1, budget=6, output=tmp_path / "extended").winner
    with pytest.raises(evo.Stop):
        evo.resume(tmp_path / "extended", bowl, budget=9, stop_check=StopAfter(2))
    extended = evo.load(tmp_path / "extended")
    assert extended.winner == old is not None
    assert len(extended.search_evaluations) < 9
    found = grouping_of([extended, finished])
    [group] = found.groups
    assert group.runs == ("finished",)
    assert found.notes == ("extended is left out of the statistics: it is not finished.",)


def with_tests(run: Run, accuracies: Sequence[float]) -> Run:
    """Return a run whose winner's trainings were measured on the test set."""
    own = [entry for entry in run.finalist_evaluations if entry.individual == run.winner]
    for entry, accuracy in zip(own, accuracies, strict=True):
        run.tests[entry.individual, entry.replicate] = {"test_accuracy": accuracy}
    return run


def test_where_the_test_set_was_read_it_judges_and_not_the_seeds_that_chose() -> None:
    runs = [with_tests(search(seed=seed, finalists=3), (0.1, 0.2, 0.6)) for seed in range(2)]
    found = grouping_of(runs)
    [group] = found.groups
    assert group.outcome == "test accuracy"
    assert group.outcomes == pytest.approx((0.3, 0.3))
    assert any("the winner's mean test accuracy" in note for note in found.notes)
    mixed = grouping_of([runs[0], search(seed=1, finalists=3)])
    assert {group.outcome for group in mixed.groups} == {"fitness on new seeds"}
    assert any("they also chose it among 3, so it is a little optimistic" in note for note in mixed.notes)
    alone = grouping_of([search(seed=seed, finalists=1) for seed in range(2)])
    assert not any("optimistic" in note for note in alone.notes), "one finalist is not chosen"
    for run in runs:
        run.settings.fitness = "test"
    assert grouping_of(runs).groups[0].outcome == "fitness on new seeds", "what chose does not judge"


def test_six_of_seven_pairs_are_no_verdict() -> None:
    pair = pair_of([1.0] * 6 + [0.0], [0.5] * 7, paired=True)
    assert pair.p_value == pytest.approx(0.125)
    assert pair.sentence.endswith("neither is shown to be better.")
    pair = pair_of([1.0] * 7, [0.5] * 7, paired=True)
    assert pair.sentence.endswith("first is better.")


def test_an_interval_alone_gives_no_verdict_on_groups_that_are_not_paired() -> None:
    first, second = [3.0, 4.0, 8.0, 9.0, 10.0, 11.0], [0.0, 1.0, 2.0, 5.0, 6.0, 7.0]
    pair = pair_of(first, second, paired=False)
    assert pair.better is not None
    assert pair.p_value is not None
    assert pair.better.low > 0.5
    assert pair.p_value > 0.05
    assert pair.sentence.endswith("neither is shown to be better.")


def test_a_run_in_which_no_training_is_whole_is_left_out() -> None:
    run = Run.create(make_settings(strategy="halving"))
    run.record_proposal(individual(0))
    run.record(replace(evaluation(0, 0.9), status="partial", steps_trained=10))
    assert grouping_of([run]).notes == ("plain is left out of the statistics: it has no complete training.",)


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
        grouping_of(runs, missing="other-*")
