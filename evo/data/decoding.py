"""Decodes listed images into the arrays of a cache entry, in this process or in several that end with it."""

from __future__ import annotations

import multiprocessing
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from evo.data.cache import Part, open_array
from evo.data.pixels import UnsuitableImageError, read_picture
from evo.processes import deaf_to_interrupts, die_with_parent, end, usable_cores, without_main

# Starting the processes takes about as long as decoding so many small images, or so many bytes of large ones.
PARALLEL_FROM = 2000
PARALLEL_FROM_BYTES = 10_000_000
# Of one batch: a process is asked for the next one when it has done this one, so they should all end together.
BATCH_IMAGES = 250
BATCH_BYTES = 4_000_000


class ListedImage(NamedTuple):
    """An image to be decoded: its file, its label and its size in bytes."""

    path: str
    label: int
    size: int


class Batch(NamedTuple):
    """Images that one process decodes: those of rows `start`, `start + 1`, … of one part's array."""

    directory: Path
    part: Part
    start: int
    paths: list[str]
    image_size: int


@dataclass
class Outcome:
    """What decoding found.

    Attributes:
        problems: Why images cannot be used, by their paths.
        brightest: Of 16-bit images: the largest value, as a share of the largest possible; None without such.
    """

    problems: dict[str, str] = field(default_factory=dict)
    brightest: float | None = None

    def add(self, problems: dict[str, str], brightest: float | None) -> None:
        """Add what decoding further images found."""
        self.problems |= problems
        self.brightest = max((b for b in (self.brightest, brightest) if b is not None), default=None)


def batches_of(images: dict[Part, list[ListedImage]], image_size: int, directory: Path) -> list[Batch]:
    """Divide images into batches of about equal work.

    Args:
        images: The images of each part, in the order of their rows.
        image_size: Side of the decoded images in pixels.
        directory: Where `create_arrays` has made the arrays.
    """
    batches: list[Batch] = []
    for part, listed in images.items():
        room = size = 0
        for row, image in enumerate(listed):
            if room == 0 or size + image.size > BATCH_BYTES:
                batches.append(Batch(directory, part, row, [], image_size))
                room, size = BATCH_IMAGES, 0
            batches[-1].paths.append(image.path)
            room, size = room - 1, size + image.size
    return batches


def useful_processes(images: Iterable[ListedImage], batches: int) -> int:
    """Return how many processes are worth starting for so many batches; 1: this one does them."""
    if multiprocessing.current_process().daemon:  # such as a worker of a cluster: it may not start any
        return 1
    sizes = [image.size for image in images]
    many = len(sizes) > PARALLEL_FROM or sum(sizes) > PARALLEL_FROM_BYTES
    return max(1, min(usable_cores(), batches)) if many else 1


def decode_batches(batches: Sequence[Batch], processes: int, report: Callable[[int], None]) -> Outcome:
    """Decode batches, also after the first problem; return all problems.

    Args:
        batches: What to decode.
        processes: How many processes do it; 1: this one.
        report: Called with the number of images that each batch had; what it raises ends the work.
    """
    outcome = Outcome()
    left = deque(batches)
    if processes > 1:
        _decode_in_processes(left, processes, outcome, report)
    while left:  # all of them, or what is left by processes that the system has killed
        outcome.add(*_decode(left[0]))
        report(len(left.popleft().paths))
    return outcome


def decode_image(path: str, image_size: int) -> tuple[npt.NDArray[np.uint8], float | None]:
    """Decode one image to RGB, and resize it if it has another size.

    Args:
        path: An image file.
        image_size: Side of the result in pixels.

    Returns:
        Levels of shape `(3, image_size, image_size)`, and `Picture.brightest`.

    Raises:
        UnsuitableImageError: It is damaged, or its conversion is not defined.
    """
    pixels, brightest = read_picture(path)
    if pixels.size != (image_size, image_size):
        pixels = pixels.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(pixels, dtype=np.uint8).transpose(2, 0, 1), brightest


def _decode(batch: Batch) -> tuple[dict[str, str], float | None]:
    """Decode a batch directly into the array on disk: no pixels travel between processes."""
    array = open_array(batch.directory, batch.part, "images", "r+")
    problems: dict[str, str] = {}
    brightest: list[float] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about odd metadata; what cannot be read raises
        for row, path in enumerate(batch.paths, batch.start):
            try:
                array[row], of_image = decode_image(path, batch.image_size)
            except UnsuitableImageError as error:
                problems[path] = str(error)
            else:
                brightest += [of_image] if of_image is not None else []
    return problems, max(brightest, default=None)


def _decode_in_processes(left: deque[Batch], count: int, outcome: Outcome, report: Callable[[int], None]) -> None:
    """Let processes take batches from `left`. If one dies, the batches that are not done are put back.

    Whatever ends this function, an unknown error or a signal, ends the processes at once, in the middle of a picture.
    """
    workers: dict[Connection, BaseProcess] = {}
    busy: dict[Connection, Batch] = {}
    try:
        for number in range(count):
            connection, process = _start(number)
            workers[connection] = process
            busy[connection] = left.popleft()
            connection.send(busy[connection])
        while busy:
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                outcome.add(*ready.recv())
                report(len(busy.pop(ready).paths))
                if left:
                    busy[ready] = left.popleft()
                    ready.send(busy[ready])
    except (EOFError, OSError):
        left.extend(busy.values())
    finally:
        for connection, process in workers.items():
            connection.close()
            end(process)


def _start(number: int) -> tuple[Connection, BaseProcess]:
    # Spawned, not forked: the caller may have threads (torch's), and a fork would copy locks that they hold.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), name=f"decoder-{number}", daemon=True)
    with without_main(), deaf_to_interrupts():
        process.start()
    theirs.close()
    return ours, process


def _work(connection: Connection) -> None:
    """Run in a process: decode batches until the parent closes the pipe, or ends."""
    die_with_parent()
    with suppress(EOFError, OSError):
        while True:
            connection.send(_decode(connection.recv()))
