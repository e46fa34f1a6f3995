"""An image folder decodes to what Pillow reads, once, and again when its files change."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evo.data import image_folder, prepare_dataset
from evo.data.image_folder import image_folder_source
from evo.errors import ConfigurationError

Tree = Callable[..., Path]


def pillow(path: Path, size: int = 32) -> np.ndarray:
    image = Image.open(path).convert("RGB")
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


def expected(tree: Path, part: str, size: int = 32) -> tuple[np.ndarray, list[int]]:
    classes = sorted(path.name for path in (tree / part).iterdir())
    paths = [path for name in classes for path in sorted((tree / part / name).iterdir())]
    return np.stack([pillow(path, size) for path in paths]), [classes.index(path.parent.name) for path in paths]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_decoding_equals_pillow(make_tree: Tree, suffix: str) -> None:
    tree = make_tree(classes=("dog", "cat", "bird"), suffix=suffix)
    dataset = prepare_dataset("imagefolder", tree)
    assert dataset.classes == ("bird", "cat", "dog")
    for part in ("train", "test"):
        images, labels = dataset.arrays(part)
        pixels, classes = expected(tree, part)
        assert np.array_equal(images, pixels)
        assert labels.tolist() == classes
    assert dataset.image_shape == (3, 32, 32)
    assert (dataset.train_count, dataset.test_count) == (9, 9)
    assert dataset.source == str(tree)


def test_other_sizes_and_modes_are_converted(make_tree: Tree) -> None:
    tree = make_tree()
    Image.fromarray(np.arange(40 * 20, dtype=np.uint16).astype(np.uint8).reshape(40, 20)).save(
        tree / "train" / "cat" / "grey.png"
    )
    Image.new("RGBA", (7, 90), (1, 2, 3, 4)).save(tree / "test" / "dog" / "alpha.png")
    for size in (32, 16):
        dataset = prepare_dataset("imagefolder", tree, image_size=size)
        assert dataset.image_shape == (3, size, size)
        for part in ("train", "test"):
            assert np.array_equal(dataset.arrays(part)[0], expected(tree, part, size)[0])


def test_the_variant_names_the_formats(make_tree: Tree) -> None:
    tree = make_tree(suffix=".jpg")
    assert prepare_dataset("imagefolder", tree).variant == "image folder, JPEG"
    Image.new("RGB", (32, 32)).save(tree / "train" / "cat" / "more.PNG")
    assert prepare_dataset("imagefolder", tree).variant == "image folder, JPEG and PNG"


def test_many_processes_decode_what_one_does(make_tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = prepare_dataset("imagefolder", make_tree("alone", count=8))
    monkeypatch.setattr(image_folder, "PARALLEL_FROM", 0)
    monkeypatch.setattr(image_folder, "IMAGES_PER_TASK", 3)
    monkeypatch.setattr(image_folder, "usable_cores", lambda: 2)
    lines: list[str] = []
    together = prepare_dataset("imagefolder", make_tree("together", count=8), notify=lines.append)
    assert "2 processes" in lines[0]
    assert together.checksum == alone.checksum
    assert together.directory != alone.directory


def test_an_unreadable_image_found_by_a_process_is_named(
    make_tree: Tree, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setattr(image_folder, "PARALLEL_FROM", 0)
    monkeypatch.setattr(image_folder, "IMAGES_PER_TASK", 3)
    monkeypatch.setattr(image_folder, "usable_cores", lambda: 2)
    tree = make_tree()
    (tree / "test" / "dog" / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(ConfigurationError, match=r"dog/bad\.jpg"):
        prepare_dataset("imagefolder", tree)
    assert list((cache / "datasets").iterdir()) == []


def test_processes_that_cannot_start_are_done_without(make_tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(tasks: object, processes: int) -> None:
        raise image_folder.BrokenProcessPool

    monkeypatch.setattr(image_folder, "PARALLEL_FROM", 0)
    monkeypatch.setattr(image_folder, "IMAGES_PER_TASK", 3)
    monkeypatch.setattr(image_folder, "usable_cores", lambda: 2)
    monkeypatch.setattr(image_folder, "_decode_in_processes", broken)
    tree = make_tree()
    assert np.array_equal(prepare_dataset("imagefolder", tree).arrays("train")[0], expected(tree, "train")[0])


def test_the_second_opening_does_not_decode(make_tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = make_tree()
    lines: list[str] = []
    first = prepare_dataset("imagefolder", tree, notify=lines.append)
    assert [line.split()[0] for line in lines] == ["Decoding", "Decoded"]
    lines.clear()

    def refuse(path: str, size: int) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(image_folder, "decode_image", refuse)
    assert prepare_dataset("imagefolder", tree, notify=lines.append) == first
    assert lines == []


def test_the_same_folder_by_another_path_is_the_same_entry(make_tree: Tree, tmp_path: Path) -> None:
    tree = make_tree()
    (tmp_path / "link").symlink_to(tree)
    direct, by_link = prepare_dataset("imagefolder", tree), prepare_dataset("imagefolder", tmp_path / "link")
    assert by_link.directory == direct.directory


def change_pixels(tree: Path) -> None:
    Image.new("RGB", (32, 32), (9, 9, 9)).save(tree / "train" / "cat" / "0001.png")


def change_bytes_but_neither_size_nor_count(tree: Path) -> None:
    # Two images of the same size change places; only the modification times tell.
    first, second = tree / "train" / "cat" / "0000.bmp", tree / "train" / "cat" / "0001.bmp"
    one, other = first.read_bytes(), second.read_bytes()
    assert len(one) == len(other)
    first.write_bytes(other)
    second.write_bytes(one)
    for path in (first, second):
        os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))


def add_image(tree: Path) -> None:
    Image.new("RGB", (32, 32)).save(tree / "test" / "dog" / "9999.png")


def remove_image(tree: Path) -> None:
    next((tree / "test" / "dog").iterdir()).unlink()


@pytest.mark.parametrize(
    ("change", "suffix"),
    [
        (change_pixels, ".png"),
        (change_bytes_but_neither_size_nor_count, ".bmp"),
        (add_image, ".png"),
        (remove_image, ".png"),
    ],
)
def test_a_changed_tree_is_decoded_again(make_tree: Tree, change: Callable[[Path], None], suffix: str) -> None:
    tree = make_tree(suffix=suffix)
    before = prepare_dataset("imagefolder", tree)
    change(tree)
    lines: list[str] = []
    after = prepare_dataset("imagefolder", tree, notify=lines.append)
    assert "has changed" in lines[0]
    assert after.checksum != before.checksum
    for part in ("train", "test"):
        assert np.array_equal(after.arrays(part)[0], expected(tree, part)[0])


def test_hidden_and_other_files_are_passed_over(make_tree: Tree) -> None:
    tree = make_tree()
    (tree / "train" / ".ipynb_checkpoints").mkdir()
    (tree / "train" / "cat" / "._0001.png").write_bytes(b"attributes")
    (tree / "train" / "cat" / "notes.txt").write_text("a note")
    (tree / "train" / "README").write_text("a note")
    dataset = prepare_dataset("imagefolder", tree)
    assert dataset.classes == ("cat", "dog")
    assert dataset.train_count == 6


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_missing_part_is_named(make_tree: Tree, part: str) -> None:
    tree = make_tree()
    shutil.rmtree(tree / part)
    with pytest.raises(ConfigurationError, match=rf"has no {part}/ folder; expected train/<class>/<image> and"):
        prepare_dataset("imagefolder", tree)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere does not exist"):
        prepare_dataset("imagefolder", tmp_path / "nowhere")


def test_classes_of_one_part_only_are_named(make_tree: Tree) -> None:
    tree = make_tree()
    (tree / "test" / "dog").rename(tree / "test" / "hound")
    with pytest.raises(ConfigurationError, match=r"only in train/: dog\nonly in test/: hound"):
        prepare_dataset("imagefolder", tree)


def test_no_classes_is_an_error(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / "tree" / part).mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="has no class folders"):
        prepare_dataset("imagefolder", tmp_path / "tree")


def test_an_empty_class_is_named(make_tree: Tree) -> None:
    tree = make_tree()
    for path in (tree / "test" / "dog").iterdir():
        path.unlink()
    with pytest.raises(ConfigurationError, match=r"test/dog has no images"):
        prepare_dataset("imagefolder", tree)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n\x00\x00", None])
def test_an_unreadable_image_is_named(make_tree: Tree, content: bytes | None, cache: Path) -> None:
    tree = make_tree()
    path = tree / "train" / "dog" / "0001.png"
    path.write_bytes(path.read_bytes()[:200] if content is None else content)
    with pytest.raises(ConfigurationError, match=r"cannot read image .*dog/0001\.png"):
        prepare_dataset("imagefolder", tree)
    assert list((cache / "datasets").iterdir()) == []


def test_listing_decodes_nothing(make_tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folder, "decode_image", None)
    assert image_folder_source(make_tree(), 32).counts == {"train": 6, "test": 6}


@pytest.mark.slow
def test_all_of_cifar10_as_images(tmp_path: Path) -> None:
    tree = os.environ.get("EVO_TEST_CIFAR10_TREE")
    if not tree:
        pytest.skip("EVO_TEST_CIFAR10_TREE does not name a tree with train/ and test/")
    dataset = prepare_dataset(None, Path(tree))
    images, labels = dataset.arrays("train")
    assert (dataset.train_count, dataset.test_count) == (50_000, 10_000)
    assert np.array_equal(np.bincount(labels), [5000] * 10)
    classes = dataset.classes
    for index in (0, 12_345, 49_999):
        folder = Path(tree) / "train" / classes[labels[index]]
        assert np.array_equal(images[index], pillow(sorted(folder.iterdir())[index % 5000]))
