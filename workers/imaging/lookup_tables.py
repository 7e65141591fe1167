"""Lookup tables of images: Modality LUT and VOI LUT items, read and applied (PS3.3 C.11.1.1, C.11.2.1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import float32
from numpy.typing import NDArray
from pydicom.dataset import Dataset

_WHOLE_RANGE = 65536
_DESCRIPTOR = 3
_BYTE, _WORD = 8, 16
_SIGN = 1 << 15


@dataclass(frozen=True, slots=True, eq=False)
class LookupTable:
    """``entries[0]`` is for every value up to ``first``, the last one for every value beyond the table."""

    first: int
    entries: NDArray[float32]
    highest: float
    """The largest value that the table's bits can hold."""

    def apply(self, values: NDArray[Any]) -> NDArray[float32]:
        """Return what the table makes of each value."""
        indices = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        return np.asarray(self.entries[indices], dtype=float32)


def read_table(item: Dataset, *, signed: bool) -> LookupTable | None:
    """Return the table of a sequence item, or None where its data is not what its descriptor promises.

    ``signed`` says whether the values that are looked up may be negative, since many writers give the first of them
    the VR of an unsigned one. Call it inside ``parsing``.
    """
    descriptor = item.get("LUTDescriptor")
    if descriptor is None or len(descriptor) != _DESCRIPTOR:
        return None
    count, first, bits = (int(value) for value in descriptor)
    count = count or _WHOLE_RANGE
    entries = _entries(item, count)
    if entries is None or not _BYTE <= bits <= _WORD:
        return None
    if signed and first >= _SIGN:
        first -= 2 * _SIGN
    return LookupTable(first, entries.astype(float32), float((1 << bits) - 1))


def _entries(item: Dataset, count: int) -> NDArray[Any] | None:
    """Return the entries, in bytes or words, as numbers or as they came."""
    data = item.get("LUTData")
    if isinstance(data, bytes):
        if len(data) in {count, count + count % 2}:
            return np.frombuffer(data, dtype=np.uint8)[:count]
        words = np.frombuffer(data[: len(data) // 2 * 2], dtype="<u2" if item.is_little_endian is not False else ">u2")
        return words if len(words) == count else None
    if data is None:
        return None
    values = np.atleast_1d(np.asarray(data, dtype=np.int64)) & (_WHOLE_RANGE - 1)
    return values if len(values) == count else None
