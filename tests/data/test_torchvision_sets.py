"""torchvision's datasets: its files and checksums, read as torchvision reads them, and never run."""

import gzip
import hashlib
import io
import pickle
import shutil
import struct
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from torchvision import datasets

from evo.data import detect_dataset, prepare_dataset
from evo.data.cache import PreparedDataset, open_or_decode
from evo.data.cifar10 import CIFAR100, cifar_source
from evo.data.torchvision_sets import FASHION_MNIST, MNIST, SVHN_MD5, SVHN_URL, idx_source, svhn_source
from evo.errors import ConfigurationError
from tests.data.given_arrays import images, labels


def ignore(line: str) -> None:
    pass


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def idx(values: np.ndarray) -> bytes:
    return bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_idx(root: Path, kind: Any, packed: bool = False) -> dict[str, bytes]:
    """Write a small dataset of idx files; return the compressed files."""
    parts = {"train": (images(12, 28, 28), labels(12, 10)), "t10k": (images(10, 28, 28, seed=1), labels(10, 10))}
    files = {}
    (root / kind.folder).mkdir(parents=True, exist_ok=True)
    for word, (x, y) in parts.items():
        for name, values in ((f"{word}-images-idx3-ubyte", x), (f"{word}-labels-idx1-ubyte", y.astype(np.uint8))):
            files[f"{name}.gz"] = gzip.compress(idx(values))
            (root / kind.folder / (f"{name}.gz" if packed else name)).write_bytes(
                files[f"{name}.gz"] if packed else idx(values)
            )
    return files


def same_as_torchvision(found: PreparedDataset, train: Any, test: Any) -> None:
    for part, theirs in (("train", train), ("test", test)):
        ours, own_labels = found.arrays("train" if part == "train" else "test")
        data = np.asarray(theirs.data)
        data = data[:, None] if data.ndim == 3 else data if data.shape[1] == 3 else data.transpose(0, 3, 1, 2)
        assert np.array_equal(ours, data)
        assert own_labels.tolist() == np.asarray(getattr(theirs, "targets", getattr(theirs, "labels", None))).tolist()


@pytest.mark.parametrize(("kind", "theirs"), [(MNIST, datasets.MNIST), (FASHION_MNIST, datasets.FashionMNIST)])
def test_idx_files_are_read_as_torchvision_reads_them(tmp_path: Path, kind: Any, theirs: Any) -> None:
    write_idx(tmp_path, kind)
    assert detect_dataset(tmp_path) == kind.name
    found = prepare_dataset(None, tmp_path)
    same_as_torchvision(found, theirs(tmp_path, train=True), theirs(tmp_path, train=False))
    assert (found.name, found.image_shape, len(found.classes)) == (kind.name, (1, 28, 28), 10)
    assert [mirror + name for mirror in kind.mirrors for name in kind.md5] == [
        mirror + name for mirror in theirs.mirrors for name, _ in theirs.resources
    ]
    assert dict(theirs.resources) == dict(kind.md5)


def test_compressed_files_are_read_by_their_checksum(tmp_path: Path, cache: Path) -> None:
    files = write_idx(tmp_path / "packed", MNIST, packed=True)
    kind = replace(MNIST, md5={name: md5(content) for name, content in files.items()})
    write_idx(tmp_path / "plain", MNIST)
    packed = open_or_decode(idx_source(kind, tmp_path / "packed", ignore), ignore)
    assert packed.checksum == prepare_dataset("mnist", tmp_path / "plain").checksum
    shutil.rmtree(cache)  # what is decoded already needs no checksum
    with pytest.raises(ConfigurationError, match=r"train-images-idx3-ubyte.gz is corrupt: expected MD5 f68b"):
        prepare_dataset("mnist", tmp_path / "packed")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("train-images-idx3-ubyte", b"short", "is not an idx file of bytes with 3 axes"),
        ("train-labels-idx1-ubyte", idx(images(12, 2)), "is not an idx file of bytes with 1 axes"),
        ("train-labels-idx1-ubyte", idx(images(11)), "the numbers of images and labels differ"),
        ("train-labels-idx1-ubyte", idx(np.full(12, 10, np.uint8)), "has labels from 10 to 10, expected 0 to 9"),
        ("t10k-images-idx3-ubyte", idx(images(10, 28, 28))[:-1], r"holds 7,839 bytes, its head says \(10, 28, 28\)"),
        ("t10k-images-idx3-ubyte", bytes((0, 0, 8, 3)) + b"\xff" * 12, "names the shape"),
    ],
)
def test_damaged_idx_files_are_named(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    write_idx(tmp_path, MNIST)
    (tmp_path / MNIST.folder / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=reason):
        prepare_dataset("mnist", tmp_path)


def serve(monkeypatch: pytest.MonkeyPatch, files: Mapping[str, bytes], asked: list[str]) -> None:
    class Response(io.BytesIO):
        length = None

    def urlopen(url: str, timeout: float) -> Response:
        asked.append(url)
        if (name := url.rpartition("/")[2]) not in files or url.startswith(MNIST.mirrors[0]):
            raise OSError("no such host")
        return Response(files[name])

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)


def test_files_are_downloaded_checked_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_idx(tmp_path / "served", MNIST)
    kind = replace(MNIST, md5={name: md5(content) for name, content in files.items()})
    asked: list[str] = []
    serve(monkeypatch, files, asked)
    found = open_or_decode(idx_source(kind, tmp_path / "root", ignore), ignore)
    assert found.train_count == 12
    assert asked[:2] == [mirror + "train-images-idx3-ubyte.gz" for mirror in MNIST.mirrors]  # the second has it
    assert sorted(path.name for path in (tmp_path / "root" / kind.folder).iterdir()) == sorted(files)
    count = len(asked)
    idx_source(kind, tmp_path / "root", ignore)
    assert len(asked) == count
    with pytest.raises(ConfigurationError, match=r"is corrupt: expected MD5 f68b.*\n.*not what MNIST has published"):
        idx_source(MNIST, tmp_path / "other", ignore)
    assert not list((tmp_path / "other" / kind.folder).iterdir())


def test_without_a_network_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, {}, [])
    for name, facts in {
        "mnist": (
            str(tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"),
            MNIST.md5["train-images-idx3-ubyte.gz"],
        ),
        "svhn": (str(tmp_path / "train_32x32.mat"), SVHN_MD5["train_32x32.mat"]),
        "cifar100": (str(tmp_path / "cifar-100-python.tar.gz"), CIFAR100.sha256),
    }.items():
        with pytest.raises(ConfigurationError) as caught:
            prepare_dataset(name, tmp_path)
        for fact in (*facts, "no such host", "--data-dir", "--dataset digits"):
            assert fact in str(caught.value)
        with pytest.raises(ConfigurationError, match="is no longer there; give the folder"):
            prepare_dataset(name, tmp_path, download=False)


def test_svhn_is_read_as_torchvision_reads_it(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {}
    for part, name in (("train", "train_32x32.mat"), ("test", "test_32x32.mat")):
        y = (labels(12, 10) + 1).astype(np.uint8)[:, None]  # 1 to 10
        savemat(tmp_path / name, {"X": images(32, 32, 3, 12, seed=len(part)), "y": y})
        table[name] = md5((tmp_path / name).read_bytes())
    found = open_or_decode(svhn_source(tmp_path, ignore, md5=table), ignore)
    monkeypatch.setattr(datasets.SVHN, "_check_integrity", lambda self: True)
    same_as_torchvision(found, datasets.SVHN(tmp_path, "train"), datasets.SVHN(tmp_path, "test"))
    assert detect_dataset(tmp_path) == "svhn"
    assert {name: md5 for _, name, md5 in list(datasets.SVHN.split_list.values())[:2]} == SVHN_MD5
    assert datasets.SVHN.split_list["train"][0] == SVHN_URL + "train_32x32.mat"
    shutil.rmtree(cache)  # what is decoded already needs no checksum
    with pytest.raises(ConfigurationError, match=r"train_32x32.mat is corrupt: expected MD5"):
        prepare_dataset("svhn", tmp_path)
    (tmp_path / "train_32x32.mat").write_bytes(b"no matrix")
    with pytest.raises(ConfigurationError, match=r"train_32x32.mat"):
        svhn_source(tmp_path, ignore)


def test_cifar100_is_read_as_torchvision_reads_it(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / CIFAR100.folder
    folder.mkdir()
    for name, count in (("train", 8), ("test", 4)):
        batch = {"data": images(count, 3072, seed=count), "fine_labels": (labels(count, 4) + 96).tolist(),
                 "coarse_labels": [0] * count, "filenames": ["a"] * count}  # fmt: skip
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": list(CIFAR100.classes)}))
    tables = ({name: md5((folder / name).read_bytes())} for name in ("train", "test"))
    kind = replace(
        CIFAR100, images={"train": 8, "test": 4}, **dict(zip(("train_md5", "test_md5"), tables, strict=True))
    )
    found = open_or_decode(cifar_source(kind, tmp_path, ignore), ignore)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *a: True)
    same_as_torchvision(found, datasets.CIFAR100(tmp_path, train=True), datasets.CIFAR100(tmp_path, train=False))
    assert detect_dataset(tmp_path) == "cifar100"
    assert len(set(found.classes)) == 100
    assert list(found.classes) == sorted(found.classes)
    assert dict(datasets.CIFAR100.train_list + datasets.CIFAR100.test_list) == {
        **CIFAR100.train_md5,
        **CIFAR100.test_md5,
    }
    assert (datasets.CIFAR100.url, datasets.CIFAR100.base_folder) == (CIFAR100.url, CIFAR100.folder)
    shutil.rmtree(cache)  # what is decoded already needs no checksum
    with pytest.raises(ConfigurationError, match="train is corrupt: expected MD5 16019d"):
        prepare_dataset("cifar100", tmp_path)


def test_a_root_of_several_datasets_is_explained(tmp_path: Path) -> None:
    write_idx(tmp_path, MNIST)
    write_idx(tmp_path, FASHION_MNIST)
    said: list[str] = []
    assert prepare_dataset(None, tmp_path, notify=said.append).name == "mnist"
    assert f"note: {tmp_path} holds mnist and fashion_mnist; mnist is taken, --dataset names another" in said
    assert prepare_dataset("fashion_mnist", tmp_path).name == "fashion_mnist"
    with pytest.raises(ConfigurationError, match=r"holds mnist \(MNIST/raw\), not imagefolder; use --dataset mnist"):
        prepare_dataset("imagefolder", tmp_path)
