"""Where the benchmark keeps what it needs besides its results, and the lines that it exchanges with peers."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evo.data.cache import cache_root
from evo.errors import ConfigurationError

PEERS = Path(__file__).resolve().parent / "peers"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Places:
    """Folders of the benchmark.

    Attributes:
        environments: One virtual environment per peer.
        cache: Converted tables, the small image folder, and true values that were measured.
    """

    environments: Path
    cache: Path

    @classmethod
    def default(cls) -> Places:
        """Return the places inside evo's cache folder."""
        root = cache_root() / "search-quality"
        return cls(root / "environments", root)

    def python(self, environment: str) -> Path:
        """Return the interpreter of an environment.

        Raises:
            ConfigurationError: The environment was not made.
        """
        python = self.environments / environment / "bin" / "python"
        if not python.exists():
            raise ConfigurationError(
                f"no environment {python.parent.parent}; make it with: "
                f"python -m benchmarks.search_quality setup --peers {environment} "
                f"--environments {self.environments}"
            )
        return python

    def table(self, suite: str, dataset: str) -> Path:
        """Return the file of a converted table."""
        return self.cache / "tables" / f"{suite}-{dataset}.npz"

    @property
    def images(self) -> Path:
        """The small image folder."""
        return self.cache / "images"

    def truth(self, task: str) -> Path:
        """Return the file of the true values of a task's trainings that were measured."""
        return self.cache / "truth" / f"{task}.jsonl"


def single_threaded() -> dict[str, str]:
    """Return this process's environment variables with one thread for numerics, and without writing bytecode."""
    return os.environ | dict.fromkeys(THREADS, "1") | {"PYTHONDONTWRITEBYTECODE": "1"}


class Adapter:
    """A process of a peer's environment that answers lines of JSON.

    Args:
        places: Where its environment is.
        environment: Its name.
        script: File in `peers/`.
    """

    def __init__(self, places: Places, environment: str, script: str):
        self.name = f"{environment}: {script}"
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # `close` closes it
        self._process = subprocess.Popen(
            [places.python(environment), PEERS / script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            bufsize=1,
            env=single_threaded(),
            cwd=tempfile.gettempdir(),
            start_new_session=True,  # Ctrl-C in the terminal is for this process, which still has to tell results
        )

    def exchange(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Send a line and return the answer.

        Raises:
            RuntimeError: The adapter reports an error, or has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._errors.seek(0)
            tail = self._errors.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{self.name} ended: {tail}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return answer

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the process: its standard input ends."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()
