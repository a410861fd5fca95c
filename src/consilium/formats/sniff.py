"""What a file is, by its first bytes: names are free text, and clinics name files as they like."""

from __future__ import annotations

from consilium.errors import DamagedFileError, EncryptedFileError, UnknownFormatError

HEAD_BYTES = 4096

_MAGIC = (
    (128, b"DICM", "DICOM"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"WEBP", "WebP"),
    (0, b"NRRD", "NRRD"),
    (344, b"n+1\0", "NIfTI"),
    (4, b"n+2\0", "NIfTI"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"PK\x05\x06", "ZIP"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"BM", "BMP"),
)

_ENCRYPTED = (
    (b"Salted__", "OpenSSL"),
    (b"-----BEGIN PGP", "PGP"),
    (b"-----BEGIN CMS", "CMS"),
    (b"-----BEGIN PKCS7", "CMS"),
    (b"age-encryption.org", "age"),
)
_CMS_OID = bytes.fromhex("06092a864886f70d0107")

_UNREADABLE = (
    (0, b"%PDF", "a PDF document: export its pictures"),
    (0, b"\x89HDF", "HDF5: export it as NIfTI"),
    (0, b"\0\0\0\x0cjP  ", "a bare JPEG 2000 file: save it as PNG or TIFF"),
    (0, b"\xff\x4f\xff\x51", "a bare JPEG 2000 stream: save it as PNG or TIFF"),
    (344, b"ni1\0", "the header of a NIfTI pair: save it as one .nii file"),
    (0, b"\x5c\x01\0\0", "an Analyze header, which says no orientation: save it as one .nii file"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
    (0, b"Rar!", "a RAR archive: unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "Zstandard: unpack it first"),
    (0, b"BZh", "bzip2: unpack it first"),
    (257, b"ustar", "a tar archive: unpack it first"),
)


class AuxiliaryFileError(UnknownFormatError):
    """A text or listing that lies beside pictures and was never one."""


def sniff(data: bytes) -> str:
    """The format of `data`: DICOM, NIfTI, NRRD, PNG, JPEG, TIFF, GIF, BMP, WebP, ZIP or gzip.

    Raises DamagedFileError for an empty file, EncryptedFileError, or UnknownFormatError naming what it looks like.
    """
    head = bytes(data[:HEAD_BYTES])
    if not head:
        raise DamagedFileError("the file is empty (0 bytes); copy it again.")
    for offset, magic, name in _MAGIC:
        if head.startswith(magic, offset):
            return name
    _refuse_encrypted(head)
    for offset, magic, what in _UNREADABLE:
        if head.startswith(magic, offset):
            raise UnknownFormatError(f"this is {what}.")
    if _is_bare_dicom(head):
        return "DICOM"
    if _is_text(head):
        raise AuxiliaryFileError("this is text, not a picture.")
    raise UnknownFormatError(
        f"no reader knows a file that starts with {head[:8].hex(' ')}; consilium reads DICOM, NIfTI, NRRD, PNG, JPEG, "
        "TIFF, GIF, BMP and WebP, alone, in a folder or in a ZIP."
    )


def _refuse_encrypted(head: bytes) -> None:
    for magic, name in _ENCRYPTED:
        if head.startswith(magic):
            raise EncryptedFileError(f"the file is encrypted ({name}); decrypt it first.")
    if head[:1] == b"\x30" and _CMS_OID in head[:24]:
        raise EncryptedFileError("the file is a CMS envelope (DICOM secure media); decrypt it first.")


def _is_bare_dicom(head: bytes) -> bool:
    """DICOM without preamble starts with the group 2 or 8, a small element number, and a VR or a short length."""
    if head.startswith(b"DICM"):
        return True
    if head[:2] not in {b"\x08\0", b"\0\x08", b"\x02\0", b"\0\x02"} or len(head) < 16:
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return explicit or int.from_bytes(head[4:8], "little") < HEAD_BYTES


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    printable = sum(byte >= 32 or byte in b"\t\n\r\f" for byte in head)
    return printable >= 0.98 * len(head) and sum(byte < 128 for byte in head) > 0.7 * len(head)
