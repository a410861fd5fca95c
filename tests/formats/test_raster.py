"""Plain pictures: depth kept, colours made RGB, orientation obeyed, frames and pages kept apart."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from consilium.errors import DamagedFileError, UnsafeFileError
from consilium.formats import read

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
RGB = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (20, 30), dtype=np.uint16)


def saved(picture: Pillow.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def tiff(pixels: np.ndarray, **options) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def only(path):
    (study,) = read(path)
    (image,) = study.images
    return study, image


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_lossless_kinds_keep_every_pixel(write, kind, pixels):
    study, image = only(write(saved(Pillow.fromarray(pixels), kind)))
    np.testing.assert_array_equal(image.pixels, pixels)
    assert (study.modality, study.file_format, study.notes) == (None, kind, ())
    assert image.uid == f"sha256:{image.digest}"


@pytest.mark.parametrize("data", [saved(Pillow.fromarray(DEEP), "PNG"), tiff(DEEP), tiff(DEEP, compression="zlib")])
def test_sixteen_bits_are_kept(write, data):
    _, image = only(write(data))
    assert image.pixels.dtype == np.uint16
    np.testing.assert_array_equal(image.pixels, DEEP)


def test_sixteen_bit_lzw_and_floats(write):
    lzw = saved(Pillow.fromarray(DEEP), "TIFF", compression="tiff_lzw")
    np.testing.assert_array_equal(only(write(lzw))[1].pixels, DEEP)
    values = RNG.normal(size=(5, 6)).astype(np.float32)
    np.testing.assert_array_equal(only(write(tiff(values)))[1].pixels, values)


def test_sixteen_bit_colour_is_reduced_and_named(write):
    study, image = only(write(tiff(np.stack([DEEP, DEEP // 2, DEEP // 4], axis=-1), photometric="rgb")))
    assert image.pixels.dtype == np.uint8
    np.testing.assert_allclose(image.pixels[..., 0], DEEP / 257, atol=0.51)
    assert study.notes == ("uint16 colour reduced to 8 bits",)


def test_zero_is_white_is_inverted(write):
    study, image = only(write(tiff(DEEP, photometric="miniswhite")))
    np.testing.assert_array_equal(image.pixels, 65535 - DEEP)
    assert any("inverted" in note for note in study.notes)


def test_jpeg_is_pillows(write):
    data = saved(Pillow.fromarray(RGB), "JPEG", quality=95)
    np.testing.assert_array_equal(only(write(data))[1].pixels, np.asarray(Pillow.open(io.BytesIO(data))))


def test_exif_orientation_is_obeyed(write):
    exif = Pillow.Exif()
    exif[0x0112] = 6
    _, image = only(write(saved(Pillow.fromarray(GREY), "PNG", exif=exif)))
    np.testing.assert_array_equal(image.pixels, np.rot90(GREY, -1))


def test_equal_channels_become_grey(write):
    _, image = only(write(saved(Pillow.fromarray(GREY).convert("RGB"), "PNG")))
    np.testing.assert_array_equal(image.pixels, GREY)


def test_transparency_palette_and_cmyk_become_rgb(write):
    alpha = np.dstack([RGB, GREY])
    study, image = only(write(saved(Pillow.fromarray(alpha, "RGBA"), "PNG")))
    np.testing.assert_array_equal(image.pixels, RGB)
    assert study.notes == ("transparency dropped",)
    palette = Pillow.fromarray(RGB).quantize(16)
    np.testing.assert_array_equal(only(write(saved(palette, "PNG")))[1].pixels, np.asarray(palette.convert("RGB")))
    study, image = only(write(saved(Pillow.fromarray(RGB).convert("CMYK"), "TIFF")))
    assert np.abs(image.pixels.astype(int) - RGB).max() <= 1
    assert "CMYK converted to RGB without a colour profile" in study.notes


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("TIFF", {})])
def test_frames_and_pages_are_images(write, kind, options):
    pages = [Pillow.fromarray(np.full((6, 7), n, np.uint8)) for n in (10, 200)]
    (study,) = read(write(saved(pages[0], kind, save_all=True, append_images=pages[1:], **options)))
    assert [int(image.pixels[3, 3]) for image in study.images] == [10, 200]
    assert "2 frames or pages, one picture each" in study.notes


def test_deep_pages_are_images(write):
    (study,) = read(write(tiff(np.stack([DEEP, DEEP + 1]), photometric="minisblack")))
    np.testing.assert_array_equal(study.images[1].pixels, DEEP + 1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_truncated(write, kind):
    data = saved(Pillow.fromarray(RGB), kind)
    with pytest.raises(DamagedFileError):
        read(write(data[: len(data) // 2]))


def test_an_error_names_no_object_of_ours(tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"\xff\xd8\xff" + b"x" * 40)
    with pytest.raises(DamagedFileError, match=r"cannot identify image file\); copy or export"):
        read(tmp_path / "x.jpg")


def test_a_claim_is_judged_before_decoding(write):
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))
    with pytest.raises(UnsafeFileError):
        read(write(bomb + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")))
    huge = bytearray(tiff(DEEP))
    for tag, value in ((256, 30), (257, 20)):
        at = huge.index(struct.pack("<HHII", tag, 4, 1, value))
        huge[at + 8 : at + 12] = struct.pack("<I", 65535)
    with pytest.raises(UnsafeFileError):
        read(write(bytes(huge)))


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_pages_that_are_missing_are_damage(write, options, caplog):
    whole = tiff(np.stack([DEEP] * 4), photometric="minisblack", metadata=None, **options)
    assert len(read(write(whole))[0].images) == 4
    with pytest.raises(DamagedFileError, match="ends before its last page"):
        read(write(whole[: len(whole) // 2]))
    assert not caplog.records


def test_every_depth_of_zero_is_white_is_inverted(write):
    lzw = saved(Pillow.fromarray(DEEP), "TIFF", compression="tiff_lzw", tiffinfo={262: 0})
    np.testing.assert_array_equal(only(write(lzw))[1].pixels, 65535 - DEEP)
    signed = DEEP.view(np.int16).copy()
    signed[0, :2] = -32768, 32767
    image = only(write(tiff(signed, photometric="miniswhite")))[1]
    assert image.pixels[0, :2].tolist() == [32767, -32768] and image.pixels.dtype == np.int16
    eight = only(write(saved(Pillow.fromarray(GREY), "TIFF", tiffinfo={262: 0})))[1]
    assert eight.pixels.dtype == np.uint8


def test_signed_bytes_keep_their_order(write):
    values = np.arange(-128, 128, dtype=np.int8).reshape(16, 16)
    np.testing.assert_array_equal(only(write(tiff(values)))[1].pixels, values)


def test_grey_with_transparency_of_sixteen_bits_is_said_to_lose_depth(write):
    rows = b"".join(
        b"\0" + struct.pack(">6H", *(v for x in range(3) for v in (300 + 5 * x + y, 65535))) for y in range(3)
    )

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 3, 16, 4, 0, 0, 0))
    study, _ = only(write(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")))
    assert "16-bit grey with transparency reduced to 8 bits" in study.notes
