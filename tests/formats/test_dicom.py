"""One DICOM file: pixel values, windows, colours, compressions and refusals, against values that were put in."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from consilium.errors import DamagedFileError, NotAnImageError, UnknownFormatError, UnsafeFileError
from consilium.formats import read


def image_of(path: Path):
    (study,) = read(path)
    (image,) = study.images
    return study, image


def test_ct_becomes_whole_hu(write, make_dicom, ramp):
    data = make_dicom(
        ramp,
        RescaleSlope=1,
        RescaleIntercept=-1024,
        WindowCenter=[40, 600],
        WindowWidth=[400, 1500],
        PixelSpacing=[2, 3],
    )
    study, image = image_of(write(data))
    assert image.units == "HU"
    assert image.pixels.dtype == np.int16
    np.testing.assert_array_equal(image.pixels, ramp.astype(int) - 1024)
    assert image.window == (40 - 0.5 - 199.5, 40 - 0.5 + 199.5)
    assert image.spacing_mm == (2, 3)
    assert study.notes == ("first of 2 windows",)
    assert (study.modality, study.modality_source, study.file_format) == ("CT", "header", "DICOM")


def test_a_fractional_slope_gives_floats(write, make_dicom, ramp):
    _, image = image_of(write(make_dicom(ramp, Modality="PT", RescaleSlope=0.5, RescaleIntercept=3)))
    np.testing.assert_allclose(image.pixels, ramp * 0.5 + 3)
    assert image.units == ""


def test_monochrome1_is_inverted_with_its_window(write, make_dicom, ramp):
    data = make_dicom(
        ramp,
        Modality="DX",
        BitsStored=12,
        PhotometricInterpretation="MONOCHROME1",
        WindowCenter=1000.5,
        WindowWidth=201,
    )
    study, image = image_of(write(data))
    np.testing.assert_array_equal(image.pixels, 4095 - ramp)
    assert image.window == (4095 - 1100, 4095 - 900)
    assert "MONOCHROME1 inverted" in study.notes


def test_hu_are_not_inverted(write, make_dicom, ramp):
    data = make_dicom(ramp, PhotometricInterpretation="MONOCHROME1", RescaleSlope=1, RescaleIntercept=0)
    study, image = image_of(write(data))
    np.testing.assert_array_equal(image.pixels, ramp)
    assert any("not inverted" in note for note in study.notes)


def test_monochrome1_of_rescaled_signed_values(write, make_dicom):
    stored = np.array([[-2048, 0], [5, 2047]], np.int16)
    data = make_dicom(
        stored,
        Modality="CR",
        BitsStored=12,
        PhotometricInterpretation="MONOCHROME1",
        RescaleSlope=2,
        RescaleIntercept=1,
    )
    _, image = image_of(write(data))
    np.testing.assert_array_equal(image.pixels, (-4095 + 4095) - (stored.astype(int) * 2 + 1))


def test_signed_twelve_bits_are_extended_and_rubbish_above_is_cleared(write, make_dicom):
    stored = np.array([[0x0FFF, 0x0800], [0x07FF, 0xF001]], np.uint16)
    data = make_dicom(stored.view(np.int16), Modality="MR", BitsStored=12)
    _, image = image_of(write(data))
    np.testing.assert_array_equal(image.pixels, [[-1, -2048], [2047, 1]])
    _, image = image_of(write(make_dicom(stored, Modality="MR", BitsStored=12)))
    np.testing.assert_array_equal(image.pixels, [[4095, 2048], [2047, 1]])


def lut(values: list[int], first: int, bits: int) -> pydicom.Sequence:
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [len(values), first, bits])
    item.add_new("LUTData", "US", values)
    return pydicom.Sequence([item])


def test_modality_lut_and_voi_lut_are_applied_in_order(write, make_dicom):
    stored = np.array([[0, 1], [2, 3]], np.uint8)
    data = make_dicom(
        stored,
        Modality="CR",
        ModalityLUTSequence=lut([3, 2, 1, 0], 0, 8),
        VOILUTSequence=lut([100, 200, 1000, 4000], 0, 12),
    )
    study, image = image_of(write(data))
    np.testing.assert_array_equal(image.pixels, [[4000, 1000], [200, 100]])
    assert image.window == (0, 4095)
    assert {"modality LUT applied", "VOI LUT applied"} <= set(study.notes)


def test_palette_becomes_rgb(write, make_dicom):
    stored = np.array([[0, 1], [2, 1]], np.uint8)
    tables = {}
    for name, entries in {"Red": [0, 255, 10], "Green": [0, 128, 20], "Blue": [0, 64, 30]}.items():
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [3, 0, 16]
        tables[f"{name}PaletteColorLookupTableData"] = np.array(entries, "<u2").__lshift__(8).astype("<u2").tobytes()
    _, image = image_of(write(make_dicom(stored, Modality="US", PhotometricInterpretation="PALETTE COLOR", **tables)))
    assert image.units == "RGB"
    np.testing.assert_array_equal(image.pixels, [[[0, 0, 0], [255, 128, 64]], [[10, 20, 30], [255, 128, 64]]])


def test_ybr_becomes_rgb(write, make_dicom):
    grey = np.full((4, 4), 90, np.uint8)
    ybr = np.stack([grey, np.full_like(grey, 128), np.full_like(grey, 255)], axis=-1)
    data = make_dicom(
        ybr, Modality="US", SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation="YBR_FULL"
    )
    _, image = image_of(write(data))
    assert image.pixels[0, 0].tolist() == [255, 0, 90]


def test_equal_channels_become_grey(write, make_dicom):
    grey = np.arange(16, dtype=np.uint8).reshape(4, 4)
    data = make_dicom(
        np.stack([grey] * 3, axis=-1),
        Modality="US",
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
    )
    _, image = image_of(write(data))
    np.testing.assert_array_equal(image.pixels, grey)
    assert image.units == ""


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_compressions_equal_the_values_put_in(write, make_dicom, ramp, syntax, bits):
    values = (ramp.astype(int) % 2**bits).astype(np.uint8 if bits == 8 else np.uint16)
    _, image = image_of(write(make_dicom(values, compress=syntax, Modality="MR", BitsStored=bits)))
    np.testing.assert_array_equal(image.pixels, values)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_uncompressed_syntaxes_equal_the_values_put_in(write, make_dicom, ramp, syntax):
    _, image = image_of(write(make_dicom(ramp, syntax=syntax, Modality="MR")))
    np.testing.assert_array_equal(image.pixels, ramp)
    assert image.pixels.dtype == np.uint16


def test_twelve_bit_jpeg_is_decoded(samples):
    study, image = image_of(samples / "pydicom__JPGExtended.dcm")
    assert image.pixels.shape == (1024, 256)
    assert (int(image.pixels.min()), int(image.pixels.max())) == (0, 264)
    assert study.body_part == "WHOLE BODY"


@pytest.mark.parametrize("name", ["pydicom__CT_small.dcm", "pydicom__MR_small_RLE.dcm"])
def test_samples_equal_what_pydicom_decodes(samples, name):
    _, image = image_of(samples / name)
    dataset = pydicom.dcmread(samples / name)
    expected = pydicom.pixels.apply_modality_lut(dataset.pixel_array, dataset)
    np.testing.assert_array_equal(image.pixels, expected)


def test_without_preamble_and_meta_header(write, samples):
    dataset = pydicom.dcmread(samples / "pydicom__CT_small.dcm")
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, pydicom.Dataset(dataset), implicit_vr=False, little_endian=True)
    bare = stream.getvalue()
    assert bare[:2] == b"\x08\0"
    _, image = image_of(write(bare))
    _, whole = image_of(samples / "pydicom__CT_small.dcm")
    assert image == whole


def test_frames_without_place_are_images(write, make_dicom, ramp):
    cine = np.stack([ramp, ramp + 1, ramp + 2])
    (study,) = read(write(make_dicom(cine, NumberOfFrames=3, Modality="US")))
    assert [int(image.pixels[0, 0]) for image in study.images] == [0, 1, 2]
    assert [image.uid[-2:] for image in study.images] == ["#0", "#1", "#2"]


def test_padding_is_the_darkest_even_in_monochrome1(write, make_dicom):
    stored = np.array([[0, 0, 500], [600, 700, 800]], np.uint16)
    data = make_dicom(
        stored, Modality="MG", BitsStored=12, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=0
    )
    study, image = image_of(write(data))
    np.testing.assert_array_equal(image.pixels, [[3295, 3295, 3595], [3495, 3395, 3295]])
    assert "padding shown as the darkest value" in study.notes


def test_tiles_are_joined(write, make_dicom):
    whole = np.arange(6 * 7, dtype=np.uint8).reshape(6, 7)
    wide = np.pad(whole, ((0, 0), (0, 1)))
    tiles = wide.reshape(2, 3, 2, 4).swapaxes(1, 2).reshape(4, 3, 4)
    data = make_dicom(
        tiles,
        NumberOfFrames=4,
        Modality="SM",
        DimensionOrganizationType="TILED_FULL",
        TotalPixelMatrixRows=6,
        TotalPixelMatrixColumns=7,
    )
    _, image = image_of(write(data))
    np.testing.assert_array_equal(image.pixels, whole)


@pytest.mark.parametrize(
    ("given", "expected"), [("THORAX", "CHEST"), ("BRAIN", "HEAD"), ("LUNGS", "CHEST"), ("KNEE", "KNEE"), (" ", None)]
)
def test_body_part_in_dicoms_words(write, make_dicom, ramp, given, expected):
    (study,) = read(write(make_dicom(ramp, BodyPartExamined=given)))
    assert study.body_part == expected
    assert study.body_part_source == ("header" if expected else "unknown")


def test_body_part_from_the_anatomic_region(write, make_dicom, ramp):
    region = pydicom.Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "43799004", "SCT", "Thorax"
    (study,) = read(write(make_dicom(ramp, Modality="DX", AnatomicRegionSequence=pydicom.Sequence([region]))))
    assert study.body_part == "CHEST"


SEG, DOSE, REPORT, ECG = (f"1.2.840.10008.5.1.4.1.1.{tail}" for tail in ("66.4", "481.2", "88.33", "9.1.1"))


@pytest.mark.parametrize(("sop_class", "word"), [(SEG, "segmentation"), (DOSE, "dose")])
def test_pixels_that_are_no_picture_are_refused_by_name(write, make_dicom, ramp, sop_class, word):
    with pytest.raises(NotAnImageError, match=word):
        read(write(make_dicom(ramp, SOPClassUID=sop_class)))


@pytest.mark.parametrize(("sop_class", "word"), [(REPORT, "Comprehensive SR"), (ECG, "ECG Waveform")])
def test_objects_without_pixels_are_refused_by_name(write, sop_class, word):
    dataset = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, "1.2.3"
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    with pytest.raises(NotAnImageError, match=word):
        read(write(stream.getvalue()))


def test_pixels_cut_off(write, make_dicom, ramp):
    data = make_dicom(ramp)
    with pytest.raises(DamagedFileError, match="less than expected"):
        read(write(data[:-100]))
    with pytest.raises(DamagedFileError):
        read(write(data[: len(data) // 4]))


def test_a_claim_is_judged_before_decoding(write, make_dicom, ramp):
    data = make_dicom(ramp)
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.Rows = dataset.Columns = 65535
    stream = io.BytesIO()
    dataset.save_as(stream)
    with pytest.raises(UnsafeFileError, match="claims"):
        read(write(stream.getvalue()))


def test_a_codestream_that_claims_another_size(write, make_dicom, ramp):
    data = bytearray(make_dicom(ramp, compress=JPEG2000Lossless))
    at = data.index(b"\xff\x4f\xff\x51")
    data[at + 8 : at + 12] = (60000).to_bytes(4, "big")
    with pytest.raises(DamagedFileError, match="the header says"):
        read(write(bytes(data)))


def test_jpeg_ls_without_its_end_mark_never_reaches_the_decoder(write, make_dicom, ramp):
    data = make_dicom(ramp, compress=JPEGLSLossless)
    at = data.rindex(b"\xff\xd9")
    with pytest.raises(DamagedFileError, match="end mark"):
        read(write(data[:at] + b"\x71" + data[at + 1 :]))


def test_video_has_no_decoder(write, make_dicom, ramp):
    dataset = pydicom.dcmread(io.BytesIO(make_dicom(ramp, compress=RLELossless)))
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.MPEG4HP41
    stream = io.BytesIO()
    dataset.save_as(stream)
    with pytest.raises(UnknownFormatError, match="MPEG-4"):
        read(write(stream.getvalue()))


def test_nothing_of_the_patient_is_told_or_logged(write, make_dicom, ramp, caplog):
    secrets = {
        "PatientName": "Verne^Jules",
        "PatientID": "MRN0815",
        "AccessionNumber": "ACC4711",
        "StudyDate": "18280208",
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = make_dicom(ramp, **secrets, PatientBirthDate="not a date Verne")
    caplog.clear()
    (study,) = read(write(data))
    with pytest.raises(DamagedFileError) as raised:
        read(write(data[:-100]))
    said = " ".join((*study.notes, str(raised.value), caplog.text))
    assert not any(secret in said for secret in (*secrets.values(), "Verne"))


def test_twelve_bits_of_colour_are_as_bright_as_they_are(write, make_dicom):
    colours = np.stack([np.arange(0, 4096, 256, dtype=np.uint16).reshape(4, 4) + k for k in (0, 16, 32)], axis=-1)
    data = make_dicom(
        colours, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0, BitsStored=12, Modality="OT"
    )
    (study,) = read(write(data))
    np.testing.assert_array_equal(study.images[0].pixels, colours >> 4)


def test_monochrome1_that_outgrows_its_type_is_inverted_too(write, make_dicom):
    stored = np.arange(0, 4000, 250, dtype=np.uint16).reshape(4, 4)
    data = make_dicom(
        stored, Modality="DX", PhotometricInterpretation="MONOCHROME1", RescaleSlope=1, RescaleIntercept=-1024
    )
    (study,) = read(write(data))
    np.testing.assert_array_equal(study.images[0].pixels, 65535 - 2048 - (stored.astype(int) - 1024))


def test_a_window_that_is_no_number_is_left_out(write, make_dicom, ramp):
    data = bytearray(make_dicom(ramp, WindowCenter="40", WindowWidth="400"))
    place = bytes(data).index(b"DS\x02\x0040") + 4
    data[place : place + 2] = b"ab"
    (study,) = read(write(bytes(data)))
    assert study.images[0].window is None and "a window that is no number left out" in study.notes
