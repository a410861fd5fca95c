"""First bytes say what a file is, whatever its name."""

from __future__ import annotations

import pytest

from consilium.errors import DamagedFileError, EncryptedFileError, UnknownFormatError
from consilium.formats.sniff import sniff

CMS = bytes.fromhex("3082100006092a864886f70d010703a0820ff1")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (bytes(128) + b"DICM", "DICOM"),
        (b"II*\0" + bytes(124) + b"DICM", "DICOM"),
        (b"\x08\0\x05\0CS\x0a\0ISO_IR 100", "DICOM"),
        (b"\0\x08\0\x05CS\0\x0aISO_IR 100", "DICOM"),
        (b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100", "DICOM"),
        (b"\x5c\x01\0\0" + bytes(340) + b"n+1\0", "NIfTI"),
        (b"\x1c\x02\0\0n+2\0\r\n\x1a\n", "NIfTI"),
        (b"NRRD0005\n", "NRRD"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"MM\0*", "TIFF"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WebP"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"PK\x03\x04", "ZIP"),
    ],
)
def test_kinds(head, kind):
    assert sniff(head) == kind


@pytest.mark.parametrize("head", [CMS, b"Salted__12345678", b"-----BEGIN PGP MESSAGE-----"])
def test_encrypted(head):
    with pytest.raises(EncryptedFileError, match="decrypt"):
        sniff(head)


@pytest.mark.parametrize(
    ("head", "word"),
    [
        (b"%PDF-1.7", "PDF"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (bytes(344) + b"ni1\0", "pair"),
        (b"plain words\n", "text"),
        ("ein Befund über die Lunge\n".encode("latin-1"), "text"),
        (bytes(range(256)), "00 01 02"),
        (b"\x08\0\x05\0\xff\xff\xff\xff" + bytes(20), "no reader"),
    ],
)
def test_others_are_named(head, word):
    with pytest.raises(UnknownFormatError, match=word):
        sniff(head)


def test_empty():
    with pytest.raises(DamagedFileError):
        sniff(b"")
