"""How trainings compute: the engines by name. Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from evo.names import load
from evo.training.jobs import Job, TrainingResult

if TYPE_CHECKING:
    from torch import nn

    from evo.training.progress import Training

Report: TypeAlias = "Callable[[Sequence[Training]], None]"
"""Called before every step with the trainings that it belongs to; raises `Interrupted` to stop them."""


class Engine(Protocol):
    """Does the steps of trainings; made with their `Trainer`."""

    def prepare(self, model: nn.Module) -> None:
        """Change a network that was just built so that the engine can compute it; its weights keep their names."""

    def train(self, jobs: Sequence[Job], report: Report) -> Iterator[TrainingResult]:
        """Train the jobs; yield their results in the same order."""


@dataclass(frozen=True)
class Entry:
    """What is known of an engine before it is loaded.

    Attributes:
        reference: Its class, "module:name".
        problem: From device and precision to the reason why it cannot be had there; "" where it can.
        batch: From a task and those that wait to the tasks that are trained together, the first included.
    """

    reference: str
    problem: Callable[[str, str], str] = lambda device, precision: ""
    batch: Callable[[Any, Sequence[Any]], list[Any]] = lambda first, waiting: [first]


def _problem_of_onednn(device: str, precision: str) -> str:
    if device != "cpu":
        return f"computes only on a CPU, this is {device}; give --device cpu, or --engine auto"
    usable = precision == "bf16" or load("evo.training.engines.onednn:usable")()
    return "" if usable else "this build of torch has no oneDNN product; give --engine eager"


ENGINES = {
    "eager": Entry("evo.training.engines.eager:EagerEngine"),
    "onednn": Entry("evo.training.engines.onednn:OneDnnEngine", _problem_of_onednn),
}
