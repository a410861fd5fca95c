"""Overlays: in the right place, in one colour a concept, with a legend that hides nothing, for every kind of picture."""

from __future__ import annotations

import numpy as np
import pytest

from consilium.errors import UsageError
from consilium.imaging.legend import Line, strip
from consilium.imaging.measure import measure
from consilium.imaging.overlay import PALETTE, Style, contact_sheet, draw, quantity, styles
from consilium.imaging.picture import resize
from consilium.imaging.window import to_display
from consilium.types import Code, Finding, Image, Segmentation, Volume

TUMOUR, CYST, STONE = (Code.local(name) for name in ("tumour", "cyst", "stone"))
RANDOM = np.random.default_rng(0)
MASK = np.zeros((112, 140), np.uint8)
MASK[20:60, 30:80] = 1
PICTURES = {
    "8 bits": Image(RANDOM.integers(0, 256, (112, 140), dtype=np.uint8), "1"),
    "16 bits": Image(RANDOM.integers(0, 4096, (112, 140), dtype=np.uint16), "1", (0.5, 0.5)),
    "HU": Image(RANDOM.integers(-1000, 900, (112, 140)).astype(np.int16), "1", window=(-160.0, 240.0), units="HU"),
    "RGB": Image(RANDOM.integers(0, 256, (112, 140, 3), dtype=np.uint8), "1", units="RGB"),
    "floats": Image(RANDOM.normal(size=(112, 140)).astype(np.float32), "1"),
}


def of(labels, *concepts) -> Segmentation:
    return Segmentation(labels, "1", concepts or (TUMOUR,))


def flat(value: int, shape=(112, 140)) -> Image:
    return Image(np.full(shape, value, np.uint8), "1")


def tint(rgb, colour) -> np.ndarray:
    """Where a grey 100 was mixed with the colour: every channel lies between the two, and some moved."""
    pixels, towards = rgb.astype(int), np.sign(np.array(colour) - 100)
    return ((pixels - 100) * towards >= 0).all(-1) & (pixels != 100).any(-1)


@pytest.mark.parametrize("kind", PICTURES)
def test_only_what_is_outlined_changes_and_small_pictures_are_enlarged(kind):
    picture = PICTURES[kind]
    drawn = draw(picture, of(MASK))
    assert drawn.pixels.dtype == np.uint8 and drawn.units == "RGB" and drawn.uid == f"sha256:{drawn.digest}"
    assert drawn.pixels.shape[1] == 560 and drawn.pixels.shape[0] > 448
    plain = resize(to_display(picture), 448, 560)
    inside = np.kron(MASK, np.ones((4, 4))) > 0
    assert (drawn.pixels[:448][~inside] == plain[~inside]).all()
    assert (drawn.pixels[:448][inside] != plain[inside]).any(axis=-1).mean() > 0.98
    assert drawn.spacing_mm == (None if picture.spacing_mm is None else (0.125, 0.125))


def test_a_large_picture_keeps_its_size():
    labels = np.zeros((600, 500), np.uint8)
    labels[100:200, 100:200] = 1
    assert draw(flat(9, (600, 500)), of(labels)).pixels.shape[1] == 500


def test_what_lies_below_always_shows_through():
    """Two pictures that differ by 16 shades differ in every drawn pixel, fill and contour, even where outlines overlap."""
    overlapping = [of(MASK), of(MASK, CYST), of(np.roll(MASK, 9, axis=0), STONE)]
    a, b = (draw(flat(value), overlapping).pixels[:448].astype(int) for value in (100, 116))
    assert ((b - a) >= 3).all()


def test_the_contour_follows_the_mask_and_the_border_has_none():
    labels = np.zeros((448, 448), np.uint8)
    labels[100:300, :200] = 1
    pixels = draw(Image(np.zeros((448, 448), np.uint8), "1"), of(labels)).pixels[:448].astype(int).sum(-1)
    assert (pixels[100:102, :200] == pixels[100, 0]).all() and pixels[100, 0] > 3 * pixels[200, 100] > 0
    assert (pixels[102:298, 0] == pixels[200, 100]).all()
    assert pixels[99].sum() == pixels[300].sum() == 0 == pixels[:, 200].sum()


def test_a_single_pixel_is_seen():
    labels = np.zeros((600, 600), np.uint8)
    labels[300, 300] = 1
    drawn = draw(flat(0, (600, 600)), of(labels)).pixels
    assert drawn[300, 300].tolist() == [round(0.75 * channel) for channel in PALETTE[0]]


def test_a_concept_keeps_its_colour_across_slices_and_opinions():
    voxels = np.full((3, 112, 112), 100, np.uint8)
    labels = np.zeros((3, 112, 112), np.uint8)
    labels[0, :50, :50], labels[2, :50, :50] = 1, 2
    volume = Volume(voxels, "1", (1.0, 1.0, 1.0), np.eye(4), (0.0, 255.0))
    first = of(labels, TUMOUR, CYST)
    second = of(labels[::-1], CYST, TUMOUR)
    for index in (0, 2):
        drawn = draw(volume, (first, second), index=index).pixels[:200, :200]
        assert tint(drawn, PALETTE[0 if index == 0 else 1]).all()
    look = styles((first, of(labels, STONE)))
    assert look == {TUMOUR: Style(PALETTE[0]), CYST: Style(PALETTE[1]), STONE: Style(PALETTE[2])}
    assert tint(draw(volume, of(labels, STONE, STONE), index=0, look=look).pixels[:200, :200], PALETTE[2]).all()


def test_more_concepts_than_colours_are_dashed_and_too_many_refused():
    many = tuple(Code.local(f"part {i}") for i in range(22))
    look = styles([of(MASK, *many[:21])])
    assert len(set(look.values())) == 21 and {style.dash for style in look.values()} == {0, 6, 2}
    dashed = draw(flat(0), of(MASK * 8, *many[:21])).pixels[80:82, 120:320].sum(-1)
    assert 0.3 < (dashed == dashed.max()).mean() < 0.7
    with pytest.raises(UsageError, match="22 concepts"):
        styles([of(MASK, *many)])


def test_the_legend_names_what_is_seen_with_its_measurements():
    labels = MASK.copy()
    findings = measure(of(labels, TUMOUR, CYST), flat(9))
    bare, told = draw(flat(9), of(labels, TUMOUR, CYST)), draw(flat(9), of(labels, TUMOUR, CYST), findings)
    assert (bare.pixels[:448] == told.pixels[:448]).all()
    assert bare.pixels.shape == told.pixels.shape and (bare.pixels != told.pixels).any()
    swatch = (told.pixels[448:] == PALETTE[0]).all(-1)
    assert swatch.sum() >= 14 * 14
    assert not (told.pixels[448:] == PALETTE[1]).all(-1).any()
    assert (told.pixels[448:].min(-1) > 200).sum() > 100


def test_long_names_wrap_and_controls_are_not_drawn():
    short, long = strip([Line("a")], 448, 448), strip([Line("word " * 60)], 448, 448)
    assert long.shape[0] > 4 * short.shape[0] and long.shape[1] == 448
    assert (strip([Line("a\x1b\nb")], 448, 448) == strip([Line("a b")], 448, 448)).all()
    unbroken = strip([Line("w" * 200, (255, 0, 0))], 448, 448)
    assert unbroken.shape[0] > 3 * short.shape[0] and (unbroken[:, -4:] == unbroken[0, 0]).all()


@pytest.mark.parametrize(
    ("finding", "text"),
    [
        (Finding(TUMOUR, quantity=16.4126, unit="mL", site="volume"), "16.4 mL"),
        (Finding(TUMOUR, quantity=25123.4, unit="mm2", site="area"), "25,123 mm²"),
        (Finding(TUMOUR, quantity=7.25, unit="%", site="area of the picture"), "7.25 % of the picture"),
        (Finding(TUMOUR, quantity=31.0, unit="mm", site="longest diameter"), "longest 31 mm"),
        (Finding(TUMOUR, quantity=-35.0, unit="[hnsf'U]", site="mean intensity"), "-35 HU"),
        (Finding(TUMOUR, quantity=2.0, unit="1", site="connected parts"), "2"),
    ],
)
def test_quantities_as_people_write_them(finding, text):
    assert quantity(finding) == text


def stack() -> tuple[Volume, Segmentation]:
    labels = np.zeros((9, 60, 80), np.uint8)
    labels[2, 10:20, 10:20], labels[6, 10:40, 10:40] = 1, 1
    return Volume(np.full((9, 60, 80), 100, np.int16), "1", (3.0, 1.0, 1.0), np.diag([1.0, 1, 3, 1]), (0.0, 255.0)), of(
        labels
    )


def test_a_volume_is_drawn_where_most_is_outlined_or_in_its_middle():
    volume, segmentation = stack()
    assert draw(volume, segmentation) == draw(volume, segmentation, index=6)
    nothing = of(np.zeros((9, 60, 80), np.uint8))
    assert draw(volume, nothing) == draw(volume, nothing, index=4)
    for index in (9, -1):
        with pytest.raises(UsageError, match="0 to 8"):
            draw(volume, segmentation, index=index)
    with pytest.raises(UsageError, match="single picture"):
        draw(flat(9), of(MASK), index=0)
    with pytest.raises(UsageError, match="another picture"):
        draw(flat(9), of(MASK[1:]))
    with pytest.raises(UsageError, match="no style"):
        draw(flat(9), of(MASK), look={})


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_a_contact_sheet_shows_each_slice_once(count):
    volume, segmentation = stack()
    sheet = contact_sheet(volume, segmentation, range(count)).pixels
    assert min(sheet.shape[:2]) >= 448
    outlined = tint(sheet, PALETTE[0])
    seen = [i for i in range(count) if segmentation.labels[i].any()]
    if not seen:
        assert not outlined.any()
        return
    across = int(np.ceil(np.sqrt(count)))
    side = max(192, int(np.ceil(448 / np.ceil(count / across))))
    width = sheet.shape[1] // across
    step = side + strip([Line("1")], width, side).shape[0]
    for i in range(count):
        top, left = i // across * step, i % across * width
        tile = outlined[top : top + side, left : left + width]
        assert tile.mean() == pytest.approx((segmentation.labels[i] > 0).mean(), rel=0.1)
    with pytest.raises(UsageError, match="at least one"):
        contact_sheet(volume, segmentation, ())
