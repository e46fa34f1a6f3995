"""What evo prints reaches every stream: no encoding, name or number ends a command or changes what is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import evo
from evo.cli.streams import READABLE
from tests.command import PATIENCE_SECONDS, environment

CHOICES = ["größe", "日本"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("streams") / "run:x:1"
    space = evo.SearchSpace({"name": evo.Categorical(CHOICES), "x": evo.Float(0, 1)})
    evo.search(space, lambda config: -1e-5 * config["x"], budget=10, output=path)
    return path


def output_of(run: Path, *options: str, encoding: str) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "evo", "compare", str(run), *options],
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        env=environment() | {"PYTHONIOENCODING": encoding},
        check=False,
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii:strict", "cp1252", "utf-8"])
def test_a_stream_of_any_encoding_takes_the_tables(run: Path, encoding: str) -> None:
    finished = output_of(run, encoding=encoding)
    assert finished.returncode == 0, finished.stderr
    text = finished.stdout.decode(encoding.partition(":")[0])
    assert "run:x:1" in text
    assert ("日本" in text) == (encoding == "utf-8")


def test_data_are_utf8_whatever_the_stream_takes(run: Path) -> None:
    finished = output_of(run, "--csv", "-", encoding="latin-1")
    assert finished.returncode == 0, finished.stderr
    assert any(choice in finished.stdout.decode("utf-8") for choice in CHOICES)
    assert finished.stdout == output_of(run, "--csv", "-", encoding="utf-8").stdout


def test_a_name_that_is_not_utf8_is_named_in_the_error() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "evo", "compare", b"no\xffthing"],
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        env=environment(),
        check=False,
    )
    assert finished.returncode == 2
    assert finished.stderr == b"error: no?thing: no such run folder.\n"


def test_what_stands_for_a_character_is_ascii() -> None:
    assert "".join(READABLE.values()).isascii()
    assert not any(character.isascii() for character in READABLE)


def test_a_closed_stream_is_no_reason_to_fail(run: Path) -> None:
    command = f'"{sys.executable}" -m evo compare "$RUN" >&-'
    finished = subprocess.run(
        ["sh", "-c", command],
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE_SECONDS,
        env=environment() | {"RUN": str(run)},
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
