"""Every kind of pixels becomes what people see, or is refused with its mode and what to do."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from evo.data.pixels import DEEP, EXACT, REFUSED, TRANSPARENT, UnsuitableImageError, read_picture

LEVELS = np.arange(256, dtype=np.uint8).reshape(16, 16)
"""Every level once."""
DEEP_LEVELS = LEVELS.astype(np.uint16) * 257
LOSSLESS = (".png", ".tif", ".bmp", ".ppm", ".pgm")


def rgb_of(path: Path) -> np.ndarray:
    return np.asarray(read_picture(str(path)).rgb)


def grey_of(path: Path) -> np.ndarray:
    pixels = rgb_of(path)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


def of_mode(mode: str) -> Image.Image:
    """Return an opaque image of every level of grey."""
    grey = Image.fromarray(LEVELS)
    if mode in DEEP:
        return Image.fromarray(DEEP_LEVELS.astype(">u2" if mode.endswith("B") else "<u2"))
    if mode in ("La", "RGBa"):
        return grey.convert({"La": "LA", "RGBa": "RGBA"}[mode]).convert(mode)
    if mode == "I":
        return Image.fromarray(DEEP_LEVELS.astype(np.int32))
    if mode == "PA":
        return grey.convert("P").convert("PA")
    if mode == "LAB":
        return Image.merge("LAB", [grey] * 3)
    return grey.convert("RGB").convert(mode) if mode not in ("1", "LA", "P", "F") else grey.convert(mode)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_png(path: Path, samples: np.ndarray, colour: int, transparent: bytes = b"") -> None:
    """Write samples of 16 bits, (height, width) or (height, width, channels), which Pillow cannot write in colour."""
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    clear = chunk(b"tRNS", transparent) if transparent else b""
    body = chunk(b"IHDR", header) + clear + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize("mode", Image.MODES)
def test_in_every_format_a_mode_keeps_its_levels_or_is_refused_by_name(tmp_path: Path, mode: str) -> None:
    for suffix in LOSSLESS:
        path = tmp_path / f"image{suffix}"
        try:
            of_mode(mode).save(path)
        except (OSError, ValueError):
            continue  # the format does not hold this mode
        try:
            pixels = grey_of(path).astype(int)
        except UnsuitableImageError as error:
            assert re.search(r"mode .*; save it as grey or RGB with 8 bits", str(error))  # noqa: PT017  # others pass
            continue
        if mode == "1":
            assert np.array_equal(pixels, np.asarray(of_mode("1")) * 255)
        else:
            assert np.abs(pixels - LEVELS).max() <= (1 if mode in ("YCbCr", "HSV") else 0)


def test_every_mode_of_pillow_is_decided() -> None:
    assert set(Image.MODES) <= {*EXACT, *TRANSPARENT, *DEEP, *REFUSED}


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_16_bit_grey_is_scaled_from_its_whole_range(tmp_path: Path, suffix: str) -> None:
    values = np.linspace(0, 65535, 300).astype(np.uint16).reshape(15, 20)
    Image.fromarray(values).save(tmp_path / f"image{suffix}")
    assert np.array_equal(grey_of(tmp_path / f"image{suffix}"), np.round(values / 257))


@pytest.mark.parametrize("largest", [1, 15, 255, 1023, 4095, 65535])
@pytest.mark.parametrize("kind", ["P2", "P5"])
def test_a_pgm_is_scaled_from_the_range_that_it_names(tmp_path: Path, largest: int, kind: str) -> None:
    values = np.linspace(0, largest, 300).astype(np.uint16)
    numbers = values.astype(">u2" if largest > 255 else np.uint8).tobytes()
    body = numbers if kind == "P5" else " ".join(map(str, values)).encode()
    path = tmp_path / "image.pgm"
    path.write_bytes(f"{kind}\n20 15\n{largest}\n".encode() + body)
    assert np.abs(grey_of(path).ravel() - values * (255 / largest)).max() <= 0.51


@pytest.mark.parametrize(("colour", "channels", "alpha"), [(0, 1, 0), (2, 3, 0), (4, 2, 1), (6, 4, 1)])
def test_16_bit_pngs_of_every_kind_keep_their_levels(tmp_path: Path, colour: int, channels: int, alpha: int) -> None:
    samples = np.repeat(DEEP_LEVELS[..., None], channels, axis=-1)
    if alpha:
        samples[..., -1] = 65535
    write_png(tmp_path / "image.png", samples, colour)
    assert np.array_equal(grey_of(tmp_path / "image.png"), LEVELS)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_of_which_few_are_used_are_told(tmp_path: Path, channels: int) -> None:
    samples = np.repeat(DEEP_LEVELS[..., None] // 16, channels, axis=-1)
    write_png(tmp_path / "image.png", samples, {1: 0, 3: 2}[channels])
    brightest = read_picture(str(tmp_path / "image.png")).brightest
    assert brightest == pytest.approx(1 / 16, abs=0.005)


def test_12_bit_tiffs_are_scaled_from_their_range(tmp_path: Path) -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    pairs = values.reshape(-1, 2)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], axis=-1)
    tags = {256: 64, 257: 64, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 64, 279: packed.size}
    write_tiff(tmp_path / "image.tif", tags, packed.astype(np.uint8).tobytes())
    assert np.array_equal(grey_of(tmp_path / "image.tif"), np.round(values * (255 / 4095)))


@pytest.mark.parametrize("bits", [2, 4])
def test_a_transparent_level_of_few_bits_becomes_white(tmp_path: Path, bits: int) -> None:
    row = bytes([1 << (8 - bits)] * 2)  # of each byte, the first pixel has level 1, the others have 0
    header = struct.pack(">IIBBBBB", 16 // bits, 1, bits, 0, 0, 0, 0)
    parts = {b"IHDR": header, b"tRNS": struct.pack(">H", 1), b"IDAT": zlib.compress(b"\0" + row), b"IEND": b""}
    content = b"".join(chunk(kind, content) for kind, content in parts.items())
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    shown = [255 if place % (8 // bits) == 0 else 0 for place in range(16 // bits)]
    assert grey_of(tmp_path / "image.png").tolist() == [shown]


def write_tiff(path: Path, tags: dict[int, int], pixels: bytes) -> None:
    """Write a little-endian TIFF of one strip, which begins at byte 8."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    head = struct.pack("<2sHI", b"II", 42, 8 + len(pixels))
    path.write_bytes(head + pixels + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0))


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({258: 16, 262: 0}, r"from white to black \(mode I;16\)"),
        ({258: 16, 262: 1, 339: 2}, "signed or floats, mode I"),
        ({258: 8, 262: 1, 339: 2}, "signed or floats, mode L"),
        ({258: 32, 262: 1}, "32-bit integers, mode I"),
        ({258: 32, 262: 1, 339: 3}, "signed or floats, mode F"),
    ],
)
def test_numbers_without_a_black_and_a_white_are_refused(tmp_path: Path, tags: dict[int, int], reason: str) -> None:
    size = 256 * tags[258] // 8
    tags = {256: 16, 257: 16, 259: 1, 273: 8, 277: 1, 278: 16, 279: size} | tags
    write_tiff(tmp_path / "image.tif", tags, bytes(size))
    with pytest.raises(UnsuitableImageError, match=reason) as caught:
        read_picture(str(tmp_path / "image.tif"))
    assert "save it as grey or RGB with 8 bits" in str(caught.value)


def test_channels_without_a_meaning_are_refused(tmp_path: Path) -> None:
    of_mode("RGBX").save(tmp_path / "image.tif")
    with pytest.raises(UnsuitableImageError, match="neither colour nor transparency"):
        read_picture(str(tmp_path / "image.tif"))


def test_a_band_that_no_tag_explains_is_refused(tmp_path: Path) -> None:
    of_mode("RGBA").save(tmp_path / "image.tif")
    content = (tmp_path / "image.tif").read_bytes()
    entry = struct.pack("<HHI", 338, 3, 1)  # ExtraSamples
    assert content.count(entry) == 1
    (tmp_path / "image.tif").write_bytes(content.replace(entry, struct.pack("<HHI", 65000, 3, 1)))
    with pytest.raises(UnsuitableImageError, match="neither colour nor transparency"):
        read_picture(str(tmp_path / "image.tif"))


def test_a_palette_of_8_bits_in_a_tiff_is_refused(tmp_path: Path) -> None:
    of_mode("P").save(tmp_path / "image.tif")
    with Image.open(tmp_path / "image.tif") as image:
        wide = image.tag_v2[320]  # type: ignore[attr-defined]  # of TIFFs
    content = (tmp_path / "image.tif").read_bytes()
    palette = struct.pack(f"<{len(wide)}H", *wide)
    assert content.count(palette) == 1
    narrow = struct.pack(f"<{len(wide)}H", *(value // 257 for value in wide))
    (tmp_path / "image.tif").write_bytes(content.replace(palette, narrow))
    with pytest.raises(UnsuitableImageError, match="palette has 8 bits"):
        read_picture(str(tmp_path / "image.tif"))


def laid_over_white(colours: np.ndarray) -> np.ndarray:
    alpha = colours[..., 3:] / 255
    return colours[..., :3] * alpha + 255 * (1 - alpha)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(tmp_path: Path, mode: str, suffix: str) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    image = Image.fromarray(colours).convert(mode)
    image.save(tmp_path / f"image{suffix}")
    expected = laid_over_white(np.asarray(image.convert("RGBA")))
    assert np.abs(rgb_of(tmp_path / f"image{suffix}") - expected).max() <= 1


@pytest.mark.parametrize(("mode", "clear"), [("L", 5), ("P", 5), ("P", bytes([*[255] * 5, 0])), ("RGB", (5, 5, 5))])
def test_a_transparent_colour_becomes_white(tmp_path: Path, mode: str, clear: Any) -> None:
    of_mode(mode).save(tmp_path / "image.png", transparency=clear)
    assert np.array_equal(grey_of(tmp_path / "image.png"), np.where(LEVELS == 5, 255, LEVELS))


def test_a_transparent_colour_of_16_bit_grey_becomes_white_and_of_16_bit_colour_is_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "grey.png", DEEP_LEVELS, 0, struct.pack(">H", 5 * 257))
    assert np.array_equal(grey_of(tmp_path / "grey.png"), np.where(LEVELS == 5, 255, LEVELS))
    samples = np.repeat(DEEP_LEVELS[..., None], 3, axis=-1)
    write_png(tmp_path / "colour.png", samples, 2, struct.pack(">HHH", *[5 * 257] * 3))
    with pytest.raises(UnsuitableImageError, match="16 bits per channel and a transparent colour"):
        read_picture(str(tmp_path / "colour.png"))


def test_a_picture_that_cannot_be_seen_on_white_is_refused(tmp_path: Path) -> None:
    white_shape, hidden = np.full((16, 16, 4), 255, np.uint8), np.zeros((16, 16, 4), np.uint8)
    white_shape[..., 3], hidden[..., :3] = LEVELS, LEVELS[..., None]
    for number, colours in enumerate((white_shape, hidden)):
        Image.fromarray(colours).save(tmp_path / f"{number}.png")
        with pytest.raises(UnsuitableImageError, match="over white it is one even area"):
            read_picture(str(tmp_path / f"{number}.png"))
    blank = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    blank.save(tmp_path / "blank.png")
    assert (rgb_of(tmp_path / "blank.png") == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_pictures_are_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    upright = Image.new("RGB", (32, 16))
    upright.paste((255, 255, 255), (0, 0, 8, 8))
    # What a camera stores that was held so: the inverse of what a viewer does.
    turned = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright.transpose(Image.Transpose(turned[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"image{suffix}", exif=exif)
    assert np.abs(rgb_of(tmp_path / f"image{suffix}").astype(int) - np.asarray(upright)).max() < 40


def test_damaged_exif_does_not_matter(tmp_path: Path) -> None:
    Image.fromarray(LEVELS).save(tmp_path / "image.png", exif=b"Exif\0\0garbage")
    assert np.array_equal(grey_of(tmp_path / "image.png"), LEVELS)


@pytest.mark.parametrize(("form", "name"), [("GIF", "a.png"), ("PNG", "a.png"), ("WEBP", "a.webp"), ("TIFF", "a.tif")])
def test_several_pictures_in_a_file_are_refused(tmp_path: Path, form: str, name: str) -> None:
    first, second = Image.fromarray(LEVELS), Image.fromarray(LEVELS[::-1])
    first.save(tmp_path / name, form, save_all=True, append_images=[second])
    with pytest.raises(UnsuitableImageError, match="holds 2 pictures; save the one that counts"):
        read_picture(str(tmp_path / name))


def test_what_phones_and_scanners_add_to_a_picture_is_left_out(tmp_path: Path) -> None:
    first, small = Image.fromarray(LEVELS).convert("RGB"), Image.new("RGB", (8, 8))
    first.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[small])
    assert rgb_of(tmp_path / "phone.jpg").shape == (16, 16, 3)
    first = Image.fromarray(LEVELS)
    with TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "scan.tif"), new=True) as file:
        for page, tags in ((first, {}), (small, {254: 1})):
            page.save(file, "TIFF", tiffinfo=tags)
            file.newFrame()
    with Image.open(tmp_path / "scan.tif") as image:
        assert image.n_frames == 2  # type: ignore[attr-defined]  # images with several have it
    assert np.array_equal(grey_of(tmp_path / "scan.tif"), LEVELS)


def test_too_many_pixels_are_refused(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(UnsuitableImageError, match="more than 178,956,970 pixels; make it smaller"):
        read_picture(str(tmp_path / "bomb.png"))


@pytest.mark.parametrize("kind", ["1", "L", "RGB", "I;16"])
def test_a_netpbm_file_with_two_pictures_is_refused(tmp_path: Path, kind: str) -> None:
    suffix = {"1": "pbm", "RGB": "ppm"}.get(kind, "pgm")
    path = tmp_path / f"image.{suffix}"
    deep = Image.fromarray(np.arange(0, 5500, 100, dtype=np.uint16).reshape(5, 11))
    (deep if kind == "I;16" else Image.new(kind, (11, 5), 1)).save(path)
    content = path.read_bytes()
    read_picture(str(path))
    path.write_bytes(content + content)
    with pytest.raises(UnsuitableImageError, match="2 pictures"):
        read_picture(str(path))
