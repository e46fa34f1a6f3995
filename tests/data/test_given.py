"""Data given by value, as a file or by a function's name are the same data, and nothing in them can run unasked."""

import pickle
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from evo.data import PreparedDataset, prepare_dataset
from evo.errors import ConfigurationError
from tests.data.given_arrays import Items, four, images, labels

KEYS = ("x_train", "y_train", "x_test", "y_test")
X, Y = images(20, 6, 5), labels(20)
GIVEN = four(X, Y, 5)


def datasets() -> tuple[TensorDataset, TensorDataset]:
    x_train, y_train, x_test, y_test = map(torch.from_numpy, GIVEN)
    return TensorDataset(x_train[:, None] / 255, y_train), TensorDataset(x_test[:, None] / 255, y_test)


def content(dataset: PreparedDataset) -> tuple[Any, ...]:
    arrays = [array.tolist() for part in ("train", "test") for array in dataset.arrays(part)]
    return dataset.checksum, dataset.classes, dataset.image_shape, arrays


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Return a function that writes a module into the working directory and returns its name."""
    monkeypatch.chdir(tmp_path)
    path, names = list(sys.path), []

    def write(text: str) -> str:
        names.append(f"own_data_{len(names)}")
        (tmp_path / f"{names[-1]}.py").write_text(text)
        return names[-1]

    yield write
    sys.path[:] = path
    for name in names:
        sys.modules.pop(name, None)


def test_every_way_to_give_data_gives_the_same(tmp_path: Path, module: Callable[[str], str]) -> None:
    np.savez(tmp_path / "data.npz", **dict(zip(KEYS, GIVEN, strict=True)))
    np.savez_compressed(tmp_path / "packed.npz", **dict(zip(KEYS, GIVEN, strict=True)))
    name = module("import numpy as np\ndef load():\n    return dict(np.load('data.npz'))\n")
    first = prepare_dataset(None, data=GIVEN)
    others = [
        prepare_dataset(None, data=list(GIVEN)),
        prepare_dataset(None, data=dict(zip(KEYS, GIVEN, strict=True))),
        prepare_dataset(None, data=tuple(map(torch.from_numpy, GIVEN))),
        prepare_dataset(None, data=datasets()),
        prepare_dataset(None, data=(Items(*GIVEN[:2]), Items(*GIVEN[2:]))),
        prepare_dataset(None, tmp_path / "data.npz"),
        prepare_dataset("npz", tmp_path / "packed.npz"),
        prepare_dataset(f"{name}:load"),
    ]
    for other in others:
        assert content(other) == content(first)
    assert first.image_shape == (1, 6, 5)
    assert {other.name for other in others} == {"given", "npz", f"{name}:load"}


def test_the_arrays_are_kept_once_and_mapped(cache: Path) -> None:
    first = prepare_dataset(None, data=GIVEN)
    said: list[str] = []
    assert prepare_dataset(None, data=GIVEN, notify=said.append) == first
    assert said == []
    assert [path.name for path in (cache / "datasets").iterdir()] == [first.directory.name]
    assert isinstance(first.arrays("train")[0], np.memmap)


def test_other_values_labels_or_names_are_other_data() -> None:
    first = prepare_dataset(None, data=GIVEN)
    for x, y in ((X + 1, Y), (X, Y[::-1])):
        assert prepare_dataset(None, data=four(x, y, 5)).checksum != first.checksum
    assert prepare_dataset(None, data=four(X, np.array(["a", "b", "c"])[Y], 5)).classes == ("a", "b", "c")


def test_a_validation_part_is_part_of_the_checksum(tmp_path: Path) -> None:
    x_train, y_train, x_test, y_test = GIVEN
    split = prepare_dataset(None, data=(x_train[:10], y_train[:10], x_test, y_test, x_train[10:], y_train[10:]))
    assert split.validation_count == 5
    assert split.checksum != prepare_dataset(None, data=GIVEN).checksum
    np.savez(tmp_path / "d.npz", x_train=x_train[:10], y_train=y_train[:10], x_val=x_train[10:], y_val=y_train[10:],
             x_test=x_test, y_test=y_test)  # fmt: skip
    assert content(prepare_dataset(None, tmp_path / "d.npz")) == content(split)
    train, test = datasets()
    of_datasets = prepare_dataset(None, data=(TensorDataset(*train[:10]), test, TensorDataset(*train[10:])))
    assert content(of_datasets) == content(split)
    with pytest.raises(ConfigurationError, match="has a validation part of its own, of 5 examples; leave out one"):
        prepare_dataset(None, tmp_path / "d.npz", validation=0.2)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (GIVEN[:3], r"data: must be \(x_train, y_train, x_test, y_test\).* got 3 values: ndarray, ndarray, ndarray"),
        ((X, Y), "of torch Datasets; got 2 values"),
        ({"x_train": X, "y_train": Y}, "got x_train, y_train"),
        (X, "got ndarray"),
        ("cifar10", "got str"),
        ((Items(X, Y), X), "got 2 values: Items, ndarray"),
    ],
)
def test_what_is_no_data_is_refused(data: Any, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        prepare_dataset(None, data=data)


class Marker:
    """Pickles to a call that creates a folder."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return __import__("os").mkdir, (self.path,)


def test_no_pickle_in_a_file_is_loaded(tmp_path: Path) -> None:
    bad = np.empty(15, dtype=object)
    bad[:] = [Marker(str(tmp_path / "marker"))] * 15
    np.savez(tmp_path / "bad.npz", x_train=X[:15], y_train=bad, x_test=X[15:], y_test=Y[15:])
    (tmp_path / "plain.npz").write_bytes(pickle.dumps(Marker(str(tmp_path / "marker"))))
    with pytest.raises(ConfigurationError, match=r"y_train holds Python objects, .* pickle.*y_train.astype\(str\)"):
        prepare_dataset(None, tmp_path / "bad.npz")
    with pytest.raises(ConfigurationError, match=r"plain.npz: is not an .npz file, or damaged"):
        prepare_dataset(None, tmp_path / "plain.npz")
    assert not (tmp_path / "marker").exists()


def test_files_that_are_no_data_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "names.npz", X_train=X, y_train=Y, x_test=X, y_test=Y)
    with pytest.raises(ConfigurationError, match=r'lacks x_train. Did you mean "X_train"\? np.savez'):
        prepare_dataset(None, tmp_path / "names.npz")
    np.savez(tmp_path / "half.npz", x_train=X, y_train=Y, x_test=X, y_test=Y, x_val=X)
    with pytest.raises(ConfigurationError, match=r"half.npz: data: must be .*; got x_train, .*x_val"):
        prepare_dataset(None, tmp_path / "half.npz")
    np.save(tmp_path / "one.npy", X)
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(ConfigurationError, match="holds one array"):
        prepare_dataset(None, tmp_path / "one.npz")
    with pytest.raises(ConfigurationError, match=r"nowhere.npz does not exist"):
        prepare_dataset(None, tmp_path / "nowhere.npz")
    with pytest.raises(ConfigurationError, match=r"npz needs the file of the data: --data-dir FILE.npz"):
        prepare_dataset("npz")
    np.savez(tmp_path / "cut.npz", **dict(zip(KEYS, GIVEN, strict=True)))
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigurationError, match=r"cut.npz"):
        prepare_dataset(None, tmp_path / "cut.npz")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as file:
        for name in KEYS:
            file.writestr(f"{name}.npy", "no array")
    with pytest.raises(ConfigurationError, match=r"text.npz"):
        prepare_dataset(None, tmp_path / "text.npz")


def test_arrays_that_nothing_reads_are_named(tmp_path: Path) -> None:
    said: list[str] = []
    np.savez(tmp_path / "d.npz", **dict(zip(KEYS, GIVEN, strict=True)), mean=X.mean(0))
    prepare_dataset(None, tmp_path / "d.npz", notify=said.append)
    assert any("also holds mean, which nothing reads" in line for line in said)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def other(): pass", r'--dataset: cannot load "NAME:load": AttributeError'),
        ("load = 3", r'"NAME:load" is not a function, but int'),
        ("def load(): raise RuntimeError('no disk')", r"NAME:load\(\) failed: RuntimeError: no disk"),
        ("def load(): return 3", r"--dataset NAME:load: data: must be .*; got int"),
        ("raise OSError('at import')", r"cannot load .* at import"),
    ],
)
def test_a_function_that_gives_no_data_is_named(module: Callable[[str], str], text: str, reason: str) -> None:
    name = module(text)
    with pytest.raises(ConfigurationError, match=reason.replace("NAME", name)):
        prepare_dataset(f"{name}:load")
    with pytest.raises(ConfigurationError, match="leave out --data-dir"):
        prepare_dataset(f"{name}:load", Path("somewhere"))


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(zip(X, Y, strict=True))


class Odd(Dataset[Any]):
    """Gives what it is told to."""

    def __init__(self, *items: Any):
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> Any:
        item = self.items[place]
        if isinstance(item, Exception):
            raise item
        return item


GOOD = (torch.zeros(1, 4, 4), 0)


@pytest.mark.parametrize(
    ("train", "reason"),
    [
        (Stream(), "the training Dataset: Stream has no length and no items by number, as an IterableDataset"),
        (DataLoader(TensorDataset(torch.zeros(4, 2))), "is a DataLoader; give the Dataset .*: loader.dataset"),
        (Odd(), "has no items"),
        (Odd(torch.zeros(3)), r"its items must be \(input, label\), item 0 is a Tensor"),
        (Odd((1, 2, 3)), "item 0 is a tuple of 3"),
        (Odd(("a", 1)), "the input of item 0 is not an array of numbers but str"),
        (Odd((3.0, 1)), "the input of item 0 is not an array of numbers but float"),
        (Odd(GOOD, KeyError("lost")), "item 1 cannot be read: KeyError"),
        (Odd(GOOD, (torch.zeros(1, 4, 5), 1)), r"item 1 is float32 of shape \(1, 4, 5\), item 0 float32 of"),
        (Odd((torch.zeros(1, 4, 4), 0.5), (torch.zeros(1, 4, 4), 1.5)), "y_train: the target is a float"),
        (Odd((torch.zeros(1, 4, 4), torch.zeros(2)), GOOD), "y_train"),
    ],
)  # fmt: skip
def test_a_dataset_that_cannot_be_read_is_refused(train: Any, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        prepare_dataset(None, data=(train, Odd(GOOD, (torch.zeros(1, 4, 4), 1))))


class Random(Items):
    def __getitem__(self, place: int) -> tuple[Any, Any]:
        return self.x[place] + torch.rand(()), self.y[place]


def test_a_random_transform_is_warned_of_and_others_are_not() -> None:
    said: list[str] = []
    tables = torch.zeros(15, 3), torch.zeros(5, 3)
    random = Random(tables[0], GIVEN[1]), Items(tables[1], GIVEN[3])
    with pytest.warns(UserWarning, match=r"the training Dataset gives other inputs.*\[training\] augment") as caught:
        prepare_dataset(None, data=random, notify=said.append)
    assert len(caught) == 1  # none of the test Dataset
    assert any("15 items of the training Dataset once, in this process" in line for line in said)
