"""Objectives that start processes of every kind; each returns the sum of what its processes have computed."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import evo
from tests.faults.objectives import FOLDER

SPACE = evo.SearchSpace({"x": evo.Float(0, 1)}, name="offspring")
LASTS = "import time; time.sleep(600)"


def half(number: float) -> float:
    return number / 2


def forking_pool(config: dict[str, Any]) -> float:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return sum(pool.map(half, [config["x"]] * 2))


def spawning_executor(config: dict[str, Any]) -> float:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        return sum(pool.map(half, [config["x"]] * 2))


def loader_that_stays(config: dict[str, Any]) -> float:
    """Read through torch's loader, whose two processes are meant to be used again."""
    import torch
    from torch.utils.data import DataLoader

    global kept
    values = torch.tensor([config["x"] / 2] * 2, dtype=torch.float64)
    kept = DataLoader(values, num_workers=2, persistent_workers=True)  # type: ignore[arg-type]  # a list will do
    return float(sum(value.sum() for value in kept))


kept: Any = None


def waits_for_all_children(config: dict[str, Any]) -> float:
    for _ in range(2):
        if not os.fork():
            os._exit(0)
    ended = 0
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return float(config["x"]) if ended == 2 else 0.0
        ended += 1


def leaves_some_behind(config: dict[str, Any]) -> float:
    """Return while processes of several kinds still run."""
    start_several(config)
    return float(config["x"])


def never_returns(config: dict[str, Any]) -> float:
    start_several(config)
    (Path(os.environ[FOLDER]) / f"begun-{os.getpid()}").touch()
    time.sleep(600)
    return 0.0


def holds_the_lock(config: dict[str, Any]) -> float:
    """Let no other thread of the process run, as a call of C code may that does not release Python's lock."""
    (Path(os.environ[FOLDER]) / f"begun-{os.getpid()}").touch()
    re.match("(a+)+$", "a" * 60 + "b")
    return 0.0


def start_several(config: dict[str, Any]) -> None:
    os.system(f"{sys.executable} -c '{LASTS}' &")  # the shell has ended: no parent of it is left
    subprocess.Popen([sys.executable, "-c", LASTS], close_fds=False)
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,)).start()


USEFUL = (forking_pool, spawning_executor, loader_that_stays, waits_for_all_children, leaves_some_behind)


def main(folder: Path, how: str, objective: str = "never_returns") -> None:
    """Search by objectives that never return, in two processes, until a signal ends it."""
    import typer

    from evo.cli.commands.shell import guarded, watched

    def command(**watch: Any) -> evo.Run:
        dask = "local" if how == "dask" else None
        return evo.search(SPACE, globals()[objective], budget=2, workers=2, dask=dask, output=folder, **watch)

    try:
        guarded(lambda: watched(command, {"quiet": True}, {}))()
    except typer.Exit as end:
        sys.exit(end.exit_code)


if __name__ == "__main__":
    from tests.faults import offspring  # a Dask worker must find the objective in a module

    offspring.main(Path(sys.argv[1]), *sys.argv[2:])
