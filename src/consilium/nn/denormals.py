"""Computes without denormal numbers, which make some CPUs tens of times slower and carry nothing in a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Flushes denormals to zero inside the block. The setting is the thread's, and other code relies on IEEE arithmetic, so
    it is taken back at the end."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
