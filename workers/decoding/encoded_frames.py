"""What a decoder is given: some compressed frames of one instance, and the shape that they must have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_BYTE = 8


@dataclass(frozen=True, slots=True)
class FrameLayout:
    """What the header says of each frame (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    photometric_interpretation: str
    planar_configuration: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns, and the samples of a pixel where there are several."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    @property
    def dtype(self) -> np.dtype[np.integer[Any]]:
        """The integers of one decoded sample, in the machine's byte order."""
        return np.dtype(f"{'i' if self.signed else 'u'}{self.bits_allocated // _BYTE}")

    @property
    def frame_samples(self) -> int:
        """How many numbers one frame holds."""
        return self.rows * self.columns * self.samples

    @property
    def frame_bytes(self) -> int:
        """How many bytes one decoded frame takes."""
        return self.frame_samples * self.bits_allocated // _BYTE


@dataclass(frozen=True, slots=True)
class EncodedFrames:
    """Consecutive frames of one instance, numbered from ``first``, each a codestream of one transfer syntax."""

    digest: str
    first: int
    syntax: str
    layout: FrameLayout
    frames: tuple[bytes, ...]

    @property
    def encoded_bytes(self) -> int:
        """How many bytes the codestreams take together."""
        return sum(map(len, self.frames))

    @property
    def decoded_bytes(self) -> int:
        """How many bytes the decoded frames will take together."""
        return self.layout.frame_bytes * len(self.frames)
