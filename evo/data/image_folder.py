"""Image folders: `train/<class>/<image>`, `test/<class>/<image>` and perhaps `val/`, listed and checked.

Pillow decodes them.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import stat
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from evo.data.cache import PARTS, Notify, Part, Source, open_array
from evo.data.decoding import ListedImage, batches_of, decode_batches, useful_processes
from evo.errors import ConfigurationError, listed
from evo.places import with_home
from evo.plain_text import escaped

# The extensions that torchvision's ImageFolder reads, with the names of their formats.
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".ppm": "PPM", ".bmp": "BMP"}
FORMATS |= {".pgm": "PGM", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WebP"}

PROGRESS_SECONDS = 5.0
"""How often the decoding of many images says how far it is."""
MOST_NAMED = 20
"""How many files an error names."""
DARK = 0.25
"""16-bit images without a brighter value than this share of the range have 14 bits or fewer: a scale of their own."""

LEADS_NOWHERE = "it is a link that leads nowhere"

Fact = TypeVar("Fact", str, tuple[str, int, int])

VALIDATION = "val"
"""The folder of the validation part, which need not be there."""
LAYOUT = "expected train/<class>/<image> and test/<class>/<image>"


@dataclass
class _Found:
    """What class folders hold.

    Attributes:
        images: Of each part, in their order.
        problems: Why files that are called images cannot be read, by their paths.
        passed_over: How many entries have no image's name, by what they are.
    """

    images: dict[Part, list[ListedImage]] = field(default_factory=lambda: {part: [] for part in PARTS})
    problems: dict[str, str] = field(default_factory=dict)
    passed_over: Counter[str] = field(default_factory=Counter)


def image_folder_source(data_dir: Path, image_size: int, *, with_validation: bool = True) -> Source:
    """Describe an image folder; lists every file and decodes none.

    Args:
        data_dir: Holds `train/` and `test/`, with the same classes, and perhaps `val/` with some of them. Names that
            begin with a dot are ignored.
        image_size: Side of the decoded images in pixels; images of another size are resized, bilinearly.
        with_validation: Whether `val/` is the validation part; before there was one, it was ignored.

    Returns:
        RGB images of shape `(3, image_size, image_size)`, sorted by class and then by file name; those of `val/` follow
        the training images.

    Raises:
        ConfigurationError: A folder is missing, the classes of train and test differ, or a class is empty.
    """
    root = with_home(data_dir).resolve()
    classes = {part: _class_names(root, part) for part in PARTS}
    _check_same_classes(root, classes)
    names = classes["train"]
    has_validation = with_validation and (root / VALIDATION).is_dir()
    own = _validation_classes(root, names) if has_validation else []
    shown = _shown_names(root, names)
    fingerprint = hashlib.sha256()
    found = _Found()
    formats: set[str] = set()
    empty: list[Path] = []
    validation = 0
    folders = [*itertools.product(PARTS, enumerate(names)), *((VALIDATION, entry) for entry in own)]
    for part, (label, name) in folders:
        folder = root / part / name
        files = _list_images(folder, found)
        if not files:
            empty.append(folder)
        lines = [f"{part}/{name}/{file}\0{size}\0{modified}\n" for file, size, modified in files]
        fingerprint.update("".join(lines).encode("utf-8", "surrogateescape"))
        formats.update(FORMATS[_extension(file)] for file, _, _ in files)
        listed_files = [ListedImage(f"{folder}/{file}", label, size) for file, size, _ in files]
        found.images["test" if part == "test" else "train"] += listed_files
        validation += len(listed_files) if part == VALIDATION else 0
    counts = {part: len(images) for part, images in found.images.items()}
    _refuse(root, found.problems, sum(counts.values()) + len(found.problems))
    _check_none_empty(empty)
    return Source(
        name="imagefolder",
        identity=f"{root}\0{image_size}" + (f"\0{VALIDATION}" if has_validation else ""),
        fingerprint=fingerprint.hexdigest(),
        classes=shown,
        image_shape=(3, image_size, image_size),
        counts=counts,
        variant=f"image folder, {' and '.join(sorted(formats))}",
        origin=str(root),
        decode=functools.partial(_decode, found, image_size, root),
        validation=validation,
    )


def _validation_classes(root: Path, names: list[str]) -> list[tuple[int, str]]:
    """Return label and name of each class of the validation part, which need not have all."""
    own = _class_names(root, VALIDATION)
    if unknown := [name for name in own if name not in names]:
        raise ConfigurationError(
            f"data folder {root} has classes in {VALIDATION}/ that train/ lacks: {', '.join(map(escaped, unknown))}"
        )
    return [(names.index(name), name) for name in own]


def _class_names(root: Path, part: str) -> list[str]:
    folder = root / part
    if not root.is_dir():
        raise ConfigurationError(f"data folder {root} does not exist or is not a folder; {LAYOUT}")
    if not folder.is_dir():
        raise ConfigurationError(f"data folder {root} has no {part}/ folder; {LAYOUT}")

    def fact(entry: os.DirEntry[str]) -> str | None:
        if not (mode := _mode(entry)):
            raise ConfigurationError(f"class folder {escaped(entry.path)}: {LEADS_NOWHERE}; repair or remove it")
        return entry.name if stat.S_ISDIR(mode) else None

    names = _listed(folder, fact)
    if not names:
        raise ConfigurationError(f"{folder} has no class folders; {LAYOUT}")
    return names


def _shown_names(root: Path, names: list[str]) -> tuple[str, ...]:
    """Return the names of class folders as runs and terminals may hold them: bytes and control characters escaped."""
    shown = tuple(escaped(name) for name in names)
    if twice := sorted(name for name, count in Counter(shown).items() if count > 1):
        raise ConfigurationError(f"data folder {root}: several classes are shown as {twice[0]}; rename one of them")
    return shown


def _check_none_empty(empty: list[Path]) -> None:
    if not empty:
        return
    folders = ", ".join(escaped(str(folder)) for folder in empty[:MOST_NAMED])
    more = f" and {len(empty) - MOST_NAMED:,} more" if len(empty) > MOST_NAMED else ""
    noun, has = ("class folder", "has") if len(empty) == 1 else ("class folders", "have")
    raise ConfigurationError(
        f"{noun} {folders}{more} {has} no images; {LAYOUT} ({', '.join(FORMATS)}), and no further folders below a class"
    )


def _check_same_classes(root: Path, classes: dict[Part, list[str]]) -> None:
    train, test = set(classes["train"]), set(classes["test"])
    only = {"train": sorted(train - test), "test": sorted(test - train)}
    lines = [f"only in {part}/: {', '.join(map(escaped, names))}" for part, names in only.items() if names]
    if lines:
        heading = f"data folder {root} has different classes in train/ and test/"
        raise ConfigurationError(
            "\n".join([heading, *lines, "give both parts one folder per class, with the same names"])
        )


def _list_images(folder: Path, found: _Found) -> list[tuple[str, int, int]]:
    """Return name, size in bytes and modification time in nanoseconds of every image, sorted by name."""

    def fact(entry: os.DirEntry[str]) -> tuple[str, int, int] | None:
        extension, mode = _extension(entry.name), _mode(entry)
        if stat.S_ISDIR(mode):
            found.passed_over["folder"] += 1
        elif extension not in FORMATS:
            found.passed_over[escaped(extension) or "no extension"] += 1
        elif not stat.S_ISREG(mode):  # opening a pipe would wait forever for one who writes to it
            found.problems[entry.path] = "it is a device, pipe or socket, not a file" if mode else LEADS_NOWHERE
        else:
            return entry.name, entry.stat().st_size, entry.stat().st_mtime_ns
        return None

    return _listed(folder, fact)


def _mode(entry: os.DirEntry[str]) -> int:
    """Return the type of what an entry is, or leads to; 0 where it leads nowhere."""
    try:
        return entry.stat().st_mode
    except OSError:
        return 0


def _listed(folder: Path, fact: Callable[[os.DirEntry[str]], Fact | None]) -> list[Fact]:
    """Return a fact of every entry of a folder that has one, sorted."""
    try:
        with os.scandir(folder) as entries:
            # ".ipynb_checkpoints" is not a class, and "._0001.jpg" (macOS's attributes) is not an image.
            facts = [fact(entry) for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise ConfigurationError(f"cannot list {folder}: {error.strerror}") from error
    return sorted(found for found in facts if found is not None)


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _decode(found: _Found, image_size: int, root: Path, directory: Path, notify: Notify) -> None:
    for part, of_part in found.images.items():
        open_array(directory, part, "labels", "r+")[:] = [image.label for image in of_part]
    batches = batches_of(found.images, image_size, directory)
    images = list(itertools.chain(*found.images.values()))
    processes = useful_processes(images, len(batches))
    noun = "process" if processes == 1 else "processes"
    notify(f"Decoding {len(images):,} images in {root} ({processes} {noun})")
    if found.passed_over:
        kinds = ", ".join(f"{count:,} × {kind}" for kind, count in found.passed_over.most_common(MOST_NAMED))
        notify(f"note: in the class folders, files without the ending of an image are left out: {kinds}")
    outcome = decode_batches(batches, processes, _progress(len(images), notify))
    _refuse(root, outcome.problems, len(images))
    if outcome.brightest is not None and outcome.brightest < DARK:
        raise ConfigurationError(
            f"the 16-bit images in {root} are almost black: their brightest value is {outcome.brightest:.1%} of the "
            f"largest possible, so of 256 levels few would be left\nscale their values to the whole range, 0 to 65535"
        )


def _progress(total: int, notify: Notify) -> Callable[[int], None]:
    """Return what counts images that are decoded, and says every few seconds how many there are."""
    done, last = 0, time.monotonic()

    def report(count: int) -> None:
        nonlocal done, last
        done += count
        if time.monotonic() - last > PROGRESS_SECONDS:
            notify(f"Decoded {done:,} of {total:,} images")
            last = time.monotonic()

    return report


def _refuse(root: Path, problems: dict[str, str], total: int) -> None:
    """Raise if there are problems, naming as many as a person reads."""
    if not problems:
        return
    lines = [f"{escaped(os.path.relpath(path, root))}: {reason}" for path, reason in sorted(problems.items())]
    if len(lines) > MOST_NAMED:
        lines[MOST_NAMED:] = [f"… and {len(lines) - MOST_NAMED:,} more"]
    heading = f"cannot use {len(problems):,} of {total:,} images in {root}:"
    raise ConfigurationError(f"{listed(lines, heading)}\nreplace these files, or remove them from the data folder")
