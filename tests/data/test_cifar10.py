"""CIFAR-10: nothing is read before its checksum, and no pickle runs code."""

import hashlib
import io
import os
import pickle
import tarfile
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest

from evo.data import cifar10, downloads, prepare_dataset
from evo.data.cache import open_array, open_or_decode
from evo.data.cifar10 import ARCHIVE, ARCHIVE_SHA256, CIFAR10, FOLDER, cifar10_source, extract_archive, read_batch
from evo.errors import ConfigurationError

NAMES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")


def ignore(line: str) -> None:
    pass


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def make_batches(
    folder: Path, rows: int = 4, labels: np.ndarray | None = None
) -> tuple[dict[str, str], np.ndarray, np.ndarray]:
    """Write small batches like the original's, with labels of shape (batches, rows) or drawn ones.

    Returns:
        Their MD5 table, rows of pixels and labels.
    """
    folder.mkdir(parents=True)
    draws = np.random.default_rng(0)
    pixels = draws.integers(0, 256, (len(NAMES), rows, 3072), dtype=np.uint8)
    labels = draws.integers(0, 10, (len(NAMES), rows)) if labels is None else labels
    for index, name in enumerate(NAMES):
        batch = {
            b"batch_label": b"a batch",
            b"labels": labels[index].tolist(),
            b"data": pixels[index],
            b"filenames": [b"a.png"] * rows,
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": []}, protocol=2))
    return {name: md5(folder / name) for name in NAMES}, pixels, labels


def fake_source(root: Path, table: dict[str, str]) -> Any:
    train = {name: value for name, value in table.items() if name != "test_batch"}
    test = {"test_batch": table["test_batch"]}
    return cifar10_source(root, ignore, train_md5=train, test_md5=test, images_per_batch=4)


def make_archive(path: Path, members: dict[str, bytes]) -> str:
    """Write a .tar.gz of regular files; return its SHA-256."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def original_members() -> dict[str, bytes]:
    return {f"{FOLDER}/{name}": name.encode() for name in (*NAMES, "batches.meta", "readme.html")}


def test_batches_round_trip(tmp_path: Path) -> None:
    table, pixels, labels = make_batches(tmp_path / FOLDER)
    entry = open_or_decode(fake_source(tmp_path, table), ignore)
    train, test = (open_array(entry.directory, part, "images") for part in ("train", "test"))
    assert train.shape == (20, 3, 32, 32)
    # A row of the file is 1,024 red, 1,024 green and 1,024 blue levels, each in row-major order.
    assert train[5, 2, 1, 3] == pixels[1, 1, 2 * 1024 + 32 + 3]
    assert np.array_equal(train.reshape(20, 3072), pixels[:5].reshape(20, 3072))
    assert np.array_equal(test.reshape(4, 3072), pixels[5])
    assert open_array(entry.directory, "train", "labels").tolist() == labels[:5].ravel().tolist()
    assert open_array(entry.directory, "test", "labels").tolist() == labels[5].tolist()


def test_batches_with_text_keys_are_read(tmp_path: Path) -> None:
    # With encoding="latin1" the strings of Python 2, in which the originals were written, become text.
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps({"data": np.ones((2, 3072), np.uint8), "labels": [3, 9]}, protocol=2))
    images, labels = read_batch(path, md5(path), 2)
    assert images.shape == (2, 3, 32, 32)
    assert labels.tolist() == [3, 9]


def test_an_array_as_python_2_wrote_it_is_read(tmp_path: Path) -> None:
    # The opcodes of the originals: `numpy.core.multiarray`, and byte strings as SHORT_BINSTRING and BINSTRING.
    level = bytes(range(256)) * 12
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T" + len(level).to_bytes(4, "little") + level + b"tb"
    )
    path = tmp_path / "batch"
    path.write_bytes(b"\x80\x02}(U\x04data" + array + b"U\x06labels]K\x07au.")
    images, labels = read_batch(path, md5(path), 1)
    assert images.ravel().tolist() == list(level)
    assert labels.tolist() == [7]


class Marker:
    """Pickles to a call that creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def test_a_pickle_that_would_run_code_is_refused_even_with_the_right_checksum(tmp_path: Path) -> None:
    table, _, _ = make_batches(tmp_path / FOLDER)
    marker = tmp_path / "marker"
    path = tmp_path / FOLDER / "data_batch_3"
    path.write_bytes(pickle.dumps({b"data": Marker(marker), b"labels": [1]}, protocol=2))
    table["data_batch_3"] = md5(path)
    with pytest.raises(ConfigurationError, match=r"data_batch_3.*mkdir, which no batch needs"):
        open_or_decode(fake_source(tmp_path, table), ignore)
    assert not marker.exists()
    pickle.loads(path.read_bytes())
    assert marker.exists(), "the marker must be able to show that code ran"


@pytest.mark.parametrize(
    "content",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nndarray.tofile\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
        b"cnumpy\nload\n.",
        b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.",
        b"cnumpy.core.multiarray\nscalar\n.",
        b"(S'x'\nQ.",
        b"",
        b"\x80\x02]q",
    ],
)
def test_every_other_pickle_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "batch"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="refused to read"):
        read_batch(path, md5(path), 1)


@pytest.mark.parametrize(
    "batch",
    [
        [],
        {},
        {"data": np.zeros((2, 3072), np.uint8)},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [1]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [1, 10]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [1, "2"]},
        {"data": np.zeros((2, 3071), np.uint8), "labels": [1, 2]},
        {"data": np.zeros((2, 3072), np.float32), "labels": [1, 2]},
    ],
)
def test_what_is_no_batch_is_refused(tmp_path: Path, batch: object) -> None:
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(ConfigurationError, match="is not a CIFAR-10 batch"):
        read_batch(path, md5(path), 2)


def test_a_corrupt_file_is_named_with_both_checksums_and_the_fix(tmp_path: Path) -> None:
    table, _, _ = make_batches(tmp_path / FOLDER)
    path = tmp_path / FOLDER / "data_batch_2"
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        open_or_decode(fake_source(tmp_path, table), ignore)
    message = str(caught.value)
    assert str(path) in message
    assert table["data_batch_2"] in message
    assert md5(path) in message
    assert f"delete the folder {tmp_path / FOLDER}" in message


def test_missing_files_are_named(tmp_path: Path) -> None:
    table, _, _ = make_batches(tmp_path / FOLDER)
    (tmp_path / FOLDER / "data_batch_4").unlink()
    with pytest.raises(ConfigurationError, match=r"lacks data_batch_4\ndelete the folder"):
        fake_source(tmp_path, table)


def test_the_published_checksums_are_used(tmp_path: Path) -> None:
    make_batches(tmp_path / FOLDER)
    with pytest.raises(ConfigurationError, match="expected MD5 c99cafc152244af753f735de768cd75f"):
        prepare_dataset("cifar10", tmp_path)


def test_our_checksums_are_torchvisions() -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    assert dict(datasets.CIFAR10.train_list) == dict(cifar10.TRAIN_MD5)
    assert dict(datasets.CIFAR10.test_list) == dict(cifar10.TEST_MD5)
    assert (datasets.CIFAR10.url, datasets.CIFAR10.base_folder) == (cifar10.URL, FOLDER)


def test_changed_batches_are_decoded_again(tmp_path: Path) -> None:
    table, _, _ = make_batches(tmp_path / FOLDER)
    before = open_or_decode(fake_source(tmp_path, table), ignore)
    path = tmp_path / FOLDER / "test_batch"
    path.write_bytes(pickle.dumps({"data": np.zeros((4, 3072), np.uint8), "labels": [0, 0, 0, 0]}, protocol=2))
    table["test_batch"] = md5(path)
    after = open_or_decode(fake_source(tmp_path, table), ignore)
    assert after.checksum != before.checksum
    assert not open_array(after.directory, "test", "images").any()


def test_an_archive_is_extracted_after_its_checksum(tmp_path: Path) -> None:
    sha256 = make_archive(tmp_path / ARCHIVE, original_members())
    extract_archive(tmp_path / ARCHIVE, tmp_path, replace(CIFAR10, sha256=sha256))
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == sorted([*NAMES, "batches.meta"])
    assert (tmp_path / FOLDER / "data_batch_1").read_bytes() == b"data_batch_1"


def test_only_the_expected_members_are_extracted(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "root"
    root.mkdir(parents=True)
    hostile = {"../escaped": b"x", f"{tmp_path}/absolute": b"x", f"{FOLDER}/more": b"x", f"{FOLDER}/../up": b"x"}
    sha256 = make_archive(root / ARCHIVE, {**hostile, **original_members()})
    extract_archive(root / ARCHIVE, root, replace(CIFAR10, sha256=sha256))
    assert sorted(path.name for path in (root / FOLDER).iterdir()) == sorted([*NAMES, "batches.meta"])
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {*NAMES, "batches.meta", ARCHIVE}


def test_a_link_in_the_place_of_a_batch_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    members = original_members()
    del members[f"{FOLDER}/test_batch"]
    make_archive(tmp_path / "plain.tar.gz", members)
    with tarfile.open(tmp_path / ARCHIVE, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo(f"{FOLDER}/test_batch")
        link.type = tarfile.SYMTYPE
        link.linkname = str(secret)
        tar.addfile(link)
    sha256 = hashlib.sha256((tmp_path / ARCHIVE).read_bytes()).hexdigest()
    with pytest.raises(ConfigurationError, match=f"lacks {FOLDER}/test_batch"):
        extract_archive(tmp_path / ARCHIVE, tmp_path, replace(CIFAR10, sha256=sha256))
    assert not (tmp_path / FOLDER).exists()


def test_an_archive_with_another_checksum_is_not_extracted(tmp_path: Path) -> None:
    actual = make_archive(tmp_path / ARCHIVE, original_members())
    with pytest.raises(ConfigurationError) as caught:
        prepare_dataset("cifar10", tmp_path)
    message = str(caught.value)
    assert ARCHIVE_SHA256 in message
    assert actual in message
    assert str(tmp_path / ARCHIVE) in message
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == [ARCHIVE]


def test_a_folder_extracted_by_another_process_stays(tmp_path: Path) -> None:
    sha256 = make_archive(tmp_path / ARCHIVE, original_members())
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "data_batch_1").write_bytes(b"the winner's")
    extract_archive(tmp_path / ARCHIVE, tmp_path, replace(CIFAR10, sha256=sha256))
    assert (tmp_path / FOLDER / "data_batch_1").read_bytes() == b"the winner's"
    assert not list(tmp_path.glob(".cifar*"))


class Response(io.BytesIO):
    """What urlopen returns."""

    def __init__(self, content: bytes):
        super().__init__(content)
        self.length = len(content)


def serve(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    def urlopen(*args: object, **kwargs: object) -> Response:
        return Response(content)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)


def test_without_a_network_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts: list[float] = []

    def urlopen(url: str, timeout: float) -> None:
        timeouts.append(timeout)
        raise URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    root = tmp_path / "root"
    with pytest.raises(ConfigurationError) as caught:
        prepare_dataset("cifar10", root)
    message = str(caught.value)
    for fact in (cifar10.URL, str(root / ARCHIVE), ARCHIVE_SHA256, "--data-dir", "--dataset digits"):
        assert fact in message
    assert list(root.iterdir()) == []
    assert timeouts == [downloads.SOCKET_TIMEOUT_SECONDS]


def test_a_download_that_ends_early_is_an_error_of_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = Response(b"half")
    half.length = 1000
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: half)
    root = tmp_path / "root"
    with pytest.raises(ConfigurationError, match=r"cannot download CIFAR-10 .* the connection ended early"):
        prepare_dataset("cifar10", root)
    assert list(root.iterdir()) == []


def test_a_download_reports_its_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_archive(tmp_path / "served", original_members())
    serve(monkeypatch, (tmp_path / "served").read_bytes())
    monkeypatch.setattr(downloads, "_BLOCK_BYTES", 10)
    lines: list[str] = []
    with pytest.raises(ConfigurationError, match="expected SHA-256"):
        prepare_dataset("cifar10", tmp_path / "root", notify=lines.append)
    assert "Downloading CIFAR-10 (170 MB)" in lines[0]
    shares = [int(line.split()[1]) for line in lines[1:]]
    assert shares == sorted(shares)
    assert [share // 10 for share in shares] == list(range(1, 11))


def test_a_download_with_another_checksum_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_archive(tmp_path / "served", original_members())
    serve(monkeypatch, (tmp_path / "served").read_bytes())
    root = tmp_path / "root"
    with pytest.raises(ConfigurationError, match=f"expected SHA-256 {ARCHIVE_SHA256}"):
        prepare_dataset("cifar10", root)
    assert list(root.iterdir()) == []


def test_a_good_download_is_extracted_into_the_default_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sha256 = make_archive(tmp_path / "served", original_members())
    serve(monkeypatch, (tmp_path / "served").read_bytes())
    monkeypatch.setattr("evo.data.cifar10.CIFAR10", replace(CIFAR10, sha256=sha256))
    with pytest.raises(ConfigurationError, match="data_batch_1 is corrupt"):
        prepare_dataset("cifar10")  # the checksums of the batches are the originals', and these are not
    assert [path.name for path in (cache / "data").iterdir()] == [FOLDER]
    assert capsys.readouterr().err == "", "no progress bar off a terminal"


def test_the_data_folder_can_be_chosen_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVO_DATA_DIR", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere" / FOLDER).mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=rf"elsewhere/{FOLDER} lacks data_batch_1"):
        prepare_dataset("cifar10")
