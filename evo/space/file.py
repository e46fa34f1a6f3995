"""Finds, reads and checks search space files; names every mistake at once."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from evo.errors import ConfigurationError, did_you_mean, listed
from evo.names import DATASETS, is_reference
from evo.plain_text import read_json, shown
from evo.space import SearchSpace
from evo.space.genes import GENE_KINDS, Gene
from evo.space.genes.base import GeneError
from evo.space.problems import Absent, SpaceError
from evo.space.settings import DataSettings, SearchDefaults, read_section
from evo.space.training_settings import TrainingSettings

TOP_LEVEL_KEYS = ("model", "dataset", "description", "training", "data", "search", "genes", "initial")


def shipped_spaces() -> dict[str, Traversable]:
    """Return the shipped space files by name."""
    folder = resources.files("evo.search_spaces")
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".toml")), key=lambda f: f.name)
    return {entry.name.removesuffix(".toml"): entry for entry in files}


def shipped_text(name: str) -> str:
    """Return the TOML file of a shipped space.

    Raises:
        ConfigurationError: There is no such space.
    """
    shipped = shipped_spaces()
    if name not in shipped:
        raise ConfigurationError(f'search space "{name}": is not shipped.{_known(name, shipped)}')
    return shipped[name].read_text(encoding="utf-8")


def _known(name: str, shipped: Iterable[str]) -> str:
    return f"{did_you_mean(name, shipped)} Shipped: {', '.join(shipped)}."


def load_space(space: str | Path | SearchSpace) -> SearchSpace:
    """Return a search space by a shipped name or from a TOML file (or a JSON file with the same values).

    Raises:
        ConfigurationError: No such name or file, or a file with mistakes; every mistake is named.
    """
    if isinstance(space, SearchSpace):
        return space
    if not isinstance(space, str | os.PathLike):
        raise ConfigurationError(
            f"search space: must be a shipped space's name, a TOML file or an evo.SearchSpace, got {shown(space)}"
            + (
                '; a dictionary of genes becomes one:  evo.SearchSpace({"x": evo.Float(0, 1)})'
                if isinstance(space, dict)
                else ""
            )
        )
    shipped = shipped_spaces()
    if str(space) in shipped:
        return space_from_text(shipped_text(str(space)), name=str(space))
    path = Path(space)
    if not path.is_file():
        if path.suffix in (".toml", ".json"):
            raise ConfigurationError(f"search space {space}: there is no such file")
        if str(space) in DATASETS:
            raise ConfigurationError(
                f'"{space}" is a dataset, not a search space. Search it with a space and --dataset {space}; '
                f"shipped spaces: {', '.join(shipped)}."
            )
        raise ConfigurationError(
            f'search space "{space}": neither a shipped space nor a TOML file.{_known(str(space), shipped)}'
        )
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows begins a file with a byte order mark
    except (UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{path}: cannot be read as a text file: {error}") from None
    return space_from_text(text, name=path.stem, where=str(path))


def space_from_text(text: str, *, name: str, where: str | None = None) -> SearchSpace:
    """Return the space that a TOML text describes, or a JSON text with the same values.

    Args:
        text: The file's content.
        name: The space's name.
        where: The file's path for messages.
    """
    where = where or f"search space {name}"
    return space_from_dict(_values_of(text, where), name=name, where=where)


def _values_of(text: str, where: str) -> dict[str, Any]:
    if text.lstrip().startswith("{") or where.endswith(".json"):  # no TOML file begins so
        try:
            values = read_json(text.encode())
        except ValueError as error:
            raise ConfigurationError(f"{where}: not a JSON file: {error}") from None
        if not isinstance(values, dict):
            raise ConfigurationError(f"{where}: must be a JSON object, got {type(values).__name__}")
        return values
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{where}: not a TOML file: {error}") from None


def space_from_dict(
    values: Mapping[str, Any], *, name: str, where: str | None = None, recorded: bool = False
) -> SearchSpace:
    """Return the space that the values of a space file describe; see `space_from_text`.

    Args:
        values: The file's content.
        name: The space's name.
        where: The file's path for messages.
        recorded: Whether a run has kept it, perhaps of an older version, which accepted more.
    """
    where = where or f"search space {name}"
    problems = [
        f"{key}: unknown key.{did_you_mean(key, TOP_LEVEL_KEYS)}" for key in values if key not in TOP_LEVEL_KEYS
    ]
    model, dataset = _text(values.get("model")), _text(values.get("dataset"))
    if is_reference(model):
        problems.append("model: a file cannot name a function; give your own model by --model or from Python")
        model = None
    if is_reference(dataset):
        problems.append("dataset: a file cannot name a function; give your own data by --dataset or from Python")
        dataset = None
    for key in ("model", "dataset", "description"):
        if not isinstance(values.get(key), str | None):
            problems.append(f"{key}: must be a text, got {values[key]!r}")
    training, wrong = read_section(TrainingSettings, values.get("training", {}), "training")
    search, others = read_section(SearchDefaults, values.get("search", {}), "search", recorded=recorded)
    data, more = read_section(DataSettings, values.get("data", {}), "data")
    problems += [*wrong, *others, *more]
    initial = values.get("initial", [])
    if not isinstance(initial, list) or not all(isinstance(entry, Mapping) for entry in initial):
        problems.append("initial: must be [[initial]] tables, one for each known configuration")
        initial = []
    genes, gene_problems = _read_genes(values.get("genes", {}))
    problems += gene_problems
    try:
        space = SearchSpace(
            genes,
            name=name,
            model=model,
            dataset=dataset,
            training=training,
            search=search,
            data=data,
            initial=initial,
            older=recorded and "schedule" not in training.model_fields_set,
        )
    except SpaceError as error:
        given = values.get("genes")
        unread = set(given if isinstance(given, Mapping) else []) - set(genes) | ({""} if gene_problems else set())
        unread |= set(values["training"]) if wrong and isinstance(values["training"], Mapping) else set()
        problems += [text for text in error.problems if not (isinstance(text, Absent) and text.gene in unread)]
    if problems:
        raise ConfigurationError(listed(problems, f"{where}: {len(problems)} mistake{'s' * (len(problems) != 1)}"))
    return space


def _read_genes(tables: Any) -> tuple[dict[str, Gene], list[str]]:
    """Return the genes that could be read, and what is wrong with the others."""
    genes: dict[str, Gene] = {}
    problems: list[str] = []
    if not isinstance(tables, Mapping):
        return genes, [f"genes: must be [genes.NAME] tables, got {tables!r}"]
    for name, table in tables.items():
        path = f"genes.{name}"
        if not isinstance(table, Mapping):
            problems.append(f"{path}: must be a table with a type, got {table!r}")
            continue
        kind = table.get("type")
        if not isinstance(kind, str) or kind not in GENE_KINDS:
            what = f"unknown kind {kind!r}.{did_you_mean(str(kind), GENE_KINDS)}" if "type" in table else "missing."
            problems.append(f"{path}.type: {what} Known: {', '.join(GENE_KINDS)}")
            continue
        try:
            genes[name] = GENE_KINDS[kind](**table)
        except GeneError as error:
            problems += error.problems(path)
    return genes, problems


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
