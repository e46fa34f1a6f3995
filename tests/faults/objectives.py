"""Objectives that count their calls, take 20 ms, and come to grief in many ways; importable by worker processes."""

from __future__ import annotations

import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import evo

SPACE = evo.SearchSpace(
    {
        "hidden_layers": evo.Layers(depth=(1, 3), width=(8, 512), log=True),
        "learning_rate": evo.Float(1e-5, 1e-1, log=True),
        "wide": evo.Boolean(),
    },
    name="fake",
)
FOLDER = "EVO_FAULTS_FOLDER"
"""The environment's name of the folder in which calls leave their marks."""


def accuracy(config: dict[str, Any], seed: int) -> float:
    """Return a pure function of configuration and seed, in [0, 1]."""
    distance = abs(math.log10(config["learning_rate"]) + 3) / 4
    return 0.9 - 0.2 * distance - 0.02 * len(config["hidden_layers"]) + (seed % 1000) / 1e5


def quick(config: dict[str, Any], seed: int) -> float:
    """Take 20 ms; leave a line for the call in the file `calls`."""
    descriptor = os.open(Path(os.environ[FOLDER]) / "calls", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{seed}\n".encode())
    os.close(descriptor)
    time.sleep(0.02)
    return accuracy(config, seed)


def first_time(seed: int) -> bool:
    """Return whether a training with this seed has not been begun before."""
    try:
        os.close(os.open(Path(os.environ[FOLDER]) / f"begun-{seed}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def killed_once(config: dict[str, Any], seed: int) -> float:
    """Kill the process at the first try."""
    if first_time(seed):
        os.kill(os.getpid(), signal.SIGKILL)
    return quick(config, seed)


def killed_always(config: dict[str, Any], seed: int) -> float:
    """Kill the process at every try, for two individuals of three."""
    if seed % 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return quick(config, seed)


def hangs(config: dict[str, Any], seed: int) -> float:
    """Never come back, for every second individual."""
    while seed % 2:
        time.sleep(1)
    return quick(config, seed)


def out_of_memory_once(config: dict[str, Any], seed: int) -> float:
    """Find no memory at the first try, as soon as two workers are there to have taken it from each other."""
    marks = Path(os.environ[FOLDER])
    (marks / f"worker-{os.getpid()}").touch()
    if first_time(seed):
        end = time.monotonic() + 60
        while len(list(marks.glob("worker-*"))) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        raise MemoryError("no room")
    return quick(config, seed)


def slow(config: dict[str, Any], seed: int) -> float:
    """Take two seconds."""
    first_time(seed)
    time.sleep(2)
    return accuracy(config, seed)


def closes_its_pipe(config: dict[str, Any], seed: int) -> float:
    """Close all files, as libraries do that become daemons, and never return; for every second individual."""
    if seed % 2:
        os.closerange(3, 256)
        time.sleep(600)
    return accuracy(config, seed)


def threads(config: dict[str, Any]) -> float:
    """Return how many threads torch uses here."""
    import torch

    return float(torch.get_num_threads())
