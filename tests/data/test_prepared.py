"""A dataset is found by its name or its folder, and a mistake in either is explained."""

from collections.abc import Callable
from pathlib import Path

import pytest

from evo.data import detect_dataset, prepare_dataset
from evo.data.cifar10 import ARCHIVE, FOLDER
from evo.data.prepared import SOURCES
from evo.errors import ConfigurationError
from evo.names import DATASETS

Tree = Callable[..., Path]


def test_every_name_has_its_dataset() -> None:
    assert tuple(SOURCES) == DATASETS


def test_an_image_tree_is_detected(make_tree: Tree) -> None:
    tree = make_tree()
    assert detect_dataset(tree) == "imagefolder"
    assert prepare_dataset(None, tree) == prepare_dataset("imagefolder", tree)


def test_cifar10_is_detected_by_its_folder_or_its_archive(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / FOLDER).mkdir()
    (tmp_path / "b" / ARCHIVE).write_bytes(b"")
    assert detect_dataset(tmp_path / "a") == detect_dataset(tmp_path / "b") == "cifar10"


def test_a_folder_without_a_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="empty holds no dataset; expected train/<class>"):
        prepare_dataset(None, tmp_path / "empty")
    with pytest.raises(ConfigurationError, match="nowhere does not exist"):
        prepare_dataset(None, tmp_path / "nowhere")


@pytest.mark.parametrize("name", [None, "imagefolder", "cifar10"])
def test_the_parent_of_a_tree_gets_a_suggestion(make_tree: Tree, tmp_path: Path, name: str | None) -> None:
    tree = make_tree("parent/cifar10")
    with pytest.raises(ConfigurationError) as caught:
        prepare_dataset(name, tmp_path / "parent")
    assert f"did you mean --dataset imagefolder --data-dir {tree}?" in str(caught.value)


@pytest.mark.parametrize("name", [None, "imagefolder"])
def test_one_part_of_a_tree_gets_a_suggestion(make_tree: Tree, name: str | None) -> None:
    tree = make_tree()
    with pytest.raises(ConfigurationError) as caught:
        prepare_dataset(name, tree / "train")
    assert f"--data-dir {tree}?" in str(caught.value)


@pytest.mark.parametrize("name", [None, "cifar10"])
def test_the_batches_folder_itself_gets_a_suggestion(tmp_path: Path, name: str | None) -> None:
    (tmp_path / FOLDER).mkdir()
    with pytest.raises(ConfigurationError) as caught:
        prepare_dataset(name, tmp_path / FOLDER)
    assert f"--dataset cifar10 --data-dir {tmp_path}?" in str(caught.value)


def test_cifar10_in_an_image_tree_is_refused(make_tree: Tree) -> None:
    with pytest.raises(ConfigurationError, match=r"holds an image folder.*not cifar10; use --dataset imagefolder"):
        prepare_dataset("cifar10", make_tree())


def test_an_image_tree_in_cifar10_is_refused(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    with pytest.raises(ConfigurationError, match=r"holds cifar10.*not imagefolder; use --dataset cifar10"):
        prepare_dataset("imagefolder", tmp_path)


def test_an_image_tree_beside_cifar10_can_be_asked_for(make_tree: Tree) -> None:
    tree = make_tree()
    (tree / FOLDER).mkdir()
    assert prepare_dataset("imagefolder", tree).name == "imagefolder"


def test_an_unknown_name_gets_a_suggestion_and_the_list() -> None:
    with pytest.raises(ConfigurationError) as caught:
        prepare_dataset("cifar-10")
    message = str(caught.value)
    assert 'unknown dataset "cifar-10"' in message
    assert 'Did you mean "cifar10"?' in message
    assert all(name in message for name in DATASETS)


def test_no_name_and_no_folder_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no dataset given"):
        prepare_dataset(None)


def test_imagefolder_needs_a_folder() -> None:
    with pytest.raises(ConfigurationError, match="imagefolder needs a data folder"):
        prepare_dataset("imagefolder")


def test_image_size_is_checked(make_tree: Tree) -> None:
    with pytest.raises(ConfigurationError, match="at least 1 pixel, got 0"):
        prepare_dataset("imagefolder", make_tree(), image_size=0)
    with pytest.raises(ConfigurationError, match="image_size is for imagefolder"):
        prepare_dataset("digits", image_size=16)
