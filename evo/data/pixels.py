"""One image file as 8-bit RGB: what each kind of pixel becomes, and which kinds are refused.

| pixels | become |
|---|---|
| 8 bits or fewer: grey, RGB, palette, CMYK, YCbCr, HSV | what Pillow makes of them |
| 16 bits, grey | value · 255 / 65535, rounded; of 12-bit TIFFs value · 255 / 4095 |
| 16 bits, colour | their upper 8 bits: Pillow reads no more |
| transparent | laid over white, as on a page; refused where nothing can be seen then |
| turned by EXIF | upright, as every viewer shows them |
| 32-bit integers, signed numbers, floats, LAB | refused: nothing says which values are black and white |
| channels that are neither colour nor transparency | refused |
| several pictures in a file: animations, pages | refused, except for thumbnails and what phones add to a JPEG |
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

EXACT = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV")
"""Pillow's modes that `convert("RGB")` converts without losing more than what eight bits cannot hold."""
TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")
PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
DEEP = ("I;16", "I;16L", "I;16B", "I;16N")
DEEP_FORMATS = ("PNG", "PPM")
"""Formats that Pillow reads into mode I though they hold at most 16 bits, which then fill the range."""
REFUSED = {"I": "32-bit integers", "F": "floats", "LAB": "CIE L*a*b*"}
BITS, PHOTOMETRIC, EXTRA_SAMPLES, SAMPLE_FORMAT, SUBFILE, SAMPLES, PALETTE = 258, 262, 338, 339, 254, 277, 320
"""Tags of TIFF 6.0."""
NETPBM_BYTES = {"1": 1, "L": 1, "RGB": 3, "I": 1}
"""Bytes of a pixel of 8 bits by mode; of mode 1, eight pixels share a byte."""
CHANNELS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}
"""The channels of colour by photometric interpretation."""
FEW_LEVELS = {"L;2": 85, "L;4": 17}
"""What Pillow multiplies grey levels of fewer bits with, by its name for them in the file."""
SAVE_AS = "save it as grey or RGB with 8 bits per channel"


class UnsuitableImageError(Exception):
    """A file that cannot be read, or whose conversion to RGB is not defined; says why and what to do."""


class Picture(NamedTuple):
    """A decoded image.

    Attributes:
        rgb: In mode RGB.
        brightest: Of 16-bit images: the largest value, as a share of the largest possible.
    """

    rgb: Image.Image
    brightest: float | None = None


def read_picture(path: str) -> Picture:
    """Decode one image file to RGB.

    Raises:
        UnsuitableImageError: It is damaged, or its conversion is not defined.
    """
    try:
        if os.path.getsize(path) == 0:
            raise UnsuitableImageError("the file is empty")
        with Image.open(path) as image:
            _check_number_of_pictures(image, path)
            _check_tiff(image)
            _scale_transparency(image)
            deep = any(";16" in repr(tile[3]) for tile in image.tile)  # Pillow's name for such values in the file
            image.load()
            with contextlib.suppress(Exception):  # damaged EXIF says nothing
                ImageOps.exif_transpose(image, in_place=True)
            picture = _to_rgb(image)
        return (
            Picture(picture.rgb, float(np.asarray(picture.rgb).max()) / 255)
            if deep and picture.brightest is None
            else picture
        )
    except UnsuitableImageError:
        raise
    except UnidentifiedImageError:
        raise UnsuitableImageError("it is not an image, or its beginning is damaged") from None
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise UnsuitableImageError(f"it has more than {most:,} pixels; make it smaller") from None
    except MemoryError:
        raise UnsuitableImageError("there is not enough memory to decode it; make it smaller") from None
    except Exception as error:  # Pillow's plugins raise SyntaxError, struct.error and more on damaged files
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UnsuitableImageError(reason or type(error).__name__) from None


def _scale_transparency(image: Image.Image) -> None:
    """Give the transparent level of a grey PNG the scale that Pillow gives its pixels."""
    tiles: Any = getattr(image, "tile", ())
    clear, factor = image.info.get("transparency"), FEW_LEVELS.get(tiles[0][3] if tiles else "")
    if image.format == "PNG" and isinstance(clear, int) and factor:
        image.info["transparency"] = clear * factor


def _to_rgb(image: Image.Image) -> Picture:
    mode = image.mode
    if mode in DEEP or (mode == "I" and image.format in DEEP_FORMATS):
        return _deep_grey(image)
    if mode not in EXACT + TRANSPARENT:
        kind = f"{REFUSED[mode]}, " if mode in REFUSED else ""
        raise UnsuitableImageError(f"its pixels ({kind}mode {mode}) have no defined conversion to 8-bit RGB; {SAVE_AS}")
    if mode in TRANSPARENT or image.has_transparency_data:
        return Picture(_over_white(image))
    return Picture(image.convert("RGB"))


def _deep_grey(image: Image.Image) -> Picture:
    largest = 4095 if image.format == "TIFF" and _tag(image, BITS, (16,)) == (12,) else 65535
    values = np.asarray(image).astype(np.uint32)
    levels = ((values * 255 + largest // 2) // largest).astype(np.uint8)
    if isinstance(clear := image.info.get("transparency"), int):
        levels[values == clear] = 255
    return Picture(Image.fromarray(levels).convert("RGB"), float(values.max()) / largest)


def _over_white(image: Image.Image) -> Image.Image:
    clear = image.info.get("transparency")
    if isinstance(clear, tuple) and max(clear) > 255:
        raise UnsuitableImageError(f"it has 16 bits per channel and a transparent colour; {SAVE_AS}")
    colours = image.convert(PREMULTIPLIED.get(image.mode, "RGBA")).convert("RGBA")
    if colours.getchannel("A").getextrema() == (255, 255):
        return colours.convert("RGB")
    page = Image.new("RGBA", colours.size, "white")
    page.alpha_composite(colours)
    flat = page.convert("RGB")
    if _is_uniform(flat) and not _is_uniform(colours):
        raise UnsuitableImageError(
            "its transparent pixels hide the picture: over white it is one even area; "
            "save it without transparency, on another background"
        )
    return flat


def _is_uniform(image: Image.Image) -> bool:
    return all(smallest == largest for smallest, largest in map(Image.Image.getextrema, image.split()))


def _check_number_of_pictures(image: Image.Image, path: str) -> None:
    count = 1 + _holds_more_netpbm(image, path) if image.format == "PPM" else getattr(image, "n_frames", 1)
    if count == 1 or image.format == "MPO":  # a phone's JPEG: its other pictures are previews and depth maps
        return
    if image.format == "TIFF":
        count = 0
        for page in range(image.n_frames):  # type: ignore[attr-defined]  # images with several have it
            image.seek(page)
            count += not _tag(image, SUBFILE, 0) & 0b101  # neither a smaller copy nor a mask of another page
        image.seek(0)
    if count > 1:
        raise UnsuitableImageError(f"it holds {count} pictures; save the one that counts as a file of its own")


def _holds_more_netpbm(image: Image.Image, path: str) -> bool:
    """Return whether more than a line end follows the pixels of a binary Netpbm file: a second picture."""
    tiles: Any = getattr(image, "tile", ())
    if not tiles or tiles[0][0] == "ppm_plain" or image.mode not in NETPBM_BYTES:
        return False
    row = -(-image.width // 8) if image.mode == "1" else image.width * NETPBM_BYTES[image.mode]
    deep = 2 if ";16" in repr(tiles[0][3]) or image.mode == "I" else 1
    end: int = tiles[0][2] + row * image.height * deep
    return os.path.getsize(path) > end + 1


def _check_tiff(image: Image.Image) -> None:
    """Refuse the TIFFs that Pillow reads, but not as what they are."""
    if image.format != "TIFF":
        return
    if any(kind not in (1, 4) for kind in _tag(image, SAMPLE_FORMAT, (1,))):
        raise UnsuitableImageError(
            f"its pixels (signed or floats, mode {image.mode}) have no defined conversion to 8-bit RGB; {SAVE_AS}"
        )
    channels = CHANNELS.get(_tag(image, PHOTOMETRIC, 1), 1)
    unexplained = _tag(image, SAMPLES, 1) - channels - len(_tag(image, EXTRA_SAMPLES, ()))
    if 0 in _tag(image, EXTRA_SAMPLES, ()) or (unexplained > 0 and _tag(image, PHOTOMETRIC, 1) in CHANNELS):
        raise UnsuitableImageError(
            f"it has channels that are neither colour nor transparency (mode {image.mode}); {SAVE_AS}"
        )
    if 0 < max(_tag(image, PALETTE, ()), default=0) < 256:
        raise UnsuitableImageError(f"its palette has 8 bits where TIFF has 16, so it would be black; {SAVE_AS}")
    if image.mode in DEEP and _tag(image, PHOTOMETRIC, 1) == 0:
        raise UnsuitableImageError(f"its 16-bit values count from white to black (mode {image.mode}); {SAVE_AS}")


def _tag(image: Image.Image, number: int, default: Any) -> Any:
    return image.tag_v2.get(number, default)  # type: ignore[attr-defined]  # of TIFFs
