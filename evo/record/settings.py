"""The settings of a run: everything that was asked for, resolved, as written to settings.json."""

from __future__ import annotations

import hashlib
import json
import math
import numbers
import platform
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from evo.errors import ConfigurationError, RunError, listed
from evo.files import write_json
from evo.individual import Genome, genome_from_json
from evo.names import DIRECTIONS, FITNESS_MEASURES, FITNESS_PARTS, LOSS, PRUNERS
from evo.plain_text import first_not_plain, made_plain, read_json
from evo.space.settings import FITNESS, SIGNS, one_of, reworded

PACKAGES = ("torch", "torchvision", "numpy", "deap", "pandas", "pillow", "scikit-learn")
FINALISTS, FINALIST_SEEDS = 3, 3
TRAIN_IMAGES = 5000
"""Training images that are measured after a training of a search: all of them cost a third of an epoch."""

Count = Annotated[int, Field(ge=0, lt=2**31)]
Bound = Annotated[int, Field(ge=1, lt=2**53)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Threads = Annotated[int, Field(ge=1, le=4096)]
LARGEST_SEED = 2**64 - 1
LISTED = "listed"
"""The strategy of a run that searches nothing: its configurations were listed when it began."""
CHANGED_BY_RESUME = (
    *(
        "budget",
        "generations",
        "time_budget",
        "timeout",
        "finalists",
        "finalists_by_cost",
        "closed",
        "seeds",
        "retries",
    ),
    *("device", "device_name", "precision", "engine", "threads", "workers", "dask", "versions"),
)
"""What a command that resumes a run may change; the rest stays what the run began with."""
_DATASET_TEXTS = ("name", "variant", "checksum", "source")
_DATASET_NUMBERS = {"image_shape": list, "classes": list, "train_count": int, "test_count": int}
_DATASET_SINCE = {"validation_count": int, "validation_share": float}
"""What older runs lack."""


def _check_dataset(dataset: dict[str, Any] | None) -> dict[str, Any] | None:
    """Check the facts of a dataset that other modules rely on; see `evo.data.PreparedDataset`."""
    if dataset is None:
        return None
    wrong = [name for name in _DATASET_TEXTS if not isinstance(dataset.get(name, ""), str)]
    wrong += [name for name, kind in _DATASET_NUMBERS.items() if not isinstance(dataset.get(name), kind)]
    wrong += [name for name, kind in _DATASET_SINCE.items() if not isinstance(dataset.get(name), kind | None)]
    if wrong or not all(isinstance(size, int) and 0 < size < 2**20 for size in dataset["image_shape"]):
        raise ValueError(f"the facts of a dataset are not what evo writes: {', '.join(wrong) or 'image_shape'}")
    return dataset


@dataclass
class Settings:
    """What a run was asked to do and with what.

    A run may be older than a field. Its settings.json then lacks the field, which has its default here: so the default
    of a new field must be what evo did before there was that field.

    Attributes:
        space: The search space, as the values of a space file.
        space_name: Its name.
        strategy: Name of the algorithm.
        seed: Seed of every draw of the run.
        population: Individuals of a generation, as the strategy resolved it.
        generations: Most generations; None for no bound.
        budget: Most trainings of the search; None for no bound.
        time_budget: Seconds a command may take; None for no bound.
        timeout: Seconds that an evaluation may take; None for no bound.
        finalists: Genomes that are trained again after the search.
        finalist_seeds: Trainings of each.
        finalists_by_cost: Whether there are fewer finalists, on fewer seeds, where all would cost more than the search:
            so unless a number was given by hand.
        distinct_finalists: Whether genomes that differ only in how long they train are one finalist.
        closed: Whether the search ends with the first `budget` of the proposals there are: a resume has lowered the
            bound below them.
        fitness: "validation", or "test" to do what the 2019 report did.
        measure: What fitness is, of those that are measured on that part: see `evo.evaluation.fitness_from`.
        model: A shipped model's name or the reference of a user-defined model; None with an objective.
        dataset: The prepared dataset's facts; None with an objective.
        objective: The name of the user's function; None when networks are trained.
        direction: Whether a higher or a lower fitness is better: where there are objectives, that of the first.
        max_steps: The steps of a full training of an objective that reports; None for one that does not, and where
            networks are trained.
        pruner: What ends trainings early that fall behind others; None for nothing.
        pending: See `evo.strategies.steady_state`; None where the strategy has no such window.
        asynchronous: Whether results are learned in the order in which they arrive.
        objectives: "maximise" or "minimise" by what is measured: of a strategy of several objectives, and of a
            function whose measures are its goals.
        continuations: Whether a strategy continues paused trainings of an individual; older runs propose an individual
            with more steps instead.
        learns_failures: Whether the strategy learns where configurations are allowed; older runs do not.
        weighs_cost: Whether the strategy weighs what a training costs, by counted work: of searches bound by time.
        free_steps: Whether each training runs to the most steps of the space, and its best checkpoint counts.
        seeds: Trainings of each configuration, where configurations are listed and not searched for.
        keep_weights: Whether the weights of those stay in the folder.
        retries: How often failed evaluations were tried again.
        retrainable: Whether an evaluation takes a seed, so that finalists can be evaluated again.
        train_images: Of the training part, so many images are measured after a training of the search; None for all.
        initial: Known genomes that entered the first population.
        earlier: Results of a table that the search began with, worst first: genome, fitness, other measures. They are
            its first individuals.
        device: Where trainings run.
        device_name: The processor's or the GPU's name.
        precision: "fp32" or "bf16".
        engine: "eager" or "onednn".
        threads: Threads of one training on a CPU, or of an objective in a process that evo has started.
        workers: Of the last command; any other number gives the same results.
        dask: The cluster of the last command; None for this machine only.
        versions: Of Python and of the packages that results depend on, when the run began.
        absent: The fields that the settings.json of an older run lacks; no resume adds them.
    """

    space: dict[str, Any]
    space_name: str
    strategy: str
    seed: Annotated[int, Field(ge=0)]
    population: Count
    generations: Bound | None
    budget: Bound | None
    time_budget: Seconds | None
    finalists: Count
    timeout: Seconds | None = None
    fitness: Annotated[str, one_of(FITNESS_PARTS)] = "validation"
    measure: Annotated[str, one_of(FITNESS_MEASURES)] = "accuracy"
    finalist_seeds: Count = FINALIST_SEEDS
    finalists_by_cost: bool = False
    distinct_finalists: bool = False
    closed: bool = False
    model: str | None = None
    dataset: Annotated[dict[str, Any] | None, AfterValidator(_check_dataset)] = None
    objective: str | None = None
    direction: Annotated[str, one_of(DIRECTIONS)] = "maximise"
    max_steps: Bound | None = None
    pruner: Annotated[str, one_of(PRUNERS)] | None = None
    pending: Bound | None = None
    asynchronous: bool = False
    objectives: dict[str, str] | None = None
    continuations: bool = False
    learns_failures: bool = False
    weighs_cost: bool = False
    free_steps: bool = False
    seeds: Count = 1
    keep_weights: bool = False
    retries: Count = 0
    retrainable: bool = True
    train_images: Bound | None = None
    initial: list[Genome] = field(default_factory=list)
    earlier: list[dict[str, Any]] = field(default_factory=list)
    device: str = ""
    device_name: str = ""
    precision: str = ""
    engine: str = "eager"
    threads: Threads | None = None
    workers: Count = 1
    dask: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    absent: frozenset[str] = field(default=frozenset(), repr=False, compare=False)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field to a value that settings.json can hold, so that whatever is saved can be loaded.

        Raises:
            ConfigurationError: It cannot.
        """
        object.__setattr__(self, name, value if name == "absent" else _writable(type(self), name, value))

    @property
    def can_pause(self) -> bool:
        """Whether a training that is stopped saves its state: networks do, and objectives that report."""
        return self.objective is None or self.max_steps is not None

    @property
    def sign(self) -> float:
        """1 where a higher fitness is better, -1 where a lower one is."""
        return SIGNS[self.direction]

    @property
    def goal(self) -> str:
        """What fitness is: itself, or the first objective where fitness is none of them."""
        return FITNESS if FITNESS in (self.objectives or {FITNESS}) else next(iter(self.objectives or {}))

    @property
    def digest(self) -> str:
        """Equal for runs that were asked for the same: of what is written, no paths and nothing a resume changes."""
        values = {name: value for name, value in self._written().items() if name not in CHANGED_BY_RESUME}
        values["dataset"] = (self.dataset or {}).get("checksum")
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def fitness_name(self) -> str:
        """What people call the fitness: "validation accuracy", say."""
        if self.objective is not None:
            return "fitness"
        return f"{self.fitness} {self.measure.replace('_', ' ')}"

    @property
    def fitness_bounds(self) -> tuple[float, float]:
        """What the fitness can be: accuracies are fractions, an objective gives any number."""
        if self.objective is not None:
            return -math.inf, math.inf
        return (0.0, math.inf) if self.measure == LOSS else (0.0, 1.0)

    def began_as(self, digest: str) -> bool:
        """Return whether these may be the settings of a run that began with that digest.

        evo 0.1.0 wrote rows that were added to a run of Table 1, which has six, into its settings, behind the first.
        """
        counts = range(1, min(len(self.initial), 6)) if self.strategy == LISTED else ()
        earlier = (replace(self, initial=self.initial[:count], population=count) for count in counts)
        return any(settings.digest == digest for settings in (self, *earlier))

    def save(self, folder: Path) -> None:
        """Write settings.json."""
        write_json(folder / "settings.json", {"format": 1, **self._written()})

    def _written(self) -> dict[str, Any]:
        """Return what settings.json holds beside its format."""
        return {name: value for name, value in asdict(self).items() if name not in ("absent", *self.absent)}

    @classmethod
    def load(cls, folder: Path) -> Settings:
        """Read settings.json.

        Raises:
            RunError: It is missing or not what `save` wrote.
        """
        path = folder / "settings.json"
        try:
            content = path.read_bytes()
            values = read_json(content)
            found = values["format"]
            if found != 1:
                raise RunError(f"{path}: has format {found}, this version of evo reads format 1; update evo")
            known = {entry.name for entry in fields(cls)} - {"absent"}
            if unknown := sorted(values.keys() - known - {"format"}):
                raise RunError(f"{path}: has {', '.join(unknown)}, which this version of evo does not know; update evo")
            settings = TypeAdapter(cls).validate_json(content, strict=True)
            settings.initial = [genome_from_json(genome) for genome in values.get("initial", [])]
            settings.earlier = [
                {**result, "genome": genome_from_json(result["genome"])} for result in values.get("earlier", [])
            ]
            settings.absent = frozenset(known - values.keys() - {*CHANGED_BY_RESUME})
        except ValidationError as error:
            wrong = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r:.80}" for e in error.errors()]
            raise RunError(listed(wrong, f"{path}: is not the settings of a run:")) from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RunError(
                f"{path}: is not the settings of a run, or damaged ({type(error).__name__}: {error}); restore it "
                "from a copy. What the run has found is in its CSV files."
            ) from None
        return settings


@cache
def _kind_of(settings: type, name: str) -> TypeAdapter[Any]:
    return TypeAdapter(get_type_hints(settings, include_extras=True)[name])


def _writable(settings: type, name: str, value: Any) -> Any:
    """Return the value of a field, once it is sure that it can be written and read again."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool):  # NumPy's numbers, too
        value = int(value) if isinstance(value, numbers.Integral) else float(value)
    if name in ("space", "initial", "earlier", "dataset"):  # checked by what makes them, but for their texts
        checked = value
    else:
        try:
            checked = _kind_of(settings, name).validate_python(value, strict=True)
        except ValidationError as error:
            raise ConfigurationError("\n".join(reworded(error, name, ()))) from None
    if (strange := first_not_plain(checked)) is not None:
        raise ConfigurationError(f"{name}: must not contain control characters, got {made_plain(strange)!r}")
    return checked


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
