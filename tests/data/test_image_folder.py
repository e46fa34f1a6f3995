"""An image folder decodes to what Pillow reads, once, and again when its files change."""

import multiprocessing
import os
import shutil
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evo.data import decoding, image_folder, prepare_dataset
from evo.data.image_folder import image_folder_source
from evo.data.splits import split_of
from evo.errors import ConfigurationError

Tree = Callable[..., Path]


def pillow(path: Path, size: int = 32) -> np.ndarray:
    image = Image.open(path)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
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


def decode_in_two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "PARALLEL_FROM", 0)
    monkeypatch.setattr(decoding, "BATCH_IMAGES", 3)
    monkeypatch.setattr(decoding, "usable_cores", lambda: 2)


def test_many_processes_decode_what_one_does(make_tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = prepare_dataset("imagefolder", make_tree("alone", count=8))
    decode_in_two_processes(monkeypatch)
    lines: list[str] = []
    together = prepare_dataset("imagefolder", make_tree("together", count=8), notify=lines.append)
    assert "2 processes" in lines[0]
    assert together.checksum == alone.checksum
    assert together.directory != alone.directory


def test_an_unreadable_image_found_by_a_process_is_named(
    make_tree: Tree, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    decode_in_two_processes(monkeypatch)
    tree = make_tree()
    (tree / "test" / "dog" / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(ConfigurationError, match=r"dog/bad\.jpg"):
        prepare_dataset("imagefolder", tree)
    assert list((cache / "datasets").iterdir()) == []


def test_what_a_killed_process_leaves_is_decoded_here(make_tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    start = decoding._start

    def start_and_kill(number: int) -> tuple[Connection, BaseProcess]:
        connection, process = start(number)
        if number == 1:
            process.kill()
        return connection, process

    decode_in_two_processes(monkeypatch)
    monkeypatch.setattr(decoding, "_start", start_and_kill)
    tree = make_tree(count=8)
    assert np.array_equal(prepare_dataset("imagefolder", tree).arrays("train")[0], expected(tree, "train")[0])
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("decoder")]


def test_a_worker_that_may_start_no_processes_decodes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    decode_in_two_processes(monkeypatch)
    images = [decoding.ListedImage("image.png", 0, 100)] * 6
    assert decoding.useful_processes(images, 2) == 2
    monkeypatch.setattr(multiprocessing.current_process(), "_config", {"daemon": True})
    assert decoding.useful_processes(images, 2) == 1


def test_few_large_images_are_worth_processes_and_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "usable_cores", lambda: 4)
    images = [decoding.ListedImage(f"{number}.jpg", 0, 3_000_000) for number in range(50)]
    batches = decoding.batches_of({"train": images[:40], "test": images[40:]}, 32, Path())
    assert [path for batch in batches for path in batch.paths] == [image.path for image in images]
    assert max(len(batch.paths) for batch in batches) == 1
    assert [batch.start for batch in batches] == [*range(40), *range(10)]
    assert decoding.useful_processes(images, len(batches)) == 4


def test_the_second_opening_does_not_decode(make_tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = make_tree()
    lines: list[str] = []
    first = prepare_dataset("imagefolder", tree, notify=lines.append)
    assert [line.split()[0] for line in lines] == ["Decoding", "Decoded"]
    lines.clear()

    def refuse(path: str, size: int) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(decoding, "decode_image", refuse)
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
    with pytest.raises(ConfigurationError, match=r"class folder .*test/dog has no images"):
        prepare_dataset("imagefolder", tree)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n\x00\x00", None])
def test_an_unreadable_image_is_named(make_tree: Tree, content: bytes | None, cache: Path) -> None:
    tree = make_tree()
    path = tree / "train" / "dog" / "0001.png"
    path.write_bytes(path.read_bytes()[:200] if content is None else content)
    with pytest.raises(
        ConfigurationError, match=r"cannot use 1 of 12 images in .*\n  - train/dog/0001\.png: .*\n.*remov"
    ):
        prepare_dataset("imagefolder", tree)
    assert list((cache / "datasets").iterdir()) == []


@pytest.mark.parametrize("processes", [1, 2])
def test_all_unusable_images_are_named_at_once(
    make_tree: Tree, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    if processes == 2:
        decode_in_two_processes(monkeypatch)
    tree = make_tree(count=30)
    bad = [path for part in ("train", "test") for path in sorted((tree / part / "cat").iterdir())[:20]]
    for path in bad:
        path.write_bytes(b"no image")
    Image.new("F", (32, 32)).save(tree / "test" / "cat" / "00 float.tif")
    with pytest.raises(ConfigurationError) as caught:
        prepare_dataset("imagefolder", tree)
    first, *named, last, remedy = str(caught.value).splitlines()
    assert first.startswith("cannot use 41 of 121 images")
    assert len(named) == image_folder.MOST_NAMED
    assert "test/cat/00 float.tif" in named[0]
    assert "mode F" in named[0]
    assert last == "  - … and 21 more"
    assert "replace these files, or remove them" in remedy


def make_link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def make_broken_link(path: Path) -> None:
    path.symlink_to("nowhere.png")


@pytest.mark.usefixtures("never_hangs")
@pytest.mark.parametrize("make", [os.mkfifo, make_broken_link, make_link_to_itself])
def test_what_is_called_an_image_and_is_no_file_is_named_and_never_opened(
    make_tree: Tree, make: Callable[[Path], None]
) -> None:
    tree = make_tree()
    for part in ("train", "test"):
        make(tree / part / "dog" / "pipe.png")
    with pytest.raises(ConfigurationError, match=r"train/dog/pipe\.png: it is a") as caught:
        prepare_dataset("imagefolder", tree)
    assert "test/dog/pipe.png" in str(caught.value)


def test_a_class_that_is_a_broken_link_is_named(make_tree: Tree) -> None:
    tree = make_tree()
    (tree / "train" / "bird").symlink_to("nowhere")
    with pytest.raises(ConfigurationError, match=r"class folder .*bird: it is a link that leads nowhere"):
        prepare_dataset("imagefolder", tree)


def test_what_is_left_out_is_said(make_tree: Tree) -> None:
    tree, lines = make_tree(), []
    (tree / "train" / "cat" / "more.png").mkdir()
    for name in ("a.gif", "b.GIF", "notes"):
        (tree / "test" / "dog" / name).write_bytes(b"")
    assert prepare_dataset("imagefolder", tree, notify=lines.append).train_count == 6
    [note] = [line for line in lines if "left out" in line]
    assert note.endswith("2 × .gif, 1 × folder, 1 × no extension")


def test_names_that_are_not_utf8_or_hold_control_characters_are_escaped(make_tree: Tree) -> None:
    tree = make_tree()
    names = {"cat": b"caf\xe9\n", "dog": b"\x1b[31mred\xe2\x80\xae"}
    for part in ("train", "test"):
        for plain, strange in names.items():
            os.rename(tree / part / plain, os.path.join(os.fsencode(tree / part), strange))
    dataset = prepare_dataset("imagefolder", tree)
    assert dataset.classes == ("\\x1b[31mred\\u202e", "caf\\udce9\\n")
    assert all(name.isascii() and name.isprintable() for name in dataset.classes)
    assert prepare_dataset("imagefolder", tree) == dataset
    with open(os.path.join(os.fsencode(tree), b"test", names["cat"], b"\xff\x1b.png"), "wb"):
        pass
    with pytest.raises(ConfigurationError, match=r"test/caf\\udce9\\n/\\udcff\\x1b\.png: the file is empty"):
        prepare_dataset("imagefolder", tree)


def test_classes_with_the_same_escaped_name_are_refused(make_tree: Tree) -> None:
    with pytest.raises(ConfigurationError, match=r"several classes are shown as a\\x1b; rename"):
        prepare_dataset("imagefolder", make_tree(classes=("a\x1b", "a\\x1b")))


@pytest.mark.parametrize("name", [b"d\xe9", b"d\x1b"])
def test_a_data_folder_whose_path_no_run_could_record_is_refused(make_tree: Tree, name: bytes, tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))
    make_tree().rename(folder)
    with pytest.raises(ConfigurationError, match=r"not UTF-8, or control characters.*rename the folder"):
        prepare_dataset("imagefolder", folder)


def test_16_bit_images_that_would_be_almost_black_are_refused(make_tree: Tree) -> None:
    tree = make_tree()
    values = np.arange(1024, dtype=np.uint16).reshape(32, 32) * 4
    Image.fromarray(values).save(tree / "train" / "cat" / "deep.png")
    with pytest.raises(ConfigurationError, match=r"16-bit images .* almost black: .* 6\.2% .*\nscale their values"):
        prepare_dataset("imagefolder", tree)
    Image.fromarray(values * 16).save(tree / "test" / "dog" / "deep.png")  # others use the range: these are dark
    assert prepare_dataset("imagefolder", tree).train_count == 7


def test_listing_decodes_nothing(make_tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "decode_image", None)
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


def test_decoding_says_how_far_it_is_and_what_is_raised_then_ends_it(
    make_tree: Callable[..., Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = make_tree()
    monkeypatch.setattr("evo.data.image_folder.PROGRESS_SECONDS", 0.0)

    class EnoughError(Exception):
        pass

    said: list[str] = []

    def notify(line: str) -> None:
        said.append(line)
        if line.startswith("Decoded") and " of " in line:
            raise EnoughError

    with pytest.raises(EnoughError):
        prepare_dataset("imagefolder", tree, image_size=32, notify=notify)
    assert any(line.startswith("Decoded") for line in said)
    prepare_dataset("imagefolder", tree, image_size=32)


def add_validation(tree: Path, make_tree: Tree, classes: tuple[str, ...] = ("cat", "dog")) -> None:
    """Give a tree a `val/` that holds what the `test/` of another tree does."""
    other = make_tree("other", classes=classes, count=2)
    (other / "test").rename(tree / "val")


def test_the_validation_part_of_a_tree_is_used(make_tree: Tree) -> None:
    tree = make_tree()
    before = prepare_dataset("imagefolder", tree)
    add_validation(tree, make_tree)
    found = prepare_dataset("imagefolder", tree)
    images, labels = found.arrays("train")
    assert (found.train_count, found.validation_count, found.test_count) == (10, 4, 6)
    assert np.array_equal(images[:6], before.arrays("train")[0])
    assert np.array_equal(images[6:], expected(tree, "val")[0])
    assert labels[6:].tolist() == [0, 0, 1, 1]
    assert [part.tolist() for part in split_of(found, labels)] == [list(range(6)), list(range(6, 10))]
    assert found.checksum != before.checksum
    with pytest.raises(ConfigurationError, match="has a validation part of its own, of 4 examples"):
        prepare_dataset("imagefolder", tree, validation=0.2)


def test_a_validation_part_may_lack_classes_and_has_no_others(make_tree: Tree) -> None:
    tree = make_tree()
    add_validation(tree, make_tree, ("dog",))
    found = prepare_dataset("imagefolder", tree)
    assert found.arrays("train")[1][6:].tolist() == [1, 1]
    (tree / "val" / "dog").rename(tree / "val" / "fox")
    with pytest.raises(ConfigurationError, match=r"classes in val/ that train/ lacks: fox"):
        prepare_dataset("imagefolder", tree)


def test_older_runs_do_not_see_it(make_tree: Tree) -> None:
    tree = make_tree()
    before = prepare_dataset("imagefolder", tree)
    add_validation(tree, make_tree)
    again = prepare_dataset("imagefolder", tree, with_validation=False)
    assert (again.checksum, again.validation_count, again.directory) == (before.checksum, 0, before.directory)
