"""What one read may cost, and the one place where a library's exceptions become ours."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from consilium.errors import ConsiliumError, DamagedFileError, UnsafeFileError

MAX_FILES = 20_000
MAX_FRAME_PIXELS = 2**28
MAX_BYTES = 4 * 2**30
MAX_RATIO = 200
RATIO_FLOOR_BYTES = 64 * 2**20
"""Below this size nothing is called a bomb: an empty mask shrinks a thousandfold and is honest."""

_OBJECT = re.compile(r"\s*<[^<>]* object at 0x[0-9A-Fa-f]+>")


@contextmanager
def guarded(doing: str, *, quote: bool = True) -> Iterator[None]:
    """Turns whatever a decoder raises into DamagedFileError. `quote` is False where its words may name the patient."""
    try:
        yield
    except ConsiliumError:
        raise
    except Exception as error:
        said = _OBJECT.sub("", str(error)).strip().splitlines()[:1] if quote else []
        reason = f"{type(error).__name__}: {said[0][:200]}" if said else type(error).__name__
        raise DamagedFileError(f"cannot {doing} ({reason}); copy or export the file again.") from error


def check_claim(frame: Sequence[int], count: int, itemsize: int) -> None:
    """Judge a size that a header claims, before anything is allocated: `count` frames of shape `frame`.

    Raises DamagedFileError for a size that is not positive, UnsafeFileError above MAX_FRAME_PIXELS or MAX_BYTES.
    """
    claimed = " x ".join(str(n) for n in (count, *frame))
    if min(count, *frame) < 1:
        raise DamagedFileError(f"the header claims {claimed} pixels; export the file again.")
    if math.prod(frame[:2]) > MAX_FRAME_PIXELS:
        raise UnsafeFileError(
            f"the header claims {claimed} pixels, more than {MAX_FRAME_PIXELS} a frame; crop it first."
        )
    check_total(math.prod(frame) * count * itemsize)


def check_total(size: int) -> None:
    """Raises UnsafeFileError where `size` bytes are more than one read may take."""
    if size > MAX_BYTES:
        raise UnsafeFileError(
            f"{size} bytes of pictures, more than the {MAX_BYTES} that one read may take; split them."
        )


def expansion_limit(compressed: int) -> int:
    """How many bytes `compressed` bytes may honestly become."""
    return min(MAX_BYTES, max(RATIO_FLOOR_BYTES, MAX_RATIO * compressed))


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_at_most(stream: _Readable, limit: int) -> bytes:
    """The whole of a decompressing stream; raises UnsafeFileError as soon as it exceeds `limit` bytes."""
    data = stream.read(limit + 1)
    if len(data) > limit:
        raise UnsafeFileError(f"the compressed data grow beyond {limit} bytes, as a decompression bomb does.")
    return data
