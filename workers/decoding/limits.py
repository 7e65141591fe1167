"""How much memory and time one request may cost a decoder: in proportion to what it is to give back."""

from __future__ import annotations

from dataclasses import dataclass

from workers.decoding.encoded_frames import EncodedFrames

_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one request may use, beside what the process needs at rest and the memory that is shared with it."""

    room_bytes: int
    cpu_seconds: int
    wall_seconds: float


@dataclass(frozen=True, slots=True)
class DecodingLimits:
    """From the size of a request to its allowance.

    Measured on noise, which is the most work: JPEG 2000 takes 12 bytes a sample (15 where the image is small) and
    0.09 s of a processor for a decoded megabyte, the other codecs less of both.
    """

    base_bytes: int = 256_000_000
    bytes_per_sample: int = 16
    most_bytes: int = 4_000_000_000
    base_seconds: int = 10
    seconds_per_megabyte: float = 0.5
    wall_factor: float = 4.0
    """How much longer than its processor time a request may take, as on a machine with other work."""

    def allowance(self, request: EncodedFrames) -> Allowance:
        """Return what a request may use; one frame is decoded at a time, so memory goes by a single frame."""
        room = self.base_bytes + self.bytes_per_sample * request.layout.frame_samples
        longest = max(map(len, request.frames), default=0)
        seconds = self.base_seconds + int(self.seconds_per_megabyte * request.decoded_bytes / _MEGABYTE)
        return Allowance(min(room + 4 * longest, self.most_bytes), seconds, seconds * self.wall_factor)
