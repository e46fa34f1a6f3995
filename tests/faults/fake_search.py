"""A search of 20 ms trainings as a process of its own, with the signals and exit codes of the command line.

python -m tests.faults.fake_search FOLDER BUDGET: starts a search in the folder, or resumes the one there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

import evo
from evo.cli.commands.shell import guarded, watched
from evo.record.folder import is_run
from tests.faults.objectives import SPACE, quick

WORKERS = 2


def main(folder: Path, budget: int) -> None:
    def command(**watch: Any) -> evo.Run:
        if is_run(folder):
            return evo.resume(folder, quick, workers=WORKERS, **watch)
        return evo.search(
            SPACE,
            quick,
            strategy="ga",
            population=8,
            budget=budget,
            seed=3,
            finalists=2,
            workers=WORKERS,
            output=folder,
            **watch,
        )

    try:
        guarded(lambda: watched(command, {"quiet": True}, {}))()
    except typer.Exit as end:
        sys.exit(end.exit_code)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
