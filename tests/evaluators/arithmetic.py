"""A setup without networks, for evaluators: it does what a task's configuration says, also to its own process."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evo.errors import ConfigurationError
from evo.evaluation import Evaluation
from evo.evaluators.base import Evaluate, Setup, StopRequest, Task, one_by_one


@dataclass(frozen=True)
class Arithmetic(Setup):
    """Squares `x`.

    `sleep` waits for so many seconds first; `die_until` ends the process by SIGKILL until a file has so many bytes, one
    a death.
    """

    folder: Path
    broken: str = ""

    def build(self, stop: StopRequest) -> tuple[Evaluate, dict[str, Any]]:
        if self.broken == "configuration":
            raise ConfigurationError("--device: there is none")
        if self.broken == "bug":
            raise RuntimeError("surprise")
        if self.broken == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        return one_by_one(self.evaluate), {"device": "cpu", "precision": "fp32", "engine": "eager", "threads": 1}

    def evaluate(self, task: Task) -> Evaluation:
        config: dict[str, Any] = dict(task.config)
        self.die_until(int(config.get("deaths", 0)))
        time.sleep(float(config.get("sleep", 0)))
        fitness = float(config["x"]) ** 2
        return Evaluation(task.individual, task.replicate, task.seed, "complete", fitness, phase=task.phase)

    def die_until(self, deaths: int) -> None:
        died = self.folder / "died"
        with died.open("ab") as file:
            if file.tell() < deaths:
                file.write(b"x")
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
