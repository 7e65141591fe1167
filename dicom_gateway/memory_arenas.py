"""How the C library keeps memory for threads: shared, so that what one association gave back serves the next."""

from __future__ import annotations

import ctypes
import platform

_M_ARENA_MAX = -8  # of malloc.h
_ARENAS = 2


def share_arenas() -> None:
    """Let all threads that this process starts from now on take memory from the same few places.

    glibc gives threads arenas of their own, which keep what was freed in them: with sixteen associations that was a
    quarter of the gateway's memory. Other C libraries have no such thing, and are left alone.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
