"""Computes without denormal numbers, which make some CPUs tens of times slower and carry nothing in a network."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_within = threading.local()


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Flushes denormals to zero inside the block, and in blocks within it. The setting is the thread's, and other code relies on
    IEEE arithmetic, so it is taken back at the end of the outermost."""
    depth = getattr(_within, "depth", 0)
    _within.depth = depth + 1
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        _within.depth = depth
        if not depth:
            torch.set_flush_denormal(False)
