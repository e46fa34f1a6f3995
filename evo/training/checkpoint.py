"""A training that was interrupted: everything it needs to go on as if nothing had happened, in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from evo.individual import CurvePoint
from evo.training.optimiser import Optimiser
from evo.training.tensor_file import DamagedFileError, read_tensors, write_tensors

FORMAT = "3"


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
        """About what a file of the state takes."""
        tensors = [*self.model.state_dict().values(), *(tensor for _, tensor in self.optimiser.state())]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def save(self, path: Path, identity: str, seconds: float, *, durable: bool = True) -> None:
        """Write the state atomically.

        Args:
            path: The file.
            identity: Names the training; `restore` refuses the state of another.
            seconds: Time that the training took until now.
            durable: Whether the file must survive a crash of the machine.

        Raises:
            StorageError: It cannot be written.
        """
        facts = {
            "format": FORMAT,
            "identity": identity,
            "state": json.dumps(
                {
                    "step": self.step,
                    "since": self.since,
                    "seconds": seconds,
                    "curve": [point.to_dict() for point in self.curve],
                }
            ),
        }
        write_tensors(path, dict(self._tensors()), facts, durable=durable)

    def restore(self, path: Path, identity: str, *, below: int) -> bool:
        """Take up the state of a file.

        Args:
            path: The file.
            identity: As `save` wrote it.
            below: A state of so many steps or more is of no use.

        Returns:
            False, and nothing has changed, if it is not there, damaged, another's, or of too many steps.
        """
        try:
            tensors, facts = read_tensors(path)
            if facts.get("format") != FORMAT or facts.get("identity") != identity:
                return False
            values = json.loads(facts["state"])
            if not values["step"] < below:
                return False
            self._take(tensors, values)
        except (DamagedFileError, ValueError, KeyError, TypeError, RuntimeError):
            return False
        return True

    def _tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield all tensors by name."""
        for name, value in self.model.state_dict().items():
            yield f"model.{name}", value
        for name, tensor in self.optimiser.state():
            yield f"optimiser.{name}", tensor
        yield "sums", self.sums
        yield "generator", torch.get_rng_state()
        if self.sums.is_cuda:
            yield "generator.cuda", torch.cuda.get_rng_state(self.sums.device)

    def _take(self, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> None:
        ours = dict(self._tensors())
        if {name: tensor.shape for name, tensor in tensors.items()} != {n: t.shape for n, t in ours.items()}:
            raise ValueError("the state of another network")
        curve = [CurvePoint(**point) for point in values["curve"]]
        step, since, seconds = int(values["step"]), int(values["since"]), float(values["seconds"])
        self.model.load_state_dict(
            {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
        )
        for name, tensor in self.optimiser.state():
            tensor.copy_(tensors[f"optimiser.{name}"])
        self.sums.copy_(tensors["sums"])
        torch.set_rng_state(tensors["generator"])
        if self.sums.is_cuda:
            torch.cuda.set_rng_state(tensors["generator.cuda"], self.sums.device)
        self.step, self.since, self.seconds, self.curve = step, since, seconds, curve
