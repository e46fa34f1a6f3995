"""What the answers of a cluster's workers mean: who takes part, what is agreed, what a person should know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from evo.errors import ConfigurationError, listed
from evo.evaluators.dask.worker import DECIDED, Answer


def agreed_facts(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return the facts of a search, of which all its workers have the same device, precision and engine.

    Args:
        answers: Of the workers that can take part; one at least.

    Raises:
        ConfigurationError: They have not: who answers first must not decide what results are.
    """
    choices: dict[tuple[str, ...], list[Answer]] = {}
    for answer in sorted(answers, key=lambda answer: answer.name):
        choices.setdefault(tuple(str(answer.facts.get(name)) for name in DECIDED), []).append(answer)
    if len(choices) > 1:
        said = [f"{', '.join(choice)}: {len(who)} ({who[0].name}, …)" for choice, who in choices.items()]
        raise ConfigurationError(
            listed(said, "the workers would compute in different ways, which one table must not mix:")
            + "\nsay which by --device, --precision and --engine"
        )
    [[first, *_]] = choices.values()
    return first.facts


def refusal(answer: Answer) -> str:
    """Return why a worker takes no part."""
    return f"{answer.name} on {answer.host}: {answer.problem}" if answer.name else answer.problem


def notes(answers: Sequence[Answer], *, has_folder: bool) -> Iterator[str]:
    """Yield what is worth knowing of the workers that take part.

    Args:
        answers: Theirs.
        has_folder: Whether they were asked if they see the run folder.
    """
    for answer in answers:
        if has_folder and not answer.sees_folder:
            yield (
                f"note: workers on {answer.host} do not see the run folder, or cannot write it: what is in flight "
                "there when the search stops is trained from its beginning by a resume"
            )
    names = {str(answer.facts["device_name"]) for answer in answers if answer.facts.get("device_name")}
    if len(names) > 1:
        yield (
            f"note: the workers' processors differ ({', '.join(sorted(names))}): "
            "the last digits of a result depend on which one computed it"
        )
