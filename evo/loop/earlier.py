"""Earlier results: a table of configurations and what each was worth, which a search knows without training them."""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from evo.errors import ConfigurationError, did_you_mean
from evo.evaluation import MEASURES
from evo.individual import Genome, genome_key
from evo.loop.search_loop import Observer
from evo.numbers import mean
from evo.plain_text import shown
from evo.record.settings import Settings
from evo.space import SearchSpace
from evo.space.genes.values import cell_number
from evo.space.problems import RESERVED
from evo.space.search_space import renamed

FITNESS = "fitness"
OPTION = "--initial-from"
NO_TIME = ("seconds",)
"""What is measured and not taken over: nothing was trained for these results now."""


def is_table(source: Any) -> bool:
    """Return whether `initial_from` is a table: a DataFrame, or a CSV file. Otherwise it is the folder of a run."""
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        return True
    return isinstance(source, str | Path) and (Path(source).is_file() or Path(source).suffix.lower() == ".csv")


def earlier_results(
    space: SearchSpace, source: Any, settings: Settings, measures: Iterable[str], observer: Observer
) -> list[Any]:
    """Return the results of a table as settings keep them, worst first: genome, fitness, and other measures.

    Of configurations that are in it more than once, the mean counts.

    Args:
        space: What is searched.
        source: A pandas DataFrame, or the path of a CSV file.
        settings: Of the search: what its fitness is called, and whether less of it is better.
        measures: What the search is to optimise, where it is several things; each needs a column.
        observer: Is told which rows and columns are left out.

    Raises:
        ConfigurationError: It cannot be read, lacks a column, or no row of it can be used.
    """
    name = shown_name(source)
    columns, rows = _of_file(Path(source)) if isinstance(source, str | Path) else _of_frame(source)
    if FITNESS not in columns and settings.goal in columns:  # a measure that is the fitness has a name of its own
        columns, rows = [*columns, FITNESS], ({**row, FITNESS: row[settings.goal]} for row in rows)
    wanted = [measure for measure in measures if measure != FITNESS]
    _check_columns(space, columns, wanted, name, observer)
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    left_out: Counter[str] = Counter()
    for row in rows:
        try:
            entry = _result(space, row, wanted)
            found[genome_key(entry["genome"])].append(entry)
        except ValueError as error:
            left_out[str(error).splitlines()[-1].strip(" -")] += 1
    if left_out:
        reasons = "; ".join(f"{count} × {reason}" for reason, count in left_out.most_common(3))
        more = f"; and {len(left_out) - 3} other reasons" if len(left_out) > 3 else ""
        observer.warn(f"note: {OPTION} {name}: {left_out.total()} rows are left out: {reasons}{more}")
    if not found:
        raise ConfigurationError(f'{OPTION} {name}: has no row that fits the space "{space.name}" and has a fitness')
    results = [_mean(entries) for entries in found.values()]
    return sorted(results, key=lambda result: settings.sign * result[FITNESS])


def note_earlier(settings: Settings, found: int, observer: Observer) -> None:
    """Say how many of the results that were found a search begins with."""
    if found > len(settings.earlier):
        observer.warn(
            f"note: of {found} earlier results the best {len(settings.earlier)} enter the first population; "
            "the strategies surrogate and random know all of them"
        )


def shown_name(source: Any) -> str:
    """Return what messages call a table."""
    return str(source) if isinstance(source, str | Path) else "the table"


def _of_file(path: Path) -> tuple[list[str], Iterator[dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{OPTION} {path}: cannot be read as a CSV file: {error}") from None
    reader = csv.DictReader(text.splitlines(keepends=True))
    try:
        return list(reader.fieldnames or []), iter(list(reader))
    except csv.Error as error:
        raise ConfigurationError(f"{OPTION} {path}: not a CSV file: {error}") from None


def _of_frame(table: Any) -> tuple[list[str], Iterator[dict[str, Any]]]:
    columns = [str(column) for column in table.columns]
    # Column by column: a row of several columns would make 1 and 0.5 the same type.
    cells = [table.iloc[:, place].tolist() for place in range(len(columns))]
    return columns, (dict(zip(columns, row, strict=True)) for row in zip(*cells, strict=True))


def _check_columns(space: SearchSpace, columns: list[str], measures: list[str], name: str, observer: Observer) -> None:
    """Raise if a column is missing or there twice; note those that nothing reads."""
    if twice := [column for column, count in Counter(columns).items() if count > 1]:
        raise ConfigurationError(f"{OPTION} {name}: has the column {', '.join(twice)} twice")
    if fixed := [measure for measure in measures if measure in NO_TIME]:
        raise ConfigurationError(f"{OPTION} {name}: earlier results have no {fixed[0]}; leave that objective out")
    needed = {FITNESS: [FITNESS], **{gene: [renamed(gene), gene] for gene in space.genes}}
    needed |= {measure: [measure] for measure in measures}
    if missing := [what for what, names in needed.items() if not {*names} & {*columns}]:
        hints = "".join(did_you_mean(what, [one for one in columns if one not in needed]) for what in missing)
        raise ConfigurationError(
            f"{OPTION} {name}: has no column {', '.join(missing)}; it needs one for {FITNESS}, each gene and each "
            f"objective, with an empty cell where the gene is inactive.{hints}"
        )
    known = {*RESERVED, *MEASURES, *(one for names in needed.values() for one in names)}
    if unknown := [column for column in columns if column not in known]:
        observer.notify(f"note: {OPTION} {name}: nothing reads the columns {', '.join(unknown)}")


def _result(space: SearchSpace, row: Mapping[str, Any], measures: list[str]) -> dict[str, Any]:
    """Return the result of a row.

    Raises:
        ValueError: It is none of this space; the last line of the text says why.
    """
    fitness = _number(row, FITNESS)
    cells = {name: cell for name, cell in row.items() if name is not None}
    read = space.decode(cells)
    genome: Genome = {}
    for name in space.order:  # an inactive gene may have a value in a table: nothing read it
        if space.genes[name].is_active(genome) and name in read:
            genome[name] = read[name]
    genome = {name: genome[name] for name in space.genes if name in genome}
    if problems := space.problems(genome):
        raise ValueError(problems[0])
    return {"genome": genome, FITNESS: fitness, **{measure: _number(row, measure) for measure in measures}}


def _number(row: Mapping[str, Any], name: str) -> float:
    """Return the finite number in a cell."""
    try:
        number = float(cell_number(row[name]))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    except OverflowError:
        raise ValueError(f"{name}: expected a finite number, got {shown(row[name])}") from None
    if not math.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {number}")
    return number


def _mean(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of the results of one genome."""
    numbers = {name: mean([entry[name] for entry in entries]) for name in entries[0] if name != "genome"}
    return {"genome": entries[0]["genome"], **numbers}
