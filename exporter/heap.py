"""What the process says once about its memory, when a command begins that runs for long."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

YOUNG = 5_000
"""New containers before Python looks for cycles among them; 700 by default, which a page of a list has many times."""


def share_heaps() -> None:
    """Two heaps for all threads. glibc gives each a heap of its own, and what one has freed no other can use.

    M_ARENA_MAX of https://man7.org/linux/man-pages/man3/mallopt.3.html; other C libraries have no such function.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(-8, 2)


def settle() -> None:
    """What is loaded by now stays until the end: the search for garbage need not go through all modules again.

    Rows by the thousand make new objects, which take the search as far as it goes; it took a tenth of the time of a
    long read. https://docs.python.org/3/library/gc.html#gc.freeze
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)


def give_back() -> None:
    """After a long read: what it has freed goes back to the system, which glibc else does only from the heap's end.

    https://man7.org/linux/man-pages/man3/malloc_trim.3.html
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
