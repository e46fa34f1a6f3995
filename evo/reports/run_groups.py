"""Groups of runs that differ only in their seeds, and how the groups compare with each other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import combinations, groupby
from typing import Any, TypeAlias

from evo.errors import ConfigurationError
from evo.loop.finished import is_finished
from evo.numbers import mean
from evo.record.new_seeds import on_new_seeds
from evo.record.run import Run
from evo.record.settings import LISTED
from evo.reports.statistics import Estimate, mean_estimate, p_value, superiority

RUNS = 3
"""Runs that each group needs for a comparison."""
VERDICT_RUNS = 6
"""Runs that each group needs for a verdict: five pairs that all go one way do so by chance in 6 %."""
CHANCE = 0.05
"""The highest p-value that allows a verdict."""
TESTED, RETRAINED, SEARCHED = "test accuracy", "fitness on new seeds", "fitness in the search"
"""What counts as the result of a run: its winner's means on new seeds, or the best that the search measured."""
OWN_SETTINGS = (
    *("strategy", "budget", "generations", "population", "pending", "asynchronous", "objectives"),
    *("finalists", "finalist_seeds", "free_steps", "initial", "precision"),
)
"""What may differ between two groups of one problem; the seed, the workers and the machine may differ within one."""

Key: TypeAlias = tuple[str, str]
"""A group: texts of its problem, and of its settings or the user's name for it."""


@dataclass(frozen=True)
class Group:
    """Runs of one problem with the same settings but for the seed.

    Attributes:
        name: The strategy, with the settings that tell it from other groups.
        problem: Groups are compared where this number is the same: same space, data and fitness.
        runs: Their names.
        seeds: Their seeds, ascending.
        outcome: What is compared: the winner's mean test accuracy, its mean fitness on new seeds, or the best fitness
            in the search; the first of them that every run of the problem has.
        outcomes: Of each run, in the order of the seeds.
        mean: Of the outcomes.
        trainings: Of a run's search, on average.
        seconds: Of training in a run's search, on average.
        sign: -1 where a lower outcome is better.
    """

    name: str
    problem: int
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    outcome: str
    outcomes: tuple[float, ...]
    mean: Estimate
    trainings: float
    seconds: float
    sign: float = 1.0


@dataclass(frozen=True)
class Pair:
    """A group, A, against another, B.

    Attributes:
        first: A's name.
        second: B's name.
        runs: How many each has.
        paired: Whether runs were compared seed by seed.
        better: Probability that A's outcome is better than B's, ties half; None where there are too few runs.
        p_value: How probable it is that equal groups differ as much by chance: of a sign test where they are paired, of
            Mann and Whitney's test where not; None where there are too few runs.
        sentence: The same in words.
    """

    first: str
    second: str
    runs: tuple[int, int]
    paired: bool
    better: Estimate | None
    p_value: float | None
    sentence: str


@dataclass(frozen=True)
class Grouping:
    """The groups of some runs, their comparisons, and notes on both."""

    groups: tuple[Group, ...] = ()
    pairs: tuple[Pair, ...] = ()
    notes: tuple[str, ...] = ()


def grouped(runs: Mapping[str, Run], patterns: Mapping[str, str] | None = None) -> Grouping:
    """Group runs and compare the groups of each problem.

    A problem is a space (genes, fixed training settings, model), data and what fitness is measured on. In it, runs with
    equal settings are a group, whatever their seeds. A run that is not finished, has no result or repeats the seed of
    an earlier one is left out.

    Args:
        runs: By name.
        patterns: User-defined groups: a pattern of run names by the group's name.

    Raises:
        ConfigurationError: No run has a name that matches a pattern.
    """
    named = _named(runs, patterns or {})
    members, left_out = _members(runs, named)
    problems = list(dict.fromkeys(problem for problem, _ in members))
    titles = _titles(runs, members, named)
    groups: list[Group] = []
    pairs: list[Pair] = []
    notes = [f"{name} is left out of the statistics: it {reason}." for name, reason in left_out.items()]
    for place, problem in enumerate(problems):
        own = {titles[key]: list(by_seed.values()) for key, by_seed in members.items() if key[0] == problem}
        outcome = _common_outcome([runs[name] for names in own.values() for name in names])
        found = [_group(title, place, {name: runs[name] for name in names}, outcome) for title, names in own.items()]
        found.sort(key=lambda group: -group.sign * group.mean.value)
        groups += found
        pairs += [_pair(first, second) for first, second in combinations(found, 2)]
        if len(found) > 1 or len(found[0].runs) > 1:
            notes.append(_outcome_note(found, runs))
    if len(problems) > 1:
        sides = groupby(groups, key=lambda group: group.problem)
        names = " | ".join(", ".join(name for group in side for name in group.runs) for _, side in sides)
        notes.append(f"Other space, data or fitness, so shown and not compared: {names}.")
    for sign, which in ((1.0, "higher"), (-1.0, "lower")):
        mine = [name for name, run in runs.items() if run.settings.sign == sign]
        if 0 < len(mine) < len(runs):
            notes.append(f"Of {', '.join(mine)}, a {which} fitness is better.")
    if len(pairs) > 1:
        notes.append("The intervals are each pair's own; of twenty such pairs one is expected to miss.")
    return Grouping(tuple(groups), tuple(pairs), tuple(notes))


def _named(runs: Mapping[str, Run], patterns: Mapping[str, str]) -> dict[str, str]:
    """Return the group's name of every run that a pattern matches; the first pattern counts."""
    named: dict[str, str] = {}
    for title, pattern in patterns.items():
        matches = [name for name, run in runs.items() if fnmatchcase(name, pattern) or fnmatchcase(run.name, pattern)]
        if not matches:
            raise ConfigurationError(f"--group {title}={pattern}: no run has such a name; they are {', '.join(runs)}")
        named = dict.fromkeys(matches, title) | named
    return named


def _members(runs: Mapping[str, Run], named: Mapping[str, str]) -> tuple[dict[Key, dict[int, str]], dict[str, str]]:
    """Return the names of each group's runs by seed, and by name why others are left out."""
    left_out = {name: reason for name, run in runs.items() if (reason := _unfit(run))}
    members: dict[Key, dict[int, str]] = {}
    for name, run in runs.items():
        if name not in left_out:
            settings = {setting: getattr(run.settings, setting) for setting in OWN_SETTINGS}
            key = (_problem(run), named.get(name) or json.dumps(settings, sort_keys=True))
            first = members.setdefault(key, {}).setdefault(run.settings.seed, name)
            if first != name:
                left_out[name] = f"has the seed {run.settings.seed} of {first}"
    return members, left_out


def _unfit(run: Run) -> str:
    """Return why a run takes no part in a comparison of groups; nothing if it does."""
    if run.settings.strategy == LISTED:
        return "searched nothing"
    if not any(entry.evaluation.complete for entry in run.ranked()):
        return "has no complete training"
    if not is_finished(run):
        return "is not finished"
    return "has no winner, for no training of a finalist is complete" if run.finalists and run.winner is None else ""


def _problem(run: Run) -> str:
    """Return a text that two runs share only if they search the same space on the same data for the same fitness."""
    settings = run.settings
    # As it is read now: an older run does not know a setting that came later.
    space = {name: run.space.to_dict()[name] for name in ("genes", "training")}
    checksum = (settings.dataset or {}).get("checksum")
    goal = [settings.direction, settings.goal] if settings.sign < 0 else [settings.goal]
    facts = [space, settings.model, settings.objective, checksum, settings.fitness, settings.measure, goal]
    return json.dumps([*facts, run.space.data.validation], sort_keys=True)


def _titles(
    runs: Mapping[str, Run], members: Mapping[Key, Mapping[int, str]], named: Mapping[str, str]
) -> dict[Key, str]:
    """Return a name for each group: the user's, or the strategy with the settings that tell it from others of it."""
    first = {key: next(iter(by_seed.values())) for key, by_seed in members.items()}
    settings = {key: runs[name].settings for key, name in first.items()}
    titles = []
    for key, own in settings.items():
        others = [
            other
            for rival, other in settings.items()
            if rival[0] == key[0] and first[rival] not in named and other.strategy == own.strategy
        ]
        facts = [
            f"{name} {_setting_value(getattr(own, name))}"
            for name in OWN_SETTINGS
            if any(getattr(own, name) != getattr(other, name) for other in others)
        ]
        titles.append(named.get(first[key]) or ", ".join([own.strategy, *facts]))
    titles = _told_apart(titles, [f" on {own.space_name}" for own in settings.values()])
    return dict(zip(members, _told_apart(titles, [f" ({place + 1})" for place in range(len(titles))]), strict=True))


def _told_apart(titles: Sequence[str], endings: Sequence[str]) -> list[str]:
    """Return titles, with their endings where several are alike."""
    return [t + end if titles.count(t) > 1 else t for t, end in zip(titles, endings, strict=True)]


def _setting_value(value: Any) -> str:
    return f"of {len(value)} configurations" if isinstance(value, list) else json.dumps(value).strip('"')


def _group(title: str, problem: int, runs: Mapping[str, Run], outcome: str) -> Group:
    members = dict(sorted(runs.items(), key=lambda item: item[1].settings.seed))
    seeds = tuple(run.settings.seed for run in members.values())
    outcomes = tuple(_outcome(run, outcome) for run in members.values())
    estimate = mean_estimate(outcomes, next(iter(members.values())).settings.fitness_bounds)
    searches = [run.search_evaluations for run in members.values()]
    seconds = mean([sum(evaluation.seconds for evaluation in search) for search in searches])
    cost = mean([run.trainings for run in members.values()]), round(seconds, 1)
    sign = 1.0 if outcome == TESTED else next(iter(members.values())).settings.sign
    return Group(title, problem, tuple(members), seeds, outcome, outcomes, estimate, *cost, sign)


def _common_outcome(runs: Sequence[Run]) -> str:
    """Return the least optimistic outcome that all runs have.

    The seeds that named a winner among several flatter it; where the test set chose, it cannot judge.
    """
    if any(run.winner is None for run in runs):
        return SEARCHED
    judged = all(run.settings.fitness != "test" and on_new_seeds(run, run.best.id).test_accuracy for run in runs)
    return TESTED if judged else RETRAINED


def _outcome(run: Run, outcome: str) -> float:
    if outcome == SEARCHED:
        return run.ranked()[0].fitness
    found = on_new_seeds(run, run.best.id)
    return mean(found.test_accuracy if outcome == TESTED else found.fitness)


def _pair(first: Group, second: Group) -> Pair:
    counts = len(first.runs), len(second.runs)
    paired = first.seeds == second.seeds
    between = f"{first.name} against {second.name}"
    if min(counts) < RUNS:
        words = f"{between}: too few runs to compare ({counts[0]} and {counts[1]}); {RUNS} seeds of each at least."
        return Pair(first.name, second.name, counts, paired, None, None, words)
    signed = ([group.sign * outcome for outcome in group.outcomes] for group in (first, second))
    better = superiority(*signed, paired=paired)
    chance = p_value(first.outcomes, second.outcomes, paired=paired)
    how = f"{counts[0]} runs each, paired by seed" if paired else f"{counts[0]} and {counts[1]} runs"
    test = f"{'sign test' if paired else 'Mann-Whitney test'}: p = {chance:.2g}"
    figures = f"probability {better.value:.2f}, 95 % interval {better.low:.2f} to {better.high:.2f} ({how}; {test})"
    verdict = ": neither is shown to be better."
    if min(counts) < VERDICT_RUNS:
        verdict = f"; too few runs for a verdict, {VERDICT_RUNS} seeds of each would do."
    elif chance < CHANCE and not better.low <= 0.5 <= better.high:
        verdict = f": {first.name if better.value > 0.5 else second.name} is better."
    words = f"{between}: a run of the first is better than one of the second with {figures}{verdict}"
    return Pair(first.name, second.name, counts, paired, better, chance, words)


def _outcome_note(groups: Sequence[Group], runs: Mapping[str, Run]) -> str:
    finalists = max(len(runs[name].finalists) for group in groups for name in group.runs)
    chosen = f"; they also chose it among {finalists}, so it is a little optimistic" if finalists > 1 else ""
    what = {
        SEARCHED: "the best fitness that the search measured, for not all have finalists: an optimistic figure",
        TESTED: "the winner's mean test accuracy over its trainings on new seeds",
        RETRAINED: f"the winner's mean fitness on new seeds{chosen}",
    }[groups[0].outcome]
    names = ", ".join(group.name for group in groups)
    return f"Runs with equal settings but for the seed are a group. The outcome of {names}: {what}."
