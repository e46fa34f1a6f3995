"""The settings of a run: everything that was asked for, resolved, as written to settings.json."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from evo.errors import RunError
from evo.files import write_json
from evo.individual import Genome, genome_from_json

PACKAGES = ("torch", "torchvision", "numpy", "deap", "pandas", "pillow", "scikit-learn")
FINALISTS, FINALIST_SEEDS = 3, 3


@dataclass
class Settings:
    """What a run was asked to do and with what.

    Attributes:
        space: The search space, as the values of a space file.
        space_name: Its name.
        strategy: Name of the algorithm.
        seed: Seed of every draw of the run.
        population: Individuals of a generation, as the strategy resolved it.
        generations: Most generations; None is no bound.
        budget: Most trainings of the search; None is no bound.
        time_budget: Seconds a command may take; None is no bound.
        timeout: Seconds that an evaluation may take; None is no bound.
        finalists: Genomes that are trained again after the search.
        finalist_seeds: Trainings of each.
        fitness: "validation", or "test" to do what the 2019 report did.
        model: A shipped model's name or the reference of a model of the user's own; None with an objective.
        dataset: The prepared dataset's facts; None with an objective.
        objective: The name of the user's function; None when networks are trained.
        pending: See `evo.strategies.steady_state`; None where the strategy has no such window.
        asynchronous: Whether results are learned in the order in which they arrive.
        objectives: Of a strategy of several objectives.
        free_steps: Whether each training runs to the most steps of the space, and its best checkpoint counts.
        seeds: Trainings of each configuration, where configurations are listed and not searched for.
        keep_weights: Whether the weights of those stay in the folder.
        retrainable: Whether an evaluation takes a seed, so that finalists can be evaluated again.
        initial: Known genomes that entered the first population.
        device: Where trainings run.
        device_name: The processor's or the GPU's name.
        precision: "fp32" or "bf16".
        engine: "eager" or "onednn".
        threads: Threads of one training on a CPU.
        workers: Of the last command; any other number gives the same results.
        versions: Of Python and of the packages that results depend on, when the run began.
    """

    space: dict[str, Any]
    space_name: str
    strategy: str
    seed: int
    population: int
    generations: int | None
    budget: int | None
    time_budget: float | None
    finalists: int
    timeout: float | None = None
    fitness: Literal["validation", "test"] = "validation"
    finalist_seeds: int = FINALIST_SEEDS
    model: str | None = None
    dataset: dict[str, Any] | None = None
    objective: str | None = None
    pending: int | None = None
    asynchronous: bool = False
    objectives: dict[str, str] | None = None
    free_steps: bool = False
    seeds: int = 1
    keep_weights: bool = False
    retrainable: bool = True
    initial: list[Genome] = field(default_factory=list)
    device: str = ""
    device_name: str = ""
    precision: str = ""
    engine: str = "eager"
    threads: int | None = None
    workers: int = 1
    versions: dict[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write settings.json."""
        write_json(folder / "settings.json", {"format": 1, **asdict(self)})

    @classmethod
    def load(cls, folder: Path) -> Settings:
        """Read settings.json.

        Raises:
            RunError: It is missing or not what `save` wrote.
        """
        path = folder / "settings.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            found = values.pop("format")
            if found != 1:
                raise RunError(f"{path}: has format {found}, this version of evo reads format 1; update evo")
            known = {entry.name for entry in fields(cls)}
            settings = cls(**{name: value for name, value in values.items() if name in known})
            settings.initial = [genome_from_json(genome) for genome in settings.initial]
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RunError(f"{path}: is not the settings of a run: {type(error).__name__}: {error}") from None
        return settings


def current_versions() -> dict[str, str]:
    """Return the versions of Python, evo and the packages that results depend on, without importing them."""
    from evo import __version__

    versions = {"python": platform.python_version(), "evo": __version__}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return versions
