"""Image folders: `train/<class>/<image>` and `test/<class>/<image>`, decoded by Pillow on every core."""

from __future__ import annotations

import functools
import hashlib
import itertools
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from evo.data.cache import PARTS, Notify, Part, Source, open_array
from evo.errors import ConfigurationError
from evo.processes import deaf_to_interrupts, usable_cores, without_main

# The extensions that torchvision's ImageFolder reads, with the names of their formats.
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".ppm": "PPM", ".bmp": "BMP"}
FORMATS |= {".pgm": "PGM", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WebP"}

# Starting the processes takes about as long as decoding this many small images.
PARALLEL_FROM = 2000
IMAGES_PER_TASK = 500

Fact = TypeVar("Fact", str, tuple[str, int, int])

LAYOUT = "expected train/<class>/<image> and test/<class>/<image>"


def image_folder_source(data_dir: Path, image_size: int) -> Source:
    """Describe an image folder; lists every file and decodes none.

    Args:
        data_dir: Holds `train/` and `test/`, with the same classes. Names that begin with a dot are ignored.
        image_size: Side of the decoded images in pixels; images of another size are resized, bilinearly.

    Returns:
        RGB images of shape `(3, image_size, image_size)`, sorted by class and then by file name.

    Raises:
        ConfigurationError: A folder is missing, the classes of train and test differ, or a class is empty.
    """
    root = data_dir.expanduser().resolve()
    classes = {part: _class_names(root, part) for part in PARTS}
    _check_same_classes(root, classes)
    names = classes["train"]
    fingerprint = hashlib.sha256()
    images: dict[Part, list[tuple[str, int]]] = {part: [] for part in PARTS}
    formats: set[str] = set()
    for part, (label, name) in itertools.product(PARTS, enumerate(names)):
        folder = root / part / name
        found = _list_images(folder)
        if not found:
            raise ConfigurationError(
                f"class folder {folder} has no images; {LAYOUT} "
                f"({', '.join(FORMATS)}), and no further folders below a class"
            )
        lines = [f"{part}/{name}/{file}\0{size}\0{modified}\n" for file, size, modified in found]
        fingerprint.update("".join(lines).encode("utf-8", "surrogateescape"))
        formats.update(FORMATS[_extension(file)] for file, _, _ in found)
        images[part] += [(f"{folder}/{file}", label) for file, _, _ in found]
    return Source(
        name="imagefolder",
        identity=f"{root}\0{image_size}",
        fingerprint=fingerprint.hexdigest(),
        classes=tuple(names),
        image_shape=(3, image_size, image_size),
        counts={part: len(images[part]) for part in PARTS},
        variant=f"image folder, {' and '.join(sorted(formats))}",
        origin=str(root),
        decode=functools.partial(_decode, images, image_size, root),
    )


def decode_image(path: str, image_size: int) -> npt.NDArray[np.uint8]:
    """Decode one image to RGB, and resize it if it has another size.

    Args:
        path: An image file.
        image_size: Side of the result in pixels.

    Returns:
        Levels of shape `(3, image_size, image_size)`.

    Raises:
        ConfigurationError: Pillow cannot read the file.
    """
    try:
        with Image.open(path) as image:
            pixels = image.convert("RGB")
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise SyntaxError, struct.error and more on damaged files
        raise ConfigurationError(
            f"cannot read image {path}: {error}\nreplace the file, or remove it from the data folder"
        ) from error
    if pixels.size != (image_size, image_size):
        pixels = pixels.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(pixels, dtype=np.uint8).transpose(2, 0, 1)


def _class_names(root: Path, part: Part) -> list[str]:
    folder = root / part
    if not root.is_dir():
        raise ConfigurationError(f"data folder {root} does not exist or is not a folder; {LAYOUT}")
    if not folder.is_dir():
        raise ConfigurationError(f"data folder {root} has no {part}/ folder; {LAYOUT}")
    names = _listed(folder, lambda entry: entry.name if entry.is_dir() else None)
    if not names:
        raise ConfigurationError(f"{folder} has no class folders; {LAYOUT}")
    return names


def _check_same_classes(root: Path, classes: dict[Part, list[str]]) -> None:
    train, test = set(classes["train"]), set(classes["test"])
    only = {"train": sorted(train - test), "test": sorted(test - train)}
    lines = [f"only in {part}/: {', '.join(names)}" for part, names in only.items() if names]
    if lines:
        heading = f"data folder {root} has different classes in train/ and test/"
        raise ConfigurationError(
            "\n".join([heading, *lines, "give both parts one folder per class, with the same names"])
        )


def _list_images(folder: Path) -> list[tuple[str, int, int]]:
    """Return name, size in bytes and modification time in nanoseconds of every image, sorted by name."""

    def fact(entry: os.DirEntry[str]) -> tuple[str, int, int] | None:
        if _extension(entry.name) not in FORMATS or not entry.is_file():
            return None
        return entry.name, entry.stat().st_size, entry.stat().st_mtime_ns

    return _listed(folder, fact)


def _listed(folder: Path, fact: Callable[[os.DirEntry[str]], Fact | None]) -> list[Fact]:
    """Return a fact of every entry of a folder that has one, sorted."""
    try:
        with os.scandir(folder) as entries:
            # ".ipynb_checkpoints" is not a class, and "._0001.jpg" (macOS's attributes) is not an image.
            facts = [fact(entry) for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise ConfigurationError(f"cannot list {folder}: {error}") from error
    return sorted(found for found in facts if found is not None)


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _decode(
    images: dict[Part, list[tuple[str, int]]], image_size: int, root: Path, directory: Path, notify: Notify
) -> None:
    tasks: list[tuple[Path, Part, int, list[str], int]] = []
    for part, listed in images.items():
        open_array(directory, part, "labels", "r+")[:] = [label for _, label in listed]
        for start in range(0, len(listed), IMAGES_PER_TASK):
            paths = [path for path, _ in listed[start : start + IMAGES_PER_TASK]]
            tasks.append((directory, part, start, paths, image_size))
    count = sum(map(len, images.values()))
    processes = min(usable_cores(), len(tasks)) if count > PARALLEL_FROM else 1
    noun = "process" if processes == 1 else "processes"
    notify(f"Decoding {count:,} images in {root} ({processes} {noun})")
    if processes > 1:
        try:
            _decode_in_processes(tasks, processes)
            return
        except BrokenProcessPool:
            notify("the decoding processes ended early; decoding in this process")
    for task in tasks:
        _decode_task(*task)


def _decode_in_processes(tasks: Sequence[tuple[Any, ...]], processes: int) -> None:
    # Spawned, not forked: the caller may have threads (torch's), and a fork would copy locks that they hold.
    pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
    try:
        with without_main(), deaf_to_interrupts():
            futures = [pool.submit(_decode_task, *task) for task in tasks]
        for future in as_completed(futures):
            future.result()
    finally:
        # After an unreadable image or Ctrl-C the rest is not worth decoding.
        pool.shutdown(cancel_futures=True)


def _decode_task(directory: Path, part: Part, start: int, paths: list[str], image_size: int) -> None:
    """Decode some images directly into the array on disk: no pixels travel between processes."""
    array = open_array(directory, part, "images", "r+")
    for index, path in enumerate(paths, start):
        array[index] = decode_image(path, image_size)
