"""The section [search] of a space file, and how the sections of a file are read: mistakes in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo
from pydantic_core import ErrorDetails

from evo import names
from evo.errors import ConfigurationError, did_you_mean
from evo.evaluation import MEASURES, check_measure

Section = TypeVar("Section", bound=BaseModel)

PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PositiveCount = Annotated[int, Field(ge=1)]


def one_of(known: Sequence[str]) -> AfterValidator:
    """Return a validator that accepts only these names."""

    def check(name: str, info: ValidationInfo) -> str:
        return names.check_name(str(info.field_name), name, known)

    return AfterValidator(check)


def _checked_objectives(objectives: dict[str, str], info: ValidationInfo) -> dict[str, str]:
    strategy = info.data.get("strategy")
    if strategy not in (None, "pareto"):
        raise ValueError(f'only the strategy "pareto" takes them, and strategy is "{strategy}"; remove one of them')
    check_objectives(objectives, recorded=info.context == RECORDED)
    return objectives


def part_and_measure(fitness: str, usual: str | None) -> tuple[str, str]:
    """Return the part that fitness is measured on, and what is measured there.

    Args:
        fitness: One of `evo.names.FITNESSES`.
        usual: The measure of the space, where `fitness` is a part.

    Raises:
        ConfigurationError: It is none of them.
    """
    names.check_name("--fitness", fitness, names.FITNESSES)
    if fitness in names.FITNESS_PARTS:
        return fitness, usual or names.FITNESS_MEASURES[0]
    return names.FITNESS_PARTS[0], fitness


class SearchDefaults(BaseModel):
    """What `evo search` does with the space unless told otherwise.

    Attributes:
        strategy: The algorithm.
        population: Individuals per generation.
        generations: Most generations.
        budget: Most trainings.
        finalists: Genomes that are trained again after the search; 0 for none.
        pending: For strategies that propose one individual at a time: proposals whose results are not awaited.
        objectives: For `pareto`: "maximise" or "minimise" by the name of the measure.
        fitness: What is measured: "accuracy" (also where it is not given), "balanced_accuracy" or "loss".
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    strategy: Annotated[str, one_of(names.STRATEGIES)] | None = None
    population: PositiveCount | None = None
    generations: PositiveCount | None = None
    budget: PositiveCount | None = None
    finalists: Annotated[int, Field(ge=0)] | None = None
    pending: PositiveCount | None = None
    objectives: Annotated[dict[str, str], AfterValidator(_checked_objectives)] | None = None
    fitness: Annotated[str, one_of(names.FITNESS_MEASURES)] | None = None


class DataSettings(BaseModel):
    """The section [data]: how the data of a search are divided.

    Attributes:
        validation: The validation part is this share of each class of the training images. None: the part that came
            with the data, or a tenth of all.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    validation: Annotated[float, Field(gt=0, lt=1)] | None = None


RECORDED = "recorded"
"""The validation context of settings that a run has kept: they may be what evo has accepted at that time."""


def read_section(
    section: type[Section], values: Any, path: str, *, recorded: bool = False
) -> tuple[Section, list[str]]:
    """Return a section of a space file, and what is wrong with it; what is wrong has its default instead.

    Args:
        section: `TrainingSettings` or `SearchDefaults`.
        values: A mapping, or a section that has been read already.
        path: The section's name, for messages.
        recorded: Whether a run has kept it, perhaps of an older version.
    """
    context = RECORDED if recorded else None
    given = dict(values) if isinstance(values, Mapping) else values
    try:
        return section.model_validate(given, context=context), []
    except ValidationError as error:
        problems = reworded(error, path, list(section.model_fields))
        wrong = {detail["loc"][0] for detail in error.errors() if detail["loc"]}
    rest = {key: value for key, value in given.items() if key not in wrong} if isinstance(given, dict) else {}
    return section.model_validate(rest, context=context), problems


def reworded(error: ValidationError, path: str, fields: Sequence[str]) -> list[str]:
    """Return pydantic's errors as lines that name the key path, the rule and the value."""
    # pydantic also calls a list empty if all of its items are wrong.
    details = [detail for detail in error.errors() if detail["type"] != "too_short" or not detail["input"]]
    return [_line(detail, path, fields) for detail in details]


def _line(detail: ErrorDetails, path: str, fields: Sequence[str]) -> str:
    keys = list(detail["loc"])
    if keys and isinstance(keys[0], int) and keys[0] < len(fields):
        keys[0] = fields[keys[0]]  # a positional argument
    where = ".".join([path, *map(str, keys)])
    kind, message = detail["type"], detail["msg"]
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, ConfigurationError):  # its text begins with the key
        return f"{path}.{cause}"
    if cause is not None:
        return f"{where}: {cause}"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{where}: unknown key.{did_you_mean(str(keys[-1]), fields)}"
    if kind in ("missing", "missing_argument"):
        return f"{where}: missing"
    if kind == "too_short":
        return f"{where}: must not be empty"
    rule = "must be a table" if kind == "model_type" else message.replace("Input should", "must", 1)
    return f"{where}: {rule[0].lower()}{rule[1:]}, got {detail['input']!r}"


FITNESS, SECONDS = "fitness", "seconds"
SIGNS = {"maximise": 1.0, "minimise": -1.0}


def check_objectives(objectives: Mapping[str, str], *, recorded: bool = False, own: bool = False) -> None:
    """Check the objectives of a search.

    Args:
        objectives: "maximise" or "minimise" by name.
        recorded: Whether a run has kept them: older versions let fitness be minimised.
        own: Whether a user's function or loop measures them, under any names.

    Raises:
        ConfigurationError: Fewer than two, something that no evaluation measures, or fitness minimised; of a user's
            function: none, no name of a measure, or fitness behind others.
    """
    known = (FITNESS, *MEASURES)
    if not isinstance(objectives, Mapping):
        raise ConfigurationError(f'objectives: must be "maximise" or "minimise" by name, got {objectives!r}')
    for name, direction in objectives.items():
        if own:
            _check_own_name(name)
        elif name not in known:
            raise ConfigurationError(
                f'objectives: "{name}" is not measured.{did_you_mean(name, known)} Known: {", ".join(known)}'
            )
        if not isinstance(direction, str) or direction not in SIGNS:
            raise ConfigurationError(f'objectives.{name}: must be "maximise" or "minimise", got "{direction}"')
    if own:
        _check_own(objectives, recorded=recorded)
        return
    if FITNESS not in objectives or len(objectives) < 2:
        raise ConfigurationError(
            f"objectives: must be fitness and at least one of {', '.join(MEASURES)}, got {', '.join(objectives)}"
        )
    if objectives[FITNESS] != "maximise" and not recorded:
        raise ConfigurationError(
            f'objectives.{FITNESS}: must be "maximise", got "{objectives[FITNESS]}": a higher fitness is better '
            "for trainings, because it is an accuracy"
        )


def _check_own_name(name: Any) -> None:
    if name in (FITNESS, SECONDS):
        return
    try:
        check_measure(name)
    except ValueError as problem:
        raise ConfigurationError(f"objectives: {problem}") from None


def _check_own(objectives: Mapping[str, str], *, recorded: bool) -> None:
    names = list(objectives)
    if not names:
        raise ConfigurationError('objectives: must name what is measured, as in {"loss": "minimise"}, got none')
    if FITNESS in names[1:] and not recorded:
        raise ConfigurationError(
            f"objectives: {FITNESS} must be the first, because the best of a run is the best by the first objective, "
            f"got {', '.join(names)}"
        )
