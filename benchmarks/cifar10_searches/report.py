"""The page of the results: what was reached, on how many seeds, with what arithmetic and on what machine."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.cifar10_searches.random_trainings import POINTS_BELOW
from benchmarks.cifar10_searches.rows import (
    CHANCE,
    PAIR,
    RANDOM,
    SEARCH,
    TRAINING,
    Kept,
    Row,
    accuracies,
    best_found,
    random_rows,
)
from benchmarks.cifar10_searches.runs import METHODS
from benchmarks.markdown import table
from evo.reports.statistics import Estimate, mean_estimate

WANTED = {
    TRAINING: {"mlp": "≥ 66, better 69", "cnn": "≥ 88, better 91"},
    SEARCH: {"mlp": "≥ 67, better 71", "cnn": "≥ 87, better 91"},
}
"""Test accuracy in %, JPEG tree, bfloat16."""
TAIL = 0.025
INTERVALS = (
    "Accuracies in %; in square brackets 95 % intervals of the mean (Student's t over seeds or pairs). PFLOP is the "
    "arithmetic of the products of trainings and their measurements, counted from the genomes; core-hours are "
    "processor time of the workers, with imports and the trainings that the clock cut off."
)


def summary(kept: Sequence[Kept], reference: Sequence[Kept] = ()) -> list[str]:
    """Return the lines of the page.

    Args:
        kept: The runs.
        reference: Runs of another machine, to say what they would take on this one.
    """
    lines = ["# Trainings and searches on CIFAR-10 with the whole recipe", "", INTERVALS, ""]
    for heading, part in (
        ("Single trainings", _trainings(kept)),
        ("Searches", _searches(kept)),
        ("Pairs", _pairs(kept)),
        ("Random trainings", _random(kept)),
        ("The same on this machine", _elsewhere(kept, reference)),
        ("Machines and commands", _machines(kept)),
    ):
        lines += [f"## {heading}", "", *part] if part else []
    return lines


def of_kind(kept: Iterable[Kept], kind: str) -> list[Kept]:
    """Return the runs of a kind."""
    return [one for one in kept if one.head["kind"] == kind]


def spaces(kept: Iterable[Kept]) -> list[str]:
    """Return the spaces of some runs, in their order."""
    return list(dict.fromkeys(one.head["space"] for one in kept))


def paired(kept: Iterable[Kept], space: str) -> dict[str, list[Kept]]:
    """Return the searches of each method, of the seeds that all methods have with a test, on one kind of machine.

    Of a seed whose searches were made on different machines, or with different minutes, none is taken.
    """
    found: dict[str, dict[int, Kept]] = {}
    for one in of_kind(kept, PAIR):
        if one.head["space"] == space and one.tests:
            found.setdefault(one.head["strategy"], {})[one.head["seed"]] = one
    methods = sorted(found, key=lambda name: (METHODS.index(name) if name in METHODS else len(METHODS), name))
    seeds = sorted(set.intersection(*(set(found[name]) for name in methods))) if methods else []
    alike = [seed for seed in seeds if len({_conditions(found[name][seed]) for name in methods}) == 1]
    return {name: [found[name][seed] for seed in alike] for name in methods} if alike else {}


def petaflop(rows: Iterable[Row]) -> float:
    """Return the arithmetic of trainings."""
    return math.fsum(row["operations"] for row in rows) / 1e15


def core_hours(one: Kept, *stages: str) -> float:
    """Return the processor time of stages of a run."""
    return sum(float(one.head["core_seconds"][stage]) for stage in stages) / 3600


def speed(kept: Iterable[Kept], space: str) -> float:
    """Return the operations per second of one core, over all trainings of a space; NaN without any."""
    timed = [row for one in kept if one.head["space"] == space for row in one.trainings if row["core_seconds"]]
    seconds = sum(float(row["core_seconds"]) for row in timed)
    return sum(float(row["operations"]) for row in timed) / seconds if seconds else math.nan


def probability_above(values: Sequence[float]) -> float:
    """Return the probability that the mean of what values are drawn from is above 0: Student's t, flat prior."""
    from scipy.special import stdtr

    if len(values) < 2:
        return math.nan
    error = statistics.stdev(values) / math.sqrt(len(values))
    middle = statistics.fmean(values)
    if not error:
        return 0.5 + 0.5 * math.copysign(1, middle) if middle else 0.5
    return float(stdtr(len(values) - 1, middle / error))


def median_estimate(values: Sequence[float]) -> Estimate:
    """Return the median with the interval between two order statistics that holds it with 95 % at least."""
    from scipy.special import bdtr

    ordered, count = sorted(values), len(values)
    middle = statistics.median(ordered)
    below = [place for place in range(count // 2) if bdtr(place, count, 0.5) <= TAIL]
    if not below:
        return Estimate(middle, math.nan, math.nan)
    return Estimate(middle, ordered[below[-1]], ordered[count - 1 - below[-1]])


def _trainings(kept: Sequence[Kept]) -> list[str]:
    cells = []
    for one in of_kind(kept, TRAINING):
        rows = list(one.trainings)
        if not rows:
            continue
        minutes = statistics.fmean(row["core_seconds"] or row["seconds"] for row in rows) / 60
        rate = f"{speed([one], one.head['space']) / 1e9:.0f}"
        arithmetic = f"{petaflop(rows) / len(rows):.3g}"
        cells.append([*_reached(one, TRAINING), f"{minutes:.1f}", arithmetic, rate])
    head = ["space", "test accuracy", "each seed", "wanted", "core-minutes each", "PFLOP each", "GFLOP/s of a core"]
    return table(head, cells) if cells else []


def _searches(kept: Sequence[Kept]) -> list[str]:
    cells, winners = [], []
    for one in of_kind(kept, SEARCH):
        found = one.of("search")
        counts = [f"{one.head['seconds']['search'] / 60:.1f}", str(len(found)), str(one.failed)]
        best = _percent(one.best_until(60 * one.head["minutes"]))
        costs = [f"{core_hours(one, 'search'):.2f} + {core_hours(one, 'finish'):.2f}"]
        costs.append(f"{petaflop(found):.3g} + {petaflop(one.of('finalist')):.3g}")
        cells.append([*_reached(one, SEARCH), *counts, best, *costs])
        winners += [f"- {one.name}: {genome_text(one)}"]
    if not cells:
        return []
    head = ["space", "test accuracy of the winner", "each seed", "wanted", "minutes", "trainings", "failed"]
    head += ["best validation", "core-hours, search + finalists", "PFLOP, search + finalists"]
    early = [one.name for one in of_kind(kept, SEARCH) if one.head["used_up"]]
    note = [f"Had used up its trainings before the time was over: {', '.join(early)}.", ""] if early else []
    return [*table(head, cells), *note, "The winners:", "", *winners, ""]


def _pairs(kept: Sequence[Kept]) -> list[str]:
    lines = []
    for space in spaces(of_kind(kept, PAIR)):
        searches = paired(kept, space)
        if not searches:
            lines += [f"Space `{space}`: no seed yet that all methods have on one machine.", ""]
            continue
        minutes = next(iter(searches.values()))[0].head["minutes"]
        lines += [
            f"Space `{space}`, {minutes:g} minutes each. Validation: the best single training by then. Test: the best "
            "genome, trained again on new seeds, mean of these.",
            "",
        ]
        lines += table(
            ["method", "validation", "each seed", "test", "each seed", "trainings", "failed", "core-hours", "PFLOP"],
            [_cells_of_method(method, own) for method, own in searches.items()],
        )
        lines += _differences(searches)
        early = [one.name for own in searches.values() for one in own if one.head["used_up"]]
        lines += [f"Had used up their trainings before the time was over: {', '.join(early)}.", ""] if early else []
    return lines


def _cells_of_method(method: str, own: Sequence[Kept]) -> list[str]:
    counts = ["/".join(str(len(one.of("search"))) for one in own), "/".join(str(one.failed) for one in own)]
    hours = statistics.fmean(core_hours(one, "search") for one in own)
    arithmetic = statistics.fmean(petaflop(one.of("search")) for one in own)
    values = [*_mean_and_each(validations(own)), *_mean_and_each(tests(own))]
    return [f"`{method}`", *values, *counts, f"{hours:.2f}", f"{arithmetic:.3g}"]


def validations(own: Iterable[Kept]) -> list[float]:
    """Return the best validation accuracy of each search when its time was over; that of guessing if there was none."""
    return [one.best_until(60 * one.head["minutes"]) or CHANCE for one in own]


def tests(own: Iterable[Kept]) -> list[float]:
    """Return the test accuracy of each search: the mean over the seeds of its best genome."""
    return [statistics.fmean(one.tests) for one in own]


def _differences(searches: dict[str, list[Kept]]) -> list[str]:
    first, *others = searches
    cells = []
    for other in others:
        for what, values in (("validation", validations), ("test", tests)):
            own = [a - b for a, b in zip(values(searches[first]), values(searches[other]), strict=True)]
            won = sum(value > 0 for value in own)
            probability = probability_above(own)
            shown = "" if math.isnan(probability) else f"{probability:.3f}"
            cells.append(
                [f"`{first}` − `{other}`", what, *_mean_and_each(own, sign="+"), f"{won} of {len(own)}", shown]
            )
    head = ["difference in points", "accuracy", "mean", "each pair", "pairs won", "P(mean above 0)"]
    return table(head, cells) if cells else []


def _random(kept: Sequence[Kept]) -> list[str]:
    cells = []
    for space in spaces(of_kind(kept, RANDOM)):
        rows, best = random_rows(kept, space), best_found(kept, space)
        if best is None:
            continue
        drawn = max(one.head["drawn"] for one in of_kind(kept, RANDOM) if one.head["space"] == space)
        values = accuracies(rows)
        middle = median_estimate(values + [1.0] * (drawn - len(values)))
        failed = sum(row["status"] != "complete" for row in rows)
        below = f"{100 * (best - middle.value):.1f}"
        counts = [str(drawn), str(len(rows)), str(failed)]
        cells.append([space, *counts, _interval(middle), _percent(max(values)), _percent(best), below])
    if not cells:
        return []
    head = ["space", "drawn", "trained", "failed", "median validation, at most", "best of the trained"]
    head += ["best found by a search", "points between, at least"]
    note = (
        f"Wanted: at least {POINTS_BELOW} points. Failed and diverged trainings count as guessing, 10 %; those that "
        "were not trained, the costliest, as 100 %."
    )
    return [note, "", *table(head, cells)]


def _elsewhere(kept: Sequence[Kept], reference: Sequence[Kept]) -> list[str]:
    """Return what the runs of another machine would take on this one."""
    cells = []
    for one in reference:
        rate, workers = speed(kept, one.head["space"]), kept[0].head["machine"]["workers"]
        took = sum(one.head["seconds"].values()) / 3600
        arithmetic = petaflop(one.trainings)
        hours = "" if math.isnan(rate) else f"{arithmetic * 1e15 / rate / workers / 3600:.2f}"
        cells.append([one.name, one.machine, f"{arithmetic:.3g}", f"{took:.2f}", hours])
    head = ["run", "made on", "PFLOP", "hours there", "hours here"]
    note = "The arithmetic of runs on another machine, at the speed of a core in the trainings above, all workers busy."
    return [note, "", *table(head, cells)] if cells else []


def _machines(kept: Sequence[Kept]) -> list[str]:
    lines, described = [], dict[str, list[str]]()
    for one in kept:
        machine = one.head["machine"]
        versions = ", ".join(f"{name} {version}" for name, version in _versions(one).items())
        facts = (
            f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']:g} GiB; {machine['precision']}, "
            f"engine {machine['engine']}; {machine['workers']} workers of {machine['threads']} thread; "
            f"{machine['dataset']}; {versions}"
        )
        described.setdefault(facts, []).append(one.name)
    for facts, names in described.items():
        lines += [f"- {facts}: {', '.join(names)}"]
    loads = [one.head["machine"]["other_load"] for one in kept if one.head["machine"]["other_load"] is not None]
    if loads:
        lines += [
            "",
            f"Cores that other processes used meanwhile: {statistics.fmean(loads):.2f} on average, at most "
            f"{max(loads):.2f}.",
        ]
    commands = dict.fromkeys(one.head["command"] for one in kept)
    return [*lines, "", "```", *commands, "```", ""]


def _versions(one: Kept) -> dict[str, str]:
    peer = {"optuna": one.head["peer"]} if one.head.get("peer") else {}
    return {**one.head["machine"]["versions"], **peer}


def _conditions(one: Kept) -> tuple[Any, ...]:
    machine = one.head["machine"]
    return (
        one.head["minutes"],
        one.head.get("clock", "wall"),
        *(machine[name] for name in ("processor", "cores", "precision", "engine", "workers")),
    )


def _reached(one: Kept, kind: str) -> list[str]:
    wanted = WANTED[kind].get(one.head["space"], "")
    return [one.head["space"], *_mean_and_each(one.tests), wanted]


def _mean_and_each(values: Sequence[float], sign: str = "") -> list[str]:
    within = (-1.0, 1.0) if sign else (0.0, 1.0)
    return [_interval(mean_estimate(values, within), sign), ", ".join(f"{100 * value:{sign}.2f}" for value in values)]


def _interval(estimate: Estimate, sign: str = "") -> str:
    if math.isnan(estimate.value):
        return ""
    value, low, high = (f"{100 * part:{sign}.2f}" for part in (estimate.value, estimate.low, estimate.high))
    return f"**{value}**" if math.isnan(estimate.low) else f"**{value}** [{low}, {high}]"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def genome_text(one: Kept) -> str:
    """Return the winner's genome in one line."""
    winner = next((row for row in one.trainings if row["individual"] == one.head["winner"]), None)
    return " ".join(f"{name}={_cell(value)}" for name, value in winner["genome"].items()) if winner else "none"


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)
