"""The sections of the report on a search: what there is to see of each part, and what it means, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from evo.loop.finished import is_finished, total_of
from evo.reports.features import INACTIVE
from evo.reports.genome_commands import genome_text
from evo.reports.importance import FOLDS, SHUFFLES, TREES
from evo.reports.lineage import Step, lineage_of, operators_table
from evo.reports.page import Block, Commands, Facts, Section, Text, table_of
from evo.reports.search_data import SearchData
from evo.reports.tables import cell_text
from evo.reports.workload import duration_text, failures_table, outcomes_table, timeline_of

HIDDEN = ["seed", "worker", "started", "seconds_before", "engine", "precision", "replicate"]
"""Columns that the table of all evaluations leaves out, where they say nothing."""
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
TESTED = ", and was named before the test set was read."
LINEAGE = (
    "At each step the parent of the higher fitness, what changed against it, and what that brought. Fitness is of a "
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
    several = len(data.settings.objectives or ()) > 1
    described: dict[str, list[Block]] = {
        "Summary": _summary(data, winner),
        "Progress": [],
        "Genes": [],
        "Importance of the genes": _importance(data),
        "Best genomes": _best_genomes(data),
        "Where the winner comes from": _lineage(data),
        "Operators": _operators(data),
        **({"Pareto front": _front(data)} if several else {}),
        "Cost and failures": _cost(data),
        "Workers": _workers(data),
        "All evaluations": _evaluations(data, rows),
    }
    nothing: list[Block] = [Text("No evaluation is complete yet.")]
    return [Section(heading, [*pictures.get(heading, ()), *blocks] or nothing) for heading, blocks in described.items()]


def _summary(data: SearchData, row: Mapping[Any, Any] | None) -> list[Block]:
    blocks: list[Block] = []
    if data.settings.fitness == "test":
        chosen = "fitness is test accuracy. The test set chose these genomes, so it no longer judges them."
        blocks.append(Text(f"{data.name}: {chosen}", warning=True))
    if row is None:
        blocks.append(Text("No evaluation is complete yet."))
    else:
        number = int(row["individual"])
        genes = {
            name: f"{value:.4g}" if isinstance(value, float) else data.space.genes[name].to_text(value)
            for name, value in data.run.config_of(number).items()
        }
        what = "and the command that trains it again" if data.settings.model else "and all of it as JSON"
        words = Text(f"The genes of #{number}, {what}:")
        blocks += [_cards(data, row), words, Facts(genes), _commands(data, [number])]
    return [*blocks, Facts(facts_of(data))]


def _cards(data: SearchData, row: Mapping[Any, Any]) -> Facts:
    """Return the figures of a search's winner.

    Args:
        data: The search.
        row: The winner's row of the comparison.
    """
    cards = {
        "best genome": (f"#{row['individual']}", "named winner" if row["winner"] else "of the search"),
        "fitness in the search": (_number(row["fitness"]), str(row["fitness_on"])),
    }
    if pd.notna(row["retrained_fitness"]):
        count = int((data.finalists["individual"] == row["individual"]).sum()) if len(data.finalists) else 0
        cards["on new seeds"] = _number(row["retrained_fitness"]), f"{_interval(row, 'retrained')}n = {count}"
    if pd.notna(row["test_accuracy"]):
        cards["test accuracy"] = _number(row["test_accuracy"]), f"{_interval(row, 'test')}n = {row['n']}"
        cards["gap"] = f"{row['gap']:+.4f}", "fitness less test accuracy"
    cards["evaluations"] = f"{len(data.evaluations):,}", f"of {len(data.first):,} individuals"
    cards["cost of the search"] = duration_text(data.seconds), "of training"
    facts = {name: value for name, (value, _) in cards.items()} | {"failures": f"{len(data.failed):,}"}
    return Facts(facts, {name: note for name, (_, note) in cards.items()}, cards=True)


def facts_of(data: SearchData) -> dict[str, str]:
    """Return how a search was made."""
    settings = data.settings
    device = (settings.device, settings.device_name, settings.precision, settings.engine)
    facts = {
        "state": _state(data),
        "space": settings.space_name,
        "strategy": f"{settings.strategy}, population {settings.population}, seed {settings.seed}",
        "fitness": f"of the function {settings.objective}"
        if settings.objective
        else f"accuracy on the {settings.fitness} set, of the model {settings.model}",
        "data": str((settings.dataset or {}).get("variant", "")),
        "device": " ".join(filter(None, device)) if settings.model else "",
        "versions": ", ".join(f"{name} {version}" for name, version in settings.versions.items()),
    }
    return {name: value for name, value in facts.items() if value}


def _state(data: SearchData) -> str:
    """Return how far a run is, and, if it is not finished, when that was."""
    if is_finished(data.run):
        return "finished"
    when = datetime.now(UTC).isoformat(sep=" ", timespec="minutes").removesuffix("+00:00")
    done = len(data.evaluations)
    return f"not finished: {done:,} of at most {total_of(data.run):,} evaluations when this was written, at {when} UTC"


def _number(value: Any) -> str:
    return f"{value:.4f}" if 0.001 <= abs(value) < 10 else f"{value:.4g}"


def _interval(row: Mapping[Any, Any], name: str) -> str:
    """Return a 95 % interval in words; nothing where there is only one value."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if pd.isna(low) else f"95 %: {_number(low)} to {_number(high)}, "


def _commands(data: SearchData, individuals: Sequence[int], folded: str = "") -> Commands:
    genomes = {number: genome_text(data.run, data.run.config_of(number)) for number in individuals}
    return Commands([(f"the genome of #{number}", text) for number, text in genomes.items()], folded)


def _importance(data: SearchData) -> list[Block]:
    found = data.importance
    if found.table.empty:
        return [Text(f"Not shown: {found.reason}.")]
    certain = f"From {found.evaluations:,} evaluations; the forest's R² is {found.r2:.2f}. "
    uncertain = f"It is {found.reason}. " if found.reason else ""
    return [Text(certain + uncertain + IMPORTANCE), table_of(found.table, "Importance of the genes")]


def _best_genomes(data: SearchData) -> list[Block]:
    table = data.hall_of_fame
    if table.empty:
        return []
    first = ["rank", "individual", "fitness"]
    blocks: list[Block] = [Text(RACED)] if (table["replicates"] > 1).any() else []
    blocks.append(table_of(table[[*first, *table.columns.difference(first, sort=False)]], "Hall of fame"))
    if len(data.finalists):
        blocks.append(Text(FINALISTS + (TESTED if data.settings.model else ".")))
        blocks.append(table_of(data.finalists.drop(columns=["seed"]), "Finalists"))
    as_what = "commands that train them again" if data.settings.model else "JSON"
    numbers = [int(number) for number in table["individual"]]
    return [*blocks, _commands(data, numbers, f"These {len(numbers)} genomes as {as_what}")]


def _lineage(data: SearchData) -> list[Block]:
    line = lineage_of(data, data.best)
    if not line:
        return []
    if len(line) == 1:
        return [Text(f"#{data.best} was made by “{line[0].operator}”: it has no parents.")]
    earlier = f" The {len(line) - STEPS} earlier ones are not shown." if len(line) > STEPS else ""
    text = f"#{data.best} and its {len(line) - 1} ancestors.{earlier} {LINEAGE}"
    return [Text(text), table_of(lineage_table(line[-STEPS:]), "Lineage of the winner")]


def lineage_table(line: list[Step]) -> pd.DataFrame:
    """Return a lineage as a table: `individual, generation, operator, parents, changes, fitness, change`."""
    columns = ["individual", "generation", "operator", "parents", "changes", "fitness", "change"]
    table = pd.DataFrame([vars(step) for step in line])[columns]
    table["parents"] = [
        ", ".join(f"#{parent}" for parent in step.parents[:6]) + (" …" if len(step.parents) > 6 else "")
        for step in line
    ]
    table["changes"] = [
        "; ".join(f"{name}: {_cell(old)} → {_cell(new)}" for name, (old, new) in step.changes.items()) for step in line
    ]
    return table


def _cell(value: Any) -> str:
    return cell_text(value) or INACTIVE


def _operators(data: SearchData) -> list[Block]:
    table = operators_table(data)
    return [] if table.empty else [Text(OPERATORS), table_of(table, "Operators")]


def _front(data: SearchData) -> list[Block]:
    table = data.objectives
    front = table[table["front"]].drop(columns="front").sort_values("fitness", ascending=False)
    genes = data.first[["individual", *(name for name in data.space.genes if name not in front)]]
    goals = " and ".join(f"{direction} {name}" for name, direction in (data.settings.objectives or {}).items())
    text = f"Objectives: {goals}. {len(front)} of {len(table)} complete evaluations are on the front."
    more = f" The table shows {FRONT_ROWS} of them." if len(front) > FRONT_ROWS else ""
    shown = front.head(FRONT_ROWS).merge(genes, on="individual", how="left")
    return [Text(text + more), table_of(shown, "Pareto front")]


def _cost(data: SearchData) -> list[Block]:
    if data.evaluations.empty:
        return []
    failures = failures_table(data)
    text = f"{duration_text(data.seconds)} of training in the search."
    if len(data.finalists):
        text += f" {duration_text(float(data.finalists['seconds'].sum()))} for the finalists on new seeds."
    if shared := int(data.evaluations["shared_with"].notna().sum()):
        text += f" {shared} of the evaluations cost nothing: they were read from another's learning curve."
    blocks: list[Block] = [Text(text), table_of(outcomes_table(data), "Evaluations by status")]
    if failures.empty:
        return [*blocks, Text("No evaluation failed.")]
    why = Text("Why evaluations failed; reasons that differ only in their numbers are one:")
    return [*blocks, why, table_of(failures, "Failures")]


def _workers(data: SearchData) -> list[Block]:
    timeline = timeline_of(data)
    if timeline is None:
        return [Text("Nothing to see: the evaluations took hardly any time.")]
    pauses = f", pauses ({timeline.pauses}) left out" if timeline.pauses else ""
    text = (
        f"{timeline.workers} at a time; {duration_text(timeline.wall)} from first start to last end{pauses}; "
        f"the workers trained for {timeline.utilisation:.0%} of that time."
    )
    return [Text(text)]


def _evaluations(data: SearchData, rows: int) -> list[Block]:
    """Show all evaluations, or the best of very many, without the columns that say nothing of this search."""
    table = data.evaluations
    raced = bool((table["replicate"] > 0).any())
    hidden = [name for name in HIDDEN if name != "replicate" or not raced]
    empty = [name for name in ("error", "shared_with") if table[name].isin(["", None]).all()]
    shown = table.drop(columns=[*hidden, *empty])
    if len(shown) <= rows:
        return [table_of(shown, "All evaluations")]
    best = shown.sort_values("fitness", ascending=False, kind="stable").head(rows)
    text = f"The best {rows:,} of {len(shown):,} evaluations; all are in evaluations.csv in the run folder."
    return [Text(text), table_of(best, "The best evaluations")]
