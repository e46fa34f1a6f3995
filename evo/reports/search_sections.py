"""The sections of a report on a search: what there is to see of each part, and what it means, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from evo.reports.captions import CAPTIONS, FINALISTS, IMPORTANCE, LINEAGE, OPERATORS, RACED, TESTED
from evo.reports.figures import figures_of_search
from evo.reports.front import objectives_table
from evo.reports.genome_commands import genome_text
from evo.reports.importance import Importance
from evo.reports.lineage import Step, lineage_of
from evo.reports.operators import operators_table
from evo.reports.page import Block, Commands, Facts, Picture, Section, Table, Text
from evo.reports.search_data import SearchData
from evo.reports.style import save_figure, svg_for_page
from evo.reports.summary import cards_of, facts_of
from evo.reports.workload import failures_table, outcomes_table, timeline_of
from evo.reports.workload_figures import unit_of

Pictures = Mapping[str, Picture]

HIDDEN = ["seed", "worker", "started", "seconds_before", "engine", "precision", "replicate"]
"""Columns that the table of all evaluations leaves out, where they say nothing."""
STEPS = 30
"""Most steps of the winner's line in the table; the CSV files have all."""
FRONT_ROWS = 200


def drawn(data: SearchData, importance: Importance, save: Callable[[str], Any], suffix: str) -> dict[str, Picture]:
    """Draw and write a run's own figures, one after another, and return them for a page by their names.

    Args:
        data: The search.
        importance: Of its genes.
        save: Returns where a figure of a name is written to.
        suffix: Of the names of the files.
    """
    return {
        name: picture(name, f"{name}{suffix}", data.name, save_figure(draw(), save(f"{name}{suffix}")))
        for name, draw in figures_of_search(data, importance)
    }


def picture(kind: str, name: str, whose: str, svg: str) -> Picture:
    """Return a figure for a page."""
    title, caption = CAPTIONS[kind]
    return Picture(name, f"{title}: {whose}", caption, svg_for_page(svg))


def search_sections(
    data: SearchData, pictures: Pictures, importance: Importance, summary: Mapping[Any, Any] | None, rows: int
) -> Iterator[Section]:
    """Yield the sections of a search's report.

    Args:
        data: The search.
        pictures: Its figures by name.
        importance: Of its genes.
        summary: The winner's row of the comparison; None where nothing is complete.
        rows: Most rows of the table of all evaluations.
    """
    yield Section("Summary", _summary(data, summary))
    yield Section("Progress", _seen(pictures, "progress", "generations"))
    yield Section("Genes", _seen(pictures, "genes-over-time", "genes", "parallel"))
    yield Section("Importance of the genes", _importance(pictures, importance))
    yield Section("Best genomes", _best_genomes(data, pictures))
    yield Section("Where the winner comes from", _lineage(data, pictures))
    yield Section("Operators", _operators(data, pictures))
    if len(data.settings.objectives or ()) > 1:
        yield Section("Pareto front", _front(data, pictures))
    yield Section("Cost and failures", _cost(data, pictures))
    yield Section("Workers", _workers(data, pictures))
    yield Section("All evaluations", _evaluations(data, rows))


def _seen(pictures: Pictures, *names: str) -> list[Block]:
    found: list[Block] = [pictures[name] for name in names if name in pictures]
    return found or [Text("Nothing to draw yet: no evaluation is complete.")]


def _summary(data: SearchData, row: Mapping[Any, Any] | None) -> list[Block]:
    blocks: list[Block] = []
    if data.settings.fitness == "test":
        warning = (
            f"{data.name}: fitness is test accuracy. The test set chose these genomes, so it no longer judges them."
        )
        blocks.append(Text(warning, warning=True))
    if row is None:
        blocks.append(Text("No evaluation is complete yet."))
    else:
        blocks.append(cards_of(data, row))
        number = int(row["individual"])
        genes = {name: _gene_text(data, name, value) for name, value in data.run.config_of(number).items()}
        what = "and the command that trains it again" if data.settings.model else "and all of it as JSON"
        blocks += [Text(f"The genes of #{number}, {what}:"), Facts(genes), _commands(data, [number])]
    return [*blocks, Facts(facts_of(data))]


def _gene_text(data: SearchData, name: str, value: Any) -> str:
    """Return a gene's value in words; the command has every digit."""
    return f"{value:.4g}" if isinstance(value, float) else data.space.genes[name].to_text(value)


def _commands(data: SearchData, individuals: Sequence[int], folded: str = "") -> Commands:
    return Commands(
        [(f"the genome of #{number}", genome_text(data.run, data.run.config_of(number))) for number in individuals],
        folded,
    )


def _importance(pictures: Pictures, importance: Importance) -> list[Block]:
    if not len(importance.table):
        return [Text(f"Not shown: {importance.reason}.")]
    found = f"From {importance.evaluations:,} evaluations; the forest's R² is {importance.r2:.2f}. "
    uncertain = f"It is {importance.reason}. " if importance.reason else ""
    table = Table(importance.table, "Importance of the genes")
    return [*_seen(pictures, "importance"), Text(found + uncertain + IMPORTANCE), table]


def _best_genomes(data: SearchData, pictures: Pictures) -> list[Block]:
    table = data.hall_of_fame
    if not len(table):
        return [Text("No evaluation is complete yet.")]
    first = ["rank", "individual", "fitness"]
    blocks: list[Block] = [Table(table[[*first, *table.columns.difference(first, sort=False)]], "Hall of fame")]
    if (table["replicates"] > 1).any():
        blocks.insert(0, Text(RACED))
    if "curves" in pictures:
        blocks.append(pictures["curves"])
    if len(data.finalists):
        blocks += [
            Text(FINALISTS + (TESTED if data.settings.model else ".")),
            Table(data.finalists.drop(columns=["seed"]), "Finalists"),
        ]
    as_what = "commands that train them again" if data.settings.model else "JSON"
    numbers = [int(number) for number in table["individual"]]
    return [*blocks, _commands(data, numbers, f"These {len(numbers)} genomes as {as_what}")]


def _lineage(data: SearchData, pictures: Pictures) -> list[Block]:
    if data.best is None:
        return [Text("No evaluation is complete yet.")]
    line = lineage_of(data, data.best)
    if len(line) == 1:
        return [Text(f"#{data.best} was made by “{line[0].operator}”: it has no parents.")]
    earlier = f" The {len(line) - STEPS} earlier ones are not shown." if len(line) > STEPS else ""
    text = f"#{data.best} and its {len(line) - 1} ancestors.{earlier} {LINEAGE}"
    return [*_seen(pictures, "lineage"), Text(text), Table(lineage_table(line[-STEPS:]), "Lineage of the winner")]


def lineage_table(line: list[Step]) -> pd.DataFrame:
    """Return a line of descent as a table: `individual, generation, operator, parents, changes, fitness, change`."""
    rows = [
        {
            "individual": step.individual,
            "generation": step.generation,
            "operator": step.operator,
            "parents": ", ".join(f"#{parent}" for parent in step.parents[:6]) + (" …" if len(step.parents) > 6 else ""),
            "changes": "; ".join(f"{name}: {_cell(old)} → {_cell(new)}" for name, (old, new) in step.changes.items()),
            "fitness": step.fitness,
            "change": step.change,
        }
        for step in line
    ]
    return pd.DataFrame(rows)


def _cell(value: Any) -> str:
    if pd.isna(value):
        return "inactive"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _operators(data: SearchData, pictures: Pictures) -> list[Block]:
    table = operators_table(data)
    if table.empty:
        return [Text("Nothing was evaluated yet.")]
    shown = [pictures["operators"]] if "operators" in pictures else []
    return [*shown, Text(OPERATORS), Table(table, "Operators")]


def _front(data: SearchData, pictures: Pictures) -> list[Block]:
    objectives = data.settings.objectives or {}
    table = objectives_table(data)
    front = table[table["front"]].drop(columns="front").sort_values("fitness", ascending=False)
    genes = data.first[["individual", *(name for name in data.space.genes if name not in front)]]
    goals = " and ".join(f"{direction} {name}" for name, direction in objectives.items())
    text = f"Objectives: {goals}. {len(front)} of {len(table)} complete evaluations are on the front."
    more = f" The table shows {FRONT_ROWS} of them." if len(front) > FRONT_ROWS else ""
    return [
        *_seen(pictures, "front"),
        Text(text + more),
        Table(front.head(FRONT_ROWS).merge(genes, on="individual", how="left"), "Pareto front"),
    ]


def _cost(data: SearchData, pictures: Pictures) -> list[Block]:
    if data.evaluations.empty:
        return [Text("Nothing was evaluated yet.")]
    failures = failures_table(data)
    size, unit = unit_of(float(data.evaluations["seconds"].sum()))
    text = f"{data.evaluations['seconds'].sum() / size:,.1f} {unit} of training in the search."
    if len(data.finalists):
        size, unit = unit_of(float(data.finalists["seconds"].sum()))
        text += f" {data.finalists['seconds'].sum() / size:,.1f} {unit} for the finalists on new seeds."
    shared = int(data.evaluations["shared_with"].notna().sum())
    if shared:
        text += f" {shared} of the evaluations cost nothing: they were read from another's learning curve."
    blocks: list[Block] = [Text(text), Table(outcomes_table(data), "Evaluations by status")]
    blocks += [pictures["cost"]] if "cost" in pictures else []
    if failures.empty:
        return [*blocks, Text("No evaluation failed.")]
    return [
        *blocks,
        Text("Why evaluations failed; reasons that differ in numbers alone are one:"),
        Table(failures, "Failures"),
    ]


def _workers(data: SearchData, pictures: Pictures) -> list[Block]:
    timeline = timeline_of(data)
    if timeline is None:
        return [Text("Nothing to see: the evaluations took hardly any time.")]
    size, unit = unit_of(timeline.wall)
    pauses = f", pauses ({timeline.pauses}) left out" if timeline.pauses else ""
    text = (
        f"{timeline.workers} at a time; {timeline.wall / size:.1f} {unit} from first start to last end{pauses}; "
        f"the workers trained for {timeline.utilisation:.0%} of that time."
    )
    return [*_seen(pictures, "timeline"), Text(text)]


def shown_evaluations(data: SearchData) -> pd.DataFrame:
    """Return the table of all evaluations as a page shows it: without the columns that say nothing of this search."""
    table = data.evaluations
    raced = bool((table["replicate"] > 0).any())
    hidden = [name for name in HIDDEN if name != "replicate" or not raced]
    empty = [name for name in ("error", "shared_with") if table[name].isin(["", None]).all()]
    return table.drop(columns=[*hidden, *empty])


def _evaluations(data: SearchData, rows: int) -> list[Block]:
    shown = shown_evaluations(data)
    if len(shown) <= rows:
        return [Table(shown, "All evaluations")]
    best = shown.sort_values("fitness", ascending=False, kind="stable").head(rows)
    text = f"The best {rows:,} of {len(shown):,} evaluations; all are in evaluations.csv in the run folder."
    return [Text(text), Table(best, "The best evaluations")]
