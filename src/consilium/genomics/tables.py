"""Text tables, plain or compressed (gzip, bgzip, zstd): leading comment lines, and columns by blocks."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilium.errors import ConsiliumError, ReadError

if TYPE_CHECKING:
    import pyarrow

UNKNOWN = ("", "NA", "#NA", "na", "NaN", "nan", "N/A", "null", "NULL", "None")
"""What the field writes where a value is not known."""

_BLOCK_BYTES = 8 * 2**20
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True)
class Layout:
    """How a table lies in its file.

    comments   lines that begin with #, without line ends.
    names      of the columns, () where the file has no header.
    delimiter  "" for runs of blanks.
    skip       how many lines stand before the first row.
    first      the words of the first line that is no comment, () where there is none.
    """

    comments: tuple[str, ...]
    names: tuple[str, ...]
    delimiter: str
    skip: int
    first: tuple[str, ...]


def compression(path: Path) -> str | None:
    """ "gzip", "zstd" or None, by the first bytes."""
    with open_file(path) as file:
        head = file.read(4)
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def open_file(path: Path) -> io.BufferedReader:
    """Raises ReadError where the file is not there or may not be read."""
    try:
        return path.open("rb")
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error.strerror}. Check the path.") from error


def open_text(path: Path) -> io.BufferedReader:
    """The bytes of the text, unpacked."""
    packing = compression(path)
    if packing is None:
        return open_file(path)
    if packing == "gzip":
        return _open_gzip(path)
    import pyarrow

    return io.BufferedReader(pyarrow.input_stream(str(path), compression=packing), _BLOCK_BYTES)


def _open_gzip(path: Path) -> Any:
    """isal unpacks several times as fast as zlib; without it the standard library serves."""
    try:
        from isal import igzip
    except ImportError:
        import gzip

        return io.BufferedReader(gzip.open(path), _BLOCK_BYTES)
    return io.BufferedReader(igzip.open(path, "rb"), _BLOCK_BYTES)


_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def demand_whole(path: Path) -> None:
    """ReadError where a file packed by bgzip lacks the empty block that every whole one ends with: cut between two blocks, it
    unpacks without an error."""
    with open_file(path) as file:
        head = file.read(18)
        packed = head[:4] == b"\x1f\x8b\x08\x04" and head[12:14] == b"BC"
        file.seek(0, io.SEEK_END)
        if not packed:
            return
        file.seek(max(0, file.tell() - len(_BGZF_END)))
        if file.read() != _BGZF_END:
            raise ReadError(
                f"{path.name} is truncated: bgzip's end mark is not there. Copy it again; if it is whole, bgzip it anew."
            )


def layout(path: Path, header: bool | None = None) -> Layout:
    """Read the comments and the first line. `header`: whether the first line that is no comment holds names; None: it does
    unless its third word is a number. A last comment that begins with one # and a name is the header (#CHROM, #FID, #IID)."""
    comments: list[str] = []
    first = ""
    with guarded(path), open_text(path) as stream:
        for line in stream:
            first = line.decode("utf-8", "replace").rstrip("\r\n").removeprefix("\ufeff")
            if not first.startswith("#"):
                break
            comments.append(first)
            first = ""
    delimiter = "\t" if "\t" in first else "," if "," in first and " " not in first else ""
    words = cut(first, delimiter)
    named_above = bool(comments) and comments[-1][1:2].isalpha() and "=" not in comments[-1]
    if header is None:
        header = not named_above and len(words) > 2 and not _is_number(words[2])
    names = cut(comments[-1][1:], delimiter) if named_above else words if header else ()
    return Layout(tuple(comments), tuple(names), delimiter, len(comments) + int(header), tuple(words))


def cut(line: str, delimiter: str) -> list[str]:
    return line.split(delimiter) if delimiter else line.split()


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return word in UNKNOWN
    return True


def batches(path: Path, shape: Layout, names: Sequence[str], types: Mapping[str, str]) -> Iterator[pyarrow.RecordBatch]:
    """The columns in `types` (name -> "string", "int64" or "float64") of a table whose columns are called `names`, by blocks.

    Unknown values are null. Raises ReadError where a row has too few or too many columns or a number is none."""
    import pyarrow
    from pyarrow import csv

    stream, delimiter = _stream(path, shape.delimiter)
    with guarded(path), stream:
        yield from csv.open_csv(
            stream,
            csv.ReadOptions(column_names=list(names), skip_rows=shape.skip, block_size=_BLOCK_BYTES),
            csv.ParseOptions(delimiter=delimiter, quote_char=False),
            csv.ConvertOptions(
                column_types={name: getattr(pyarrow, kind)() for name, kind in types.items()},
                include_columns=list(types),
                null_values=list(UNKNOWN),
                strings_can_be_null=True,
            ),
        )


def whole(path: Path, shape: Layout, names: Sequence[str], types: Mapping[str, str]) -> pyarrow.Table:
    """All rows of `batches` as one table."""
    import pyarrow

    schema = pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in types.items()])
    if not shape.first:
        return schema.empty_table()
    return pyarrow.Table.from_batches(list(batches(path, shape, names, types)), schema)


def without_dots(ids: Any) -> Any:
    """Names of variants with null for ".", which names none."""
    import pyarrow
    from pyarrow import compute

    named = compute.fill_null(compute.not_equal(ids, "."), False)
    return ids if compute.all(named).as_py() else compute.if_else(named, ids, pyarrow.scalar(None, ids.type))


def _stream(path: Path, delimiter: str) -> tuple[Any, str]:
    import pyarrow

    if delimiter:
        return pyarrow.input_stream(str(path), compression=compression(path)), delimiter
    return pyarrow.PythonFile(_Squeezed(open_text(path)), "r"), "\t"


class _Squeezed(io.RawIOBase):
    """Runs of blanks as single tabs, so that tables aligned by hand are read too."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self._left = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while len(self._left) < size and (lines := self._stream.readlines(_BLOCK_BYTES)):
            self._left += b"".join(b"\t".join(line.split()) + b"\n" for line in lines)
        taken, self._left = self._left[:size], self._left[size:]
        return taken

    def close(self) -> None:
        self._stream.close()
        super().close()


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Around a decoder: what it raises becomes a ReadError that names the file and quotes no cell (cells may hold names)."""
    try:
        yield
    except ConsiliumError:
        raise
    except Exception as error:
        said = str(error)
        if "Expected" in said:
            what = "a row has another number of columns than the first"
        elif "conversion error" in said:
            what = said.partition(": invalid value")[0]
        else:
            what = type(error).__name__
        raise ReadError(f"{path.name} is damaged or not such a table ({what}); copy or export it again.") from error
