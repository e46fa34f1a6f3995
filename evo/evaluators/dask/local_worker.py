"""What a Dask worker that evo starts loads first, by its name: objectives may start processes, which end with it."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

from evo.processes import lead_group

if TYPE_CHECKING:
    from distributed import Worker


def dask_setup(worker: Worker) -> None:
    """Let the worker's process lead a group; Dask calls this before the worker begins."""
    lead_group()
    multiprocessing.current_process().daemon = False
