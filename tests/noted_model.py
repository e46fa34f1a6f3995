"""A user-defined model that notes when its training has made a step, for tests that stop a training in its middle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from evo.models import mlp

NOTE = "EVO_TEST_NOTE"
"""The variable that names the file which is there as soon as the network has seen its first images."""


def build(config: Mapping[str, Any], input_shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    """Return an MLP; the configuration holds its layers."""
    network = mlp.build(config, input_shape, classes)

    def note(*_: object) -> None:
        Path(os.environ[NOTE]).touch()
        hook.remove()

    hook = network.register_forward_hook(note)
    return network
