"""Keeps what a batch frees for the next one.

The C library gives freed memory at the top of its heap back to the system, and a batch frees all
that it took: the next one then pays for each page anew, with a batch of 64 small images a third of
the forward pass.
"""

from __future__ import annotations

import ctypes

KEPT_BYTES = 256 * 1024 * 1024
"""Most free memory that a worker keeps."""
LARGEST_BYTES = 32 * 1024 * 1024
"""Blocks beyond this go back at once; glibc takes no larger bound."""

_TRIM_THRESHOLD = -1  # the numbers of glibc's malloc.h
_MMAP_THRESHOLD = -3


def keep_freed_memory() -> bool:
    """Tell glibc; return whether it is glibc, and listened. Other C libraries are left alone."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    kept = mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
    return bool(kept and mallopt(_MMAP_THRESHOLD, LARGEST_BYTES))
