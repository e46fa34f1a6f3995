"""The data of a run that is resumed or replayed: the same as before, or refused with what differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evo.data import PreparedDataset, prepare_dataset
from evo.data.cache import open_cached
from evo.data.given import cached_source
from evo.data.prepared import with_share
from evo.errors import ConfigurationError
from evo.names import GIVEN, is_reference
from evo.record.run import Run

COUNTS = {
    "train_count": "training examples",
    "test_count": "test examples",
    "validation_count": "validation examples",
}


def check_same_data(run: Run, dataset: str | None, data: Any) -> None:
    """Check what a command on a run was given as its data, before anything is read or called.

    Raises:
        ConfigurationError: The function that returns the data is not named again, or something else is given.
    """
    name = (run.settings.dataset or {}).get("name")
    if is_reference(name) and dataset != name:
        if data is not None:
            raise ConfigurationError(f"run {run.shown_path}: was made with --dataset {name}; give that, not data")
        given = f'got "{dataset}"' if dataset else f"it is not kept in the folder, give it again: --dataset {name}"
        raise ConfigurationError(f"run {run.shown_path}: was made with --dataset {name}; {given}")
    if dataset is not None and dataset != name:
        raise ConfigurationError(f'run {run.shown_path}: was made with --dataset {name}, got "{dataset}"; leave it out')
    if data is not None and name != GIVEN:
        raise ConfigurationError(f"run {run.shown_path}: was made with --dataset {name}; leave data out")


def data_of_run(
    run: Run, data: Any, folder: Path | None, notify: Callable[[str], None], *, download: bool
) -> PreparedDataset:
    """Return the data of a run, checked against what it has recorded.

    Data that were given by value may be left out while their copy is in the cache: its checksum tells that they are the
    same. The name of a function is taken only from who calls, never from the folder: see `check_same_data`.

    Args:
        run: Has recorded them.
        data: Those that were given again, by value.
        folder: Where to look for them.
        notify: Called with one line of progress at a time.
        download: Whether they may be downloaded.

    Raises:
        ConfigurationError: They are not there, or others are.
    """
    recorded, share = run.settings.dataset or {}, run.space.data.validation
    if recorded.get("name") == GIVEN and data is None:
        return _cached(run, recorded, share)
    prepared = prepare_dataset(
        recorded.get("name"),
        folder,
        image_size=run.space.training.image_size,
        download=download,
        notify=notify,
        data=data,
        validation=share,
        with_validation="validation_count" in recorded,  # before there was that, no part came with the data
    )
    if prepared.checksum != recorded.get("checksum"):
        by_value = recorded.get("name") == GIVEN or is_reference(recorded.get("name"))
        remedy = "Give the original data." if by_value else "Give the folder of the original data by --data-dir."
        raise ConfigurationError(
            f"{'these data' if by_value else f'the data at {prepared.source}'} are not those that the run began with "
            f"({recorded.get('source')}): {_differences(recorded, prepared)}. {remedy}"
        )
    return prepared


def _cached(run: Run, recorded: Mapping[str, Any], share: float | None) -> PreparedDataset:
    found = open_cached(cached_source(recorded))
    if found is None or found.checksum != recorded.get("checksum"):
        raise ConfigurationError(
            f"run {run.shown_path}: was made with data that were given in Python, and evo's cache has no copy of them "
            f"any more; give them again: {run.command('resume', data=...)}"
        )
    return with_share(found, share)


def _differences(recorded: Mapping[str, Any], prepared: PreparedDataset) -> str:
    """Return in words what differs, beginning with what a person can see."""
    found = prepared.to_dict()
    lines = [
        f"{found[name]:,} {noun}, not {recorded[name]:,}"
        for name, noun in COUNTS.items()
        if isinstance(recorded.get(name), int) and found[name] != recorded[name]
    ]
    if found["image_shape"] != recorded.get("image_shape"):
        lines.append(f"examples of shape {found['image_shape']}, not {recorded.get('image_shape')}")
    if found["classes"] != recorded.get("classes"):
        lines.append(f"other classes ({', '.join(found['classes'][:10])})")
    same = "as many of the same shape, with other values or in another order"
    return f"their checksums differ ({'; '.join(lines) or same})"
