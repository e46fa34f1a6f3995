"""The fixed settings of a search space file: the sections [training] and [search], and how mistakes are worded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from evo.errors import ConfigurationError, did_you_mean, listed
from evo.individual import MEASURES
from evo.names import CURVE_HOOKS, PREFIX_EXACT, CurveHook

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

DATASETS: tuple[str, ...] = ("cifar10", "digits", "imagefolder")
"""The datasets by the name that a space file and `--dataset` give."""

PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PositiveCount = Annotated[int, Field(ge=1)]


class TrainingSettings(BaseModel):
    """What every training of a space shares.

    Attributes:
        preprocess: "standardise" (per channel, by the training part) or the report's "subtract_mean_image".
        optimiser: "adam" with torch's defaults, or plain "sgd".
        evaluate_every: Steps between two points of the learning curve; also the grid of a `steps` gene.
        learning_rate: Used where no gene of that name is active; so for the other three.
        batch_size: Images a step.
        steps: Optimiser steps.
        weight_decay: Decoupled (AdamW) for adam.
        image_size: Side in pixels that the images of an image folder are resized to.
        training_mode: Also measure as the 2019 report did, without leaving training mode: the last minibatch, and the
            held-out part "whole", as one batch, or in "batches" of the batch size.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    preprocess: Literal["standardise", "subtract_mean_image"] = "standardise"
    optimiser: Literal["adam", "sgd"] = "adam"
    evaluate_every: PositiveCount = 100
    learning_rate: PositiveNumber | None = None
    batch_size: PositiveCount | None = None
    steps: PositiveCount | None = None
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    image_size: PositiveCount = 32
    training_mode: Literal["whole", "batches"] | None = None
    schedule: ClassVar[str] = "constant"

    @property
    def curve_hooks(self) -> list[CurveHook]:
        """What else is measured at each point of a learning curve."""
        return [hook for key, hook in CURVE_HOOKS.items() if getattr(self, key) is not None]

    @property
    def prefix_exact(self) -> bool:
        """Whether a shorter training is a prefix of a longer one, to the last bit of every point of the curve.

        It is not where the learning rate depends on the number of steps, or a hook measures more at the last points.
        """
        return self.schedule in PREFIX_EXACT and not self.curve_hooks


class SearchDefaults(BaseModel):
    """What `evo search` does with the space unless told otherwise.

    Attributes:
        strategy: The algorithm.
        population: Individuals of a generation.
        generations: Most generations.
        budget: Most trainings.
        finalists: Genomes that are trained again after the search; 0 for none.
        pending: Of strategies that propose one individual at a time: proposals whose results are not awaited.
        objectives: Of `pareto`: "maximise" or "minimise" by what is measured.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    strategy: (
        Literal[
            "surrogate",
            "halving",
            "ga",
            "ageing",
            "pareto",
            "cma",
            "random",
            "report2019",
            "report2019-fixed",
        ]
        | None
    ) = None
    population: PositiveCount | None = None
    generations: PositiveCount | None = None
    budget: PositiveCount | None = None
    finalists: Annotated[int, Field(ge=0)] | None = None
    pending: PositiveCount | None = None
    objectives: dict[str, Literal["maximise", "minimise"]] | None = None

    @field_validator("objectives")
    @classmethod
    def are_measured(cls, objectives: dict[str, str] | None, info: ValidationInfo) -> dict[str, str] | None:
        if objectives is None:
            return None
        strategy = info.data.get("strategy")
        if strategy not in (None, "pareto"):
            raise ValueError(f'are of strategy "pareto" alone, and strategy is "{strategy}"; leave one of them out')
        check_objectives(objectives)
        return objectives


def read_settings(
    training: TrainingSettings | Mapping[str, Any] | None, search: SearchDefaults | Mapping[str, Any] | None
) -> tuple[TrainingSettings, SearchDefaults]:
    """Return the two sections as models.

    Raises:
        ConfigurationError: Unknown keys or wrong values; every problem is named.
    """
    problems: list[str] = []
    if isinstance(training, Mapping):
        problems += section_problems(TrainingSettings, training, "training")
    if isinstance(search, Mapping):
        problems += section_problems(SearchDefaults, search, "search")
    if problems:
        raise ConfigurationError(listed(problems, "search space: wrong settings"))
    return (
        training if isinstance(training, TrainingSettings) else TrainingSettings(**(training or {})),
        search if isinstance(search, SearchDefaults) else SearchDefaults(**(search or {})),
    )


def section_problems(model: type[BaseModel], values: Any, path: str) -> list[str]:
    """Return what is wrong with one table of a file, each problem with its key path."""
    try:
        model.model_validate(values)
    except ValidationError as error:
        return reworded(error, path, model.model_fields)
    return []


def reworded(error: ValidationError, path: str, fields: Iterable[str]) -> list[str]:
    """Return pydantic's errors as lines of ours: key path, rule, value."""
    # A list whose items are wrong is also reported as empty; only the items are news.
    details = [detail for detail in error.errors() if detail["type"] != "too_short" or not detail["input"]]
    # A value that fits neither a scalar nor a list is news once.
    details = [detail for detail in details if detail["type"] != "list_type" or "[" not in str(detail["loc"][-1])]
    return list(dict.fromkeys(_line(detail, path, fields) for detail in details))


def _line(detail: ErrorDetails, path: str, fields: Iterable[str]) -> str:
    loc = [part for part in detail["loc"] if not isinstance(part, str) or "[" not in part]
    scalar = len(loc) > 2 and loc[-1] in ("bool", "int", "float", "str")
    if loc and isinstance(loc[0], int) and loc[0] < len(list(fields)):
        loc[0] = list(fields)[loc[0]]  # an argument that was given by its place
    where = ".".join([path, *map(str, loc[:-1] if scalar else loc)])
    kind, message = detail["type"], detail["msg"].removeprefix("Value error, ").removeprefix("objectives: ")
    if scalar:
        return f"{where}: must be a text, a finite number, true or false, got {detail['input']!r}"
    if kind == "model_type":
        return f"{where}: must be a table, got {detail['input']!r}"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{where}: unknown key.{did_you_mean(str(detail['loc'][-1]), fields)}"
    if kind in ("missing", "missing_argument"):
        return f"{where}: missing"
    if kind == "too_short":
        return f"{where}: must not be empty"
    if kind == "value_error":
        return f"{where}: {message}"
    if kind == "literal_error":
        expected = str(detail["ctx"]["expected"])
        known = [name.strip(" '") for name in expected.replace(" or ", ",").split(",")]
        hint = did_you_mean(str(detail["input"]), known)
        return f"{where}: must be {expected}, got {detail['input']!r}.{hint}"
    return f"{where}: {message[0].lower()}{message[1:]}, got {detail['input']!r}"


FITNESS = "fitness"
SIGNS = {"maximise": 1.0, "minimise": -1.0}


def check_objectives(objectives: Mapping[str, str]) -> None:
    """Check the objectives of a search.

    Raises:
        ConfigurationError: Fewer than two, or something that no evaluation measures.
    """
    known = (FITNESS, *MEASURES)
    for name, direction in objectives.items():
        if name not in known:
            raise ConfigurationError(
                f'objectives: "{name}" is not measured.{did_you_mean(name, known)} Known: {", ".join(known)}'
            )
        if direction not in SIGNS:
            raise ConfigurationError(f'objectives.{name}: must be "maximise" or "minimise", got "{direction}"')
    if FITNESS not in objectives or len(objectives) < 2:
        raise ConfigurationError(
            f"objectives: must be fitness and at least one of {', '.join(MEASURES)}, got {', '.join(objectives)}"
        )
