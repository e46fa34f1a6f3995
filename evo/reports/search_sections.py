"""The sections of the report on a search: what there is to see of each part, and what it means, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from evo.loop.finished import is_finished, total_of
from evo.numbers import number_text
from evo.reports.bounds import bounds_text
from evo.reports.classes import classes_blocks, classes_of
from evo.reports.features import INACTIVE
from evo.reports.genome_commands import genome_text
from evo.reports.importance import FOLDS, SHUFFLES, TREES
from evo.reports.lineage import Step, lineage_of, operators_table
from evo.reports.page import Block, Cards, Commands, Facts, Section, Text, table_of
from evo.reports.recipe import recipe_blocks
from evo.reports.search_data import SearchData
from evo.reports.tables import cell_text
from evo.reports.workload import duration_text, failures_table, outcomes_table, timeline_of

HIDDEN = ["seed", "worker", "started", "seconds_before", "engine", "precision"]
"""Columns that the table of all evaluations leaves out."""
NOTHING = "No evaluation is complete yet."
STEPS = 30
"""Most steps of the lineage in the table; the CSV files have all."""
FRONT_ROWS = 200

IMPORTANCE = (
    f"Permutation importance (Breiman, 2001) of a random forest of {TREES} trees that predicts the rank of the fitness "
    "from the genes: how much its R² falls on evaluations that it has not seen when a gene's values are shuffled, mean "
    f"and standard deviation over {FOLDS} folds of {SHUFFLES} shuffles. The search did not choose the evaluations at "
    "random: a gene that it hardly varied looks unimportant, and genes that went together share what they mean."
)
FINALISTS = "The finalists, trained again on new seeds. The winner is the one of the best mean fitness"
LINEAGE = (
    "At each step the parent of the better fitness, what changed against it, and what that brought. Fitness is of a "
    "single training each, so small changes may be chance."
)
OPERATORS = (
    "Better: fitter than its best parent, of the children whose fitness and whose parent's are known (compared); low "
    "and high are the 95 % interval of the rate (Wilson). A parent is among the best of many, its child is one try: "
    "rates far below one half are usual. New bests: fitter than all before."
)
RACED = (
    "Genomes that were evaluated again on new seeds, in a race, rank by the mean of their evaluations and before all "
    "others: a single good result may be luck. Figures show first evaluations, whose best may have lost its race."
)


def search_sections(
    data: SearchData, pictures: Mapping[str, Sequence[Block]], winner: Mapping[Any, Any] | None, rows: int
) -> list[Section]:
    """Return the sections of a search's report.

    Args:
        data: The search.
        pictures: Its figures by the heading of their section.
        winner: The winner's row of the comparison; None where nothing is complete.
        rows: Most rows of the table of all evaluations.
    """
    described: dict[str, Iterable[Block]] = {
        "Summary": _summary(data, winner),
        "Progress": (),
        "Genes": (),
        "Importance of the genes": _importance(data),
        "Best genomes": _best_genomes(data),
        **({"Training recipe": _recipe(data), "Classes": _classes(data)} if data.settings.model else {}),
        "Where the winner comes from": _lineage(data),
        "Operators": _operators(data),
        **({"Pareto front": _front(data)} if len(data.settings.objectives or ()) > 1 else {}),
        "Cost and failures": _cost(data),
        "Workers": _workers(data),
        "All evaluations": _evaluations(data, rows),
    }
    nothing = [Text(NOTHING)]
    return [Section(heading, [*pictures.get(heading, ()), *blocks] or nothing) for heading, blocks in described.items()]


def _summary(data: SearchData, row: Mapping[Any, Any] | None) -> Iterator[Block]:
    if data.settings.fitness == "test":
        chosen = "fitness is test accuracy. The test set chose these genomes, so it no longer judges them."
        yield Text(f"{data.name}: {chosen}", warning=True)
    if row is None:
        yield Text(NOTHING)
    else:
        number = int(row["individual"])
        genes = {
            name: f"{value:.4g}" if isinstance(value, float) else data.space.genes[name].to_text(value)
            for name, value in data.run.config_of(number).items()
        }
        what = "and the command that trains it again" if data.settings.model else "and all of it as JSON"
        yield from (_cards(data, row), Text(f"The genes of #{number}, {what}:"), Facts(genes))
        yield _commands(data, [number])
        if bounds := bounds_text(data.run):
            yield Text(bounds)
    yield Facts(facts_of(data))


def _cards(data: SearchData, row: Mapping[Any, Any]) -> Cards:
    """Return the figures of a search's winner from its row of the comparison."""
    paused = "" if row["paused_at"] is None else f", paused at step {row['paused_at']:,}"
    cards = [
        ("best genome", f"#{row['individual']}", "named winner" if row["winner"] else "of the search"),
        (f"{data.settings.goal} in the search", number_text(row["fitness"]), f"{row['fitness_on']}{paused}"),
    ]
    if pd.notna(row["retrained_fitness"]):
        count = (data.finalists["individual"] == row["individual"]).sum()
        cards.append(
            ("on new seeds", number_text(row["retrained_fitness"]), f"{_interval(row, 'retrained')}n = {count}")
        )
    if pd.notna(row["test_accuracy"]):
        cards.append(("test accuracy", number_text(row["test_accuracy"]), f"{_interval(row, 'test')}n = {row['n']}"))
        cards.append(("gap", f"{row['gap']:+.4f}", "validation less test accuracy"))
    known = f", and {data.earlier:,} earlier results" if data.earlier else ""
    done, tried = len(data.evaluations) - data.earlier, len(data.first) - data.earlier
    cards.append(("evaluations", f"{done:,}", f"of {tried:,} individuals{known}"))
    cards.append(("cost of the search", duration_text(data.seconds), "of training"))
    cards.append(("failures", f"{len(data.failed):,}", ""))
    if len(data.infeasible):
        cards.append(("infeasible", f"{len(data.infeasible):,}", "configurations that are not allowed"))
    return Cards(cards)


def facts_of(data: SearchData) -> dict[str, str]:
    """Return how a search was made."""
    settings = data.settings
    device = (settings.device, settings.device_name, settings.precision, settings.engine)
    facts = {
        "state": _state(data),
        "space": settings.space_name,
        "strategy": f"{settings.strategy}, population {settings.population}, seed {settings.seed}",
        settings.goal: f"of the function {settings.objective}{', lower is better' if data.sign < 0 else ''}"
        if settings.objective
        else f"{settings.fitness_name}, of the model {settings.model}",
        "data": str((settings.dataset or {}).get("variant", "")),
        "device": " ".join(filter(None, device)) if settings.model else "",
        "versions": ", ".join(f"{name} {version}" for name, version in settings.versions.items()),
    }
    return {name: value for name, value in facts.items() if value}


def _state(data: SearchData) -> str:
    """Return how far a run is, and, if it is not finished, when that was."""
    if is_finished(data.run):
        early = (
            f"ended early, after {len(data.evaluations) - data.earlier:,} of at most {total_of(data.run):,} evaluations"
        )
        return early if data.run.ended_early else "finished"
    when = datetime.now(UTC).isoformat(sep=" ", timespec="minutes").removesuffix("+00:00")
    done = len(data.evaluations) - data.earlier
    return f"not finished: {done:,} of at most {total_of(data.run):,} evaluations when this was written, at {when} UTC"


def _interval(row: Mapping[Any, Any], name: str) -> str:
    """Return a 95 % interval in words; nothing where there is only one value."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if pd.isna(low) else f"95 %: {number_text(low)} to {number_text(high)}, "


def _commands(data: SearchData, individuals: Iterable[int], folded: str = "") -> Commands:
    configs = ((number, data.run.config_of(int(number))) for number in individuals)
    return Commands([(f"the genome of #{number}", genome_text(data.run, config)) for number, config in configs], folded)


def _importance(data: SearchData) -> Iterator[Block]:
    found = data.importance
    if found.table.empty:
        yield Text(f"Not shown: {found.reason}.")
        return
    certain = f"From {found.evaluations:,} evaluations; the forest's R² is {found.r2:.2f}. "
    uncertain = f"It is {found.reason}. " if found.reason else ""
    yield Text(certain + uncertain + IMPORTANCE)
    yield table_of(found.table, "Importance of the genes")


def _best_genomes(data: SearchData) -> Iterator[Block]:
    table = data.hall_of_fame
    if table.empty:
        return
    if (table["replicates"] > 1).any():
        yield Text(RACED)
    first = ["rank", "individual", "fitness"]
    yield table_of(table[[*first, *table.columns.difference(first, sort=False)]], "Hall of fame")
    if len(data.finalists):
        yield Text(FINALISTS + (", and was named before the test set was read." if data.settings.model else "."))
        yield table_of(data.finalists.drop(columns=["seed"]), "Finalists")
    as_what = "commands that train them again" if data.settings.model else "JSON"
    yield _commands(data, table["individual"], f"These {len(table)} genomes as {as_what}")


def _recipe(data: SearchData) -> Iterator[Block]:
    if data.best is None:
        return
    blocks = recipe_blocks(data.run, data.run.config_of(data.best))
    yield Text(f"How #{data.best} was trained, with every default filled in:")
    yield from blocks


def _classes(data: SearchData) -> Iterator[Block]:
    if data.best is not None:
        yield from classes_blocks(classes_of(data, data.best))


def _lineage(data: SearchData) -> Iterator[Block]:
    line = lineage_of(data, data.best)
    if len(line) == 1:
        yield Text(f"#{data.best} was made by “{line[0].operator}”: it has no parents.")
    elif line:
        earlier = f" The {len(line) - STEPS} earlier ones are not shown." if len(line) > STEPS else ""
        yield Text(f"#{data.best} and its {len(line) - 1} ancestors.{earlier} {LINEAGE}")
        yield table_of(pd.DataFrame(map(_cells, line[-STEPS:])).drop(columns="parent"), "Lineage of the winner")


def _cells(step: Step) -> dict[str, Any]:
    parents = ", ".join(f"#{parent}" for parent in step.parents[:6]) + (" …" if len(step.parents) > 6 else "")
    texts = {name: [cell_text(cell) or INACTIVE for cell in cells] for name, cells in step.changes.items()}
    changes = [f"{name}: {old} → {new}" for name, (old, new) in texts.items()]
    return step._asdict() | {"parents": parents, "changes": "; ".join(changes)}


def _operators(data: SearchData) -> Iterator[Block]:
    table = operators_table(data)
    if not table.empty:
        yield from (Text(OPERATORS), table_of(table, "Operators"))


def _front(data: SearchData) -> Iterator[Block]:
    front = data.front
    goals = " and ".join(f"{direction} {name}" for name, direction in (data.settings.objectives or {}).items())
    more = f" The table shows {FRONT_ROWS} of them." if len(front) > FRONT_ROWS else ""
    yield Text(
        f"Objectives: {goals}. {len(front)} of {len(data.objectives)} complete evaluations are on the front.{more}"
    )
    first = front.columns.difference([*data.space.genes], sort=False)
    yield table_of(front.head(FRONT_ROWS)[[*first, *data.space.genes]], "Pareto front")


def _cost(data: SearchData) -> Iterator[Block]:
    if data.evaluations.empty:
        return
    text = f"{duration_text(data.seconds)} of training in the search."
    if len(data.finalists):
        text += f" {duration_text(float(data.finalists['seconds'].sum()))} for the finalists on new seeds."
    if shared := int(data.evaluations["shared_with"].notna().sum()):
        text += f" {shared} of the evaluations cost nothing: they were read from another's learning curve."
    yield from (Text(text), table_of(outcomes_table(data), "Evaluations by status"))
    failures = failures_table(data)
    if failures.empty:
        yield Text("No evaluation failed.")
    else:
        what = "failed" if data.infeasible.empty else "failed or are infeasible"
        yield Text(f"Why evaluations {what}; reasons that differ only in their numbers are one:")
        yield table_of(failures, "Failures")


def _workers(data: SearchData) -> Iterator[Block]:
    timeline = timeline_of(data)
    if timeline is None:
        yield Text("Nothing to see: the evaluations took hardly any time.")
        return
    pauses = f", pauses ({timeline.pauses}) left out" if timeline.pauses else ""
    yield Text(
        f"{timeline.workers} at a time; {duration_text(timeline.wall)} from first start to last end{pauses}; "
        f"the workers trained for {timeline.utilisation:.0%} of that time."
    )


def _evaluations(data: SearchData, rows: int) -> Iterator[Block]:
    """Show all evaluations, or the best of very many, without the columns that say nothing of this search."""
    table = data.evaluations
    unraced = [] if (table["replicate"] > 0).any() else ["replicate"]
    empty = [name for name in ("error", "shared_with") if table[name].isin(["", None]).all()]
    shown = table.drop(columns=[*HIDDEN, *unraced, *empty])
    if len(shown) <= rows:
        yield table_of(shown, "All evaluations")
        return
    yield Text(f"The best {rows:,} of {len(shown):,} evaluations; all are in evaluations.csv in the run folder.")
    ordered = shown.sort_values("fitness", ascending=data.sign < 0, kind="stable")
    yield table_of(ordered.head(rows), "The best evaluations")
