"""Flipped bits and cut-off files: every one is detected, and everything before it is kept."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import evo
from evo.errors import RunError
from evo.record.journal import Journal
from evo.record.run import Run
from evo.training.tensor_file import DamagedFileError, read_tensors, write_tensors
from tests.faults.conftest import times
from tests.faults.objectives import SPACE, accuracy

SEED = 20190414


@pytest.fixture(scope="module")
def journal(folder: Path) -> Path:
    """Return the journal of a finished search."""
    run = evo.search(SPACE, accuracy, strategy="ga", population=4, budget=12, finalists=2, output=folder / "run")
    assert run.path is not None
    return run.path / "journal.jsonl"


def no_warning(message: str) -> None:
    raise AssertionError(f"warned: {message}")


def flipped(content: bytes, draws: random.Random) -> bytes:
    """Return a content with one bit of one byte changed."""
    place, bit = draws.randrange(len(content)), draws.randrange(8)
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


def test_a_journal_cut_at_every_byte_of_its_last_record(journal: Path, figure: Callable[[str], None]) -> None:
    content = journal.read_bytes()
    begins, whole = content[:-1].rfind(b"\n") + 1, Journal.read(journal).events
    for cut in range(begins, len(content)):
        journal.write_bytes(content[:cut])
        assert Journal.read(journal).events == whole[:-1]
        warnings: list[str] = []
        run = Run.open(journal.parent, warnings.append)
        run.close()
        assert len(warnings) == (cut > begins)
        assert journal.read_bytes() == content[:begins]
    journal.write_bytes(content)
    figure(f"journal cut at each of {len(content) - begins} bytes of its last record: all earlier records kept")


def test_every_flipped_bit_of_a_journal_is_detected(journal: Path, figure: Callable[[str], None]) -> None:
    content, draws, flips = journal.read_bytes(), random.Random(SEED), times(long=1000, short=300)
    records = len(Journal.read(journal).events)
    for _ in range(flips):
        changed = flipped(content, draws)
        journal.write_bytes(changed)
        with pytest.raises(RunError, match="damaged"):
            Run.open(journal.parent, no_warning)
        assert journal.read_bytes() == changed, "a damaged file was written"
    journal.write_bytes(content)
    figure(f"{flips} random bit flips of a journal of {records} records (seed {SEED}): all detected")


def test_every_flipped_bit_of_a_file_of_tensors_is_detected(tmp_path: Path, figure: Callable[[str], None]) -> None:
    path, draws, flips = tmp_path / "state.safetensors", random.Random(SEED), times(long=1000, short=300)
    tensors = {"weights": torch.randn(30, 20), "steps": torch.arange(7), "half": torch.randn(5).bfloat16()}
    write_tensors(path, tensors, {"identity": "a training", "state": '{"step": 3}'})
    content, (read, facts) = path.read_bytes(), read_tensors(path)
    assert facts == {"identity": "a training", "state": '{"step": 3}'}
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    harmless = 0
    for _ in range(flips):
        path.write_bytes(flipped(content, draws))
        try:
            again, facts_again = read_tensors(path)
        except DamagedFileError:
            continue
        # A blank of the header's padding is nothing that is read.
        harmless += 1
        assert facts_again == facts
        assert all(torch.equal(again[name], tensor) for name, tensor in read.items())
    assert harmless < flips / 20
    figure(f"{flips} random bit flips of a saved training: {flips - harmless} detected, {harmless} changed no value")
