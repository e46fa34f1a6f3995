"""A cache entry is complete and unaltered, or it is decoded again."""

import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from evo.data import PreparedDataset, cache_root, prepare_dataset
from evo.data import cache as cache_module
from evo.data.cache import Notify, Source, create_arrays, open_array, open_or_decode
from evo.errors import ConfigurationError

NOBODY = 65534


class Counted:
    """A source of four images of one level that counts how often it is decoded."""

    def __init__(self, level: int = 7, fingerprint: str = "1") -> None:
        self.level = level
        self.fingerprint = fingerprint
        self.decodings = 0
        self.before: Callable[[], None] = lambda: None

    def source(self) -> Source:
        return Source(
            name="digits",
            identity="counted",
            fingerprint=self.fingerprint,
            classes=("a", "b"),
            image_shape=(1, 8, 8),
            counts={"train": 3, "test": 1},
            variant="levels",
            origin="a test",
            decode=self.decode,
        )

    def decode(self, directory: Path, notify: Notify) -> None:
        self.decodings += 1
        self.before()
        open_array(directory, "train", "images", "r+")[:] = self.level
        open_array(directory, "test", "images", "r+")[:] = self.level


def ignore(line: str) -> None:
    pass


def level_of(directory: Path) -> int:
    return int(open_array(directory, "train", "images")[0, 0, 0, 0])


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_second_opening_does_not_decode(cache: Path) -> None:
    counted = Counted()
    first = open_or_decode(counted.source(), ignore)
    second = open_or_decode(counted.source(), ignore)
    assert counted.decodings == 1
    assert first == second
    assert first.directory.parent == cache / "datasets"
    assert names_in(cache / "datasets") == [first.directory.name]


def test_a_changed_source_is_decoded_again() -> None:
    first = open_or_decode(Counted(level=1, fingerprint="old").source(), ignore)
    second = open_or_decode(Counted(level=2, fingerprint="new").source(), ignore)
    assert second.directory == first.directory
    assert second.checksum != first.checksum
    assert level_of(second.directory) == 2


@pytest.mark.parametrize("name", ["train_images", "train_labels", "test_images", "test_labels"])
@pytest.mark.parametrize("position", [8, 20, -1])
def test_a_flipped_bit_is_noticed_and_the_entry_rebuilt(name: str, position: int) -> None:
    counted = Counted()
    entry = open_or_decode(counted.source(), ignore)
    path = entry.directory / f"{name}.npy"
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    lines: list[str] = []
    assert open_or_decode(counted.source(), lines.append) == entry
    assert counted.decodings == 2
    assert "decoding again" in lines[0]
    if position == -1:
        assert f"do not match their SHA-256 ({name}.npy)" in lines[0]
    content[position] ^= 1
    assert path.read_bytes() == content


@pytest.mark.parametrize("change", ["cut", "longer", "gone", "pickle"])
def test_a_damaged_file_is_rebuilt(change: str, tmp_path: Path) -> None:
    counted = Counted()
    entry = open_or_decode(counted.source(), ignore)
    path = entry.directory / "train_images.npy"
    if change == "gone":
        path.unlink()
    elif change == "pickle":
        np.save(path, np.array([{"an": "object"}], dtype=object), allow_pickle=True)
    else:
        content = path.read_bytes()
        path.write_bytes(content[:-1] if change == "cut" else content + b"x")
    assert open_or_decode(counted.source(), ignore) == entry
    assert counted.decodings == 2


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"format": 0}'])
def test_an_unknown_record_is_rebuilt(record: str) -> None:
    counted = Counted()
    entry = open_or_decode(counted.source(), ignore)
    (entry.directory / "dataset.json").write_text(record)
    assert open_or_decode(counted.source(), ignore) == entry
    assert counted.decodings == 2


def test_the_record_states_format_and_checksums() -> None:
    entry = open_or_decode(Counted().source(), ignore)
    record = json.loads((entry.directory / "dataset.json").read_text())
    assert record["format"] == cache_module.FORMAT_VERSION
    assert record["checksum"] == entry.checksum
    assert set(record["arrays"]) == {path.name for path in entry.directory.glob("*.npy")}


def test_the_slower_of_two_processes_uses_the_winners_entry() -> None:
    winner, loser = Counted(), Counted()
    inodes = []

    def overtake() -> None:
        # The winner starts and finishes while the loser is decoding.
        inodes.append(open_or_decode(winner.source(), ignore).directory.stat().st_ino)

    loser.before = overtake
    entry = open_or_decode(loser.source(), ignore)
    assert loser.decodings == winner.decodings == 1
    assert [entry.directory.stat().st_ino] == inodes, "the winner's folder was replaced under its workers"
    assert names_in(entry.directory.parent) == [entry.directory.name]


def test_a_lost_race_at_the_rename_uses_the_winners_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    winner, loser = Counted(), Counted()
    rename = Path.rename

    def overtaken(self: Path, target: Path) -> Path:
        # The moment before the loser's folder gets its name, the winner's takes it.
        if target.parent.name == "datasets" and not target.exists() and winner.decodings == 0:
            open_or_decode(winner.source(), ignore)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", overtaken)
    entry = open_or_decode(loser.source(), ignore)
    assert winner.decodings == loser.decodings == 1
    assert open_or_decode(winner.source(), ignore) == entry
    assert names_in(entry.directory.parent) == [entry.directory.name]


def test_a_failed_decoding_leaves_nothing(cache: Path) -> None:
    counted = Counted()

    def fail() -> None:
        raise ConfigurationError("a bad image")

    counted.before = fail
    with pytest.raises(ConfigurationError, match="a bad image"):
        open_or_decode(counted.source(), ignore)
    assert names_in(cache / "datasets") == []


def test_a_full_disk_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(ConfigurationError, match=r"No space left(.|\n)*EVO_CACHE_DIR"):
        open_or_decode(Counted().source(), ignore)
    assert names_in(cache / "datasets") == []


def test_a_cache_below_a_file_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EVO_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(ConfigurationError, match="set EVO_CACHE_DIR"):
        open_or_decode(Counted().source(), ignore)


@contextmanager
def without_rights() -> Iterator[None]:
    """Let file permissions count, which root does not heed."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o555])
def test_a_cache_that_may_not_be_read_or_written_is_an_error_with_a_remedy(mode: int, tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):  # pytest's folders are private
        folder.chmod(0o755)
    (tmp_path / "cache").mkdir(mode=mode)
    with without_rights(), pytest.raises(ConfigurationError, match=r"Permission denied(.|\n)*set EVO_CACHE_DIR"):
        open_or_decode(Counted().source(), ignore)
    (tmp_path / "cache").chmod(0o755)


@pytest.mark.usefixtures("never_hangs")
@pytest.mark.parametrize("name", ["dataset.json", "train_images.npy"])
def test_a_pipe_in_the_place_of_a_file_is_never_opened(name: str) -> None:
    counted = Counted()
    entry = open_or_decode(counted.source(), ignore)
    (entry.directory / name).unlink()
    os.mkfifo(entry.directory / name)
    assert open_or_decode(counted.source(), ignore) == entry
    assert counted.decodings == 2


def test_folders_of_killed_processes_are_removed_after_a_day() -> None:
    counted = Counted()
    entry = open_or_decode(counted.source(), ignore)
    old = entry.directory.with_name(f".{entry.directory.name}.old")
    recent = entry.directory.with_name(f".{entry.directory.name}.recent")
    old.mkdir()
    recent.mkdir()
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    counted.fingerprint = "2"
    open_or_decode(counted.source(), ignore)
    assert not old.exists()
    assert recent.exists()


def test_arrays_are_created_with_their_space(tmp_path: Path) -> None:
    create_arrays(tmp_path, Counted().source())
    assert open_array(tmp_path, "train", "images").shape == (3, 1, 8, 8)
    assert open_array(tmp_path, "test", "labels").dtype == np.int64


def test_arrays_are_mapped_and_read_only() -> None:
    images, labels = prepare_dataset("digits").arrays("train")
    assert isinstance(images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        labels[0] = 0


def test_arrays_are_refused_when_the_entry_was_replaced_during_a_run() -> None:
    dataset = prepare_dataset("digits")
    record_path = dataset.directory / "dataset.json"
    record = json.loads(record_path.read_text())
    record_path.write_text(json.dumps({**record, "checksum": "0" * 64}))
    with pytest.raises(ConfigurationError, match="holds other images"):
        dataset.arrays("train")
    record_path.unlink()
    with pytest.raises(ConfigurationError, match="is gone"):
        dataset.arrays("train")


def test_the_facts_of_a_dataset_survive_json() -> None:
    dataset = prepare_dataset("digits")
    facts = json.loads(json.dumps(dataset.to_dict()))
    assert facts == dataset.to_dict()
    sequences = {name: tuple(facts[name]) for name in ("classes", "image_shape")}
    assert PreparedDataset(**{**facts, **sequences, "directory": Path(facts["directory"])}) == dataset


def test_the_cache_folder_defaults_to_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_root() == tmp_path / "cache"
    monkeypatch.delenv("EVO_CACHE_DIR")
    assert "evo" in cache_root().parts


@pytest.mark.parametrize("chosen", [None, "~nobody-has-this-name/cache", "~/cache"])
def test_without_a_home_folder_the_cache_asks_for_a_place(
    chosen: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_home(path: str) -> str:
        return path  # what the standard library does for a user without HOME and without an entry in the user database

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", no_home)
    if chosen is None:
        monkeypatch.delenv("EVO_CACHE_DIR")
    else:
        monkeypatch.setenv("EVO_CACHE_DIR", chosen)
    with pytest.raises(ConfigurationError, match=r"home folder is not known here.*EVO_CACHE_DIR"):
        prepare_dataset("digits")
    with pytest.raises(ConfigurationError, match="home folder is not known here"):
        prepare_dataset("imagefolder", Path("~/images"))
    assert names_in(tmp_path) == []


def test_a_relative_cache_folder_stays_where_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVO_CACHE_DIR", "here")
    dataset = open_or_decode(Counted().source(), ignore)
    monkeypatch.chdir("/")
    assert len(dataset.arrays("train")[0]) == 3
