"""Search spaces as the text of a space file: TOML, or the same values as JSON. `evo.space.file` reads both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from evo.individual import EPOCHS, GeneValue
from evo.space.genes.values import as_written, toml_value
from evo.space.search_space import SearchSpace
from evo.space.training_settings import ALWAYS_SHOWN, EVALUATE_EVERY, TrainingSettings


def space_values(space: SearchSpace, config: Mapping[str, GeneValue], **head: Any) -> dict[str, Any]:
    """Return the values of a space file whose only known configuration is this one.

    Args:
        space: Where the configuration is from.
        config: Gene values by name.
        head: Top-level values that replace or extend those of the space; None leaves one out.
    """
    values = space.to_dict() | head
    fixed, usual = values["training"], TrainingSettings().model_dump()
    in_epochs = EPOCHS in fixed or EPOCHS in space.genes
    values["training"] = {
        name: value
        for name, value in fixed.items()
        if value != usual[name] or (name in ALWAYS_SHOWN and name not in space.genes)
        if (name, value) != ("evaluate_every", EVALUATE_EVERY) or in_epochs
    }
    values["initial"] = [{name: as_written(value) for name, value in config.items()}]
    order = ("description", "model", "dataset", "initial", "training", "data", "search", "genes")
    return {name: values[name] for name in order if values.get(name) not in (None, {}, [])}


def json_text(values: Mapping[str, Any]) -> str:
    """Return the values of a space file as JSON."""
    return json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def toml_text(values: Mapping[str, Any], comments: Sequence[str] = ()) -> str:
    """Return the values of a space file as TOML: known configurations first, then the fixed settings and the genes.

    Args:
        values: The values.
        comments: Lines above them.
    """
    lines = [f"# {line}" for line in comments]
    lines += [_pair(name, value) for name, value in values.items() if not isinstance(value, Mapping | list)]
    for configuration in values.get("initial", ()):
        lines += ["", "[[initial]]", *_pairs(configuration)]
    for name in ("training", "data", "search"):
        if values.get(name):
            lines += ["", f"[{name}]", *_pairs(values[name])]
    for name, gene in values.get("genes", {}).items():
        lines += ["", f"[genes.{name}]", *_pairs({"type": gene["type"], **gene})]
    return "\n".join(lines) + "\n"


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [_pair(name, value) for name, value in values.items()]


def _pair(name: str, value: Any) -> str:
    return f"{name} = {toml_value(value)}"
