"""The state of a training in one safetensors file: all that it needs to continue as if it had never stopped."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evo.evaluation import CurvePoint
from evo.files import STATES_BYTES
from evo.training.jobs import Job
from evo.training.model_state import Recall, restore_tensors, tensors_of
from evo.training.optimiser import Optimiser
from evo.training.tensor_file import DamagedFileError, read_tensors, write_tensors

FORMAT = "4"
MODEL = "model."
KEEP_EVERY_SECONDS = 60.0
"""Most of a training that a kill costs."""
WORTH_BYTES = 5e6
"""A state of so many bytes is kept for each second that its training took: writing it takes about 2 % of that."""


@dataclass
class TrainingState:
    """Where a training stands.

    Attributes:
        model: The network, on its device.
        optimiser: Its optimiser.
        sums: Loss and right answers since the last point of the curve, float64, (2,).
        step: Optimiser steps done.
        since: Steps since the last point of the curve.
        curve: The points so far.
        seconds: Time that earlier parts of the training took.
    """

    model: nn.Module
    optimiser: Optimiser
    sums: torch.Tensor
    step: int = 0
    since: int = 0
    curve: list[CurvePoint] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def bytes(self) -> int:
        """Approximate size of a file of the state."""
        return sum(tensor.nbytes for _, tensor in self._tensors())

    def save(self, path: Path, identity: str, seconds: float, recall: Recall, *, durable: bool = True) -> None:
        """Write the state atomically.

        Args:
            path: The file.
            identity: Names the training; `restore` refuses the state of another.
            seconds: Time to count for the training so far.
            recall: What the network gives now.
            durable: Whether the file must survive a crash of the machine.

        Raises:
            StorageError: It cannot be written.
        """
        curve = [point.to_dict() for point in self.curve]
        values = {"step": self.step, "since": self.since, "seconds": seconds, "curve": curve}
        values["recall"] = recall.to_dict()
        facts = {"format": FORMAT, "identity": identity, "state": json.dumps(values)}
        write_tensors(path, dict(self._tensors()), facts, durable=durable)

    def restore(self, path: Path, identity: str, *, below: int) -> Recall | None:
        """Read the state of a file.

        Args:
            path: The file.
            identity: As `save` wrote it.
            below: A state of so many steps or more is not used.

        Returns:
            What the network gave when it was saved. None, and nothing has changed, if the file is missing, damaged,
            another training's, or of too many steps.
        """
        try:
            tensors, facts = read_tensors(path)
            if facts.get("format") != FORMAT or facts.get("identity") != identity:
                return None
            values = json.loads(facts["state"])
            if not values["step"] < below:
                return None
            recall = Recall.from_dict(values["recall"])
            self._take(tensors, values)
        except (DamagedFileError, ValueError, KeyError, TypeError, RuntimeError):
            return None
        return recall

    def _tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, value in tensors_of(self.model).items():
            yield f"{MODEL}{name}", value
        for name, tensor in self.optimiser.state():
            yield f"optimiser.{name}", tensor
        yield "sums", self.sums
        yield "generator", torch.get_rng_state()
        if self.sums.is_cuda:
            yield "generator.cuda", torch.cuda.get_rng_state(self.sums.device)

    def _take(self, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> None:
        ours = {name: tensor.shape for name, tensor in self._tensors() if not name.startswith(MODEL)}
        theirs = {name: tensor.shape for name, tensor in tensors.items() if not name.startswith(MODEL)}
        if ours != theirs:
            raise ValueError("the state of another training")
        curve = [CurvePoint.from_dict(point) for point in values["curve"]]
        step, since, seconds = int(values["step"]), int(values["since"]), float(values["seconds"])
        restore_tensors(
            self.model, {name.removeprefix(MODEL): value for name, value in tensors.items() if name.startswith(MODEL)}
        )
        for name, tensor in self.optimiser.state():
            tensor.copy_(tensors[f"optimiser.{name}"])
        self.sums.copy_(tensors["sums"])
        torch.set_rng_state(tensors["generator"])
        if self.sums.is_cuda:
            torch.cuda.set_rng_state(tensors["generator.cuda"], self.sums.device)
        self.step, self.since, self.seconds, self.curve = step, since, seconds, curve


class Keeper:
    """Saves the state of a training when it is asked to stop, now and then, and at the end.

    Args:
        job: Has the files.
        identity: See `TrainingState.save`.
        recall: Returns what a network gives now. A network that was restored must give what it gave when it was saved.
    """

    def __init__(self, job: Job, identity: str, recall: Callable[[nn.Module], Recall]):
        self._job, self._identity, self._recall = job, identity, recall
        self._began = self._kept = time.monotonic()
        self.before = 0.0

    @property
    def seconds(self) -> float:
        """Time that the training took until now, its earlier parts included."""
        return self.before + time.monotonic() - self._began

    def restore(self, state: TrainingState, *, below: int) -> None:
        """Continue from the saved state of this training, or else from that of a shorter one, if there is one.

        Raises:
            RecallError: The restored network is not the one that was saved: it holds something that no file keeps.
        """
        for path in (self._job.checkpoint, self._job.last_state):
            if path is None or (saved := state.restore(path, self._identity, below=below)) is None:
                continue
            saved.check(self._recall(state.model), f"its state after {state.step} steps")
            self.before = state.seconds
            return

    def keep(self, state: TrainingState, *, now: bool) -> None:
        """Save the state if it is time to, or if the training is about to stop."""
        path = self._job.checkpoint
        if path is not None and (now or time.monotonic() - self._kept > KEEP_EVERY_SECONDS):
            with contextlib.suppress(Exception):  # a full disk must not end a training that could continue
                state.save(path, self._identity, self.seconds, self._recall(state.model))
            self._kept = time.monotonic()

    def keep_last(self, state: TrainingState) -> None:
        """Save the state at the end, unless training again costs little compared with the file."""
        path = self._job.last_state
        if path is None or state.bytes > STATES_BYTES or self.seconds < 1.0 + state.bytes / WORTH_BYTES:
            return
        with contextlib.suppress(Exception):  # it saves time, and no result depends on it
            state.save(path, self._identity, 0.0, self._recall(state.model), durable=False)
