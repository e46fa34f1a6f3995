"""Random changes of training images, as bytes, on the device; drawn from (seed, step), so nothing has to be saved."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

FLIPS = ("flip", "flip_crop")
CROPS = ("flip_crop",)


@dataclass(frozen=True)
class Augmentation:
    """Mirrors, moves and partly hides images.

    Attributes:
        kind: A name of `evo.names.AUGMENTATIONS`.
        padding: Most pixels that "flip_crop" moves an image; what comes in is the reflection of what was at the edge.
        cutout: Side in pixels of the hidden square; 0 for none. Its centre lies anywhere in the image (DeVries and
            Taylor, 2017).
        hidden: What hidden pixels become, of the images' type, and of a shape that broadcasts to (channels, height,
            width).
    """

    kind: str
    padding: int
    cutout: int
    hidden: torch.Tensor

    def __call__(self, images: torch.Tensor, seed: int, step: int) -> torch.Tensor:
        """Return changed images.

        Args:
            images: (n, channels, height, width); stays as it is.
            seed: Of the training.
            step: Steps done before this one.
        """
        if self.kind == "none" and not self.cutout:
            return images
        # Drawn on the CPU, so that it is the same on every device.
        generator = torch.Generator().manual_seed(_mixed(seed, step))
        count, _, height, width = images.shape
        draws = torch.rand(5, count, generator=generator, dtype=torch.float64).to(images.device)
        if self.kind in FLIPS:
            images = self._moved(images, draws, height, width)
        if self.cutout:
            rows, columns = (
                _near(centre, size, self.cutout) for centre, size in ((draws[3], height), (draws[4], width))
            )
            images = torch.where(rows[:, None, :, None] & columns[:, None, None, :], self.hidden, images)
        return images

    def _moved(self, images: torch.Tensor, draws: torch.Tensor, height: int, width: int) -> torch.Tensor:
        padding = self.padding if self.kind in CROPS else 0
        rows, columns = (_reflected(draw, size, padding) for draw, size in ((draws[1], height), (draws[2], width)))
        columns = torch.where((draws[0] < 0.5)[:, None], width - 1 - columns, columns)
        # Gathering all pixels at once is several times as fast as torch's indexing by three index tensors.
        pixels = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)[:, None]
        count, channels = images.shape[:2]
        return images.flatten(2).gather(2, pixels.expand(count, channels, -1)).view_as(images)


def _mixed(seed: int, step: int) -> int:
    """Return a seed of 32 bits, which is all that torch's generator on the CPU uses."""
    return int.from_bytes(hashlib.blake2b(f"{seed}|{step}".encode(), digest_size=4).digest())


def _reflected(draws: torch.Tensor, size: int, padding: int) -> torch.Tensor:
    """Return which row (or column) of each image comes to each place, int64, (n, size)."""
    shifts = (draws * (2 * padding + 1)).long() - padding
    places = (torch.arange(size, device=draws.device) + shifts[:, None]).abs()
    return torch.where(places >= size, 2 * (size - 1) - places, places)


def _near(draws: torch.Tensor, size: int, side: int) -> torch.Tensor:
    """Return which rows (or columns) of each image the hidden square covers, bool, (n, size)."""
    first = (draws * size).long() - side // 2
    places = torch.arange(size, device=draws.device)
    return (places >= first[:, None]) & (places < first[:, None] + side)
