"""How long the pixels of a CT series take, uncompressed and in three lossless codecs: here, and in child processes.

The time of ``here`` is what a worker took that called the codecs itself, with all that a process of one's own saves:
the same reading and checking, then the codec in the same process.

Run: ``python -m benchmarks.decoding [--slices N] [--size N] [--repeats N]``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from pydicom import uid

from storage.objects import ObjectStore
from tests.support.dicom import SeriesPlan, compressed, put, series
from workers.decoding.codecs import decode
from workers.decoding.decoders import Decoders
from workers.decoding.encoded_frames import EncodedFrames
from workers.imaging.parsing import DEFAULT_LIMITS
from workers.imaging.pixel_description import describe_pixels
from workers.imaging.pixels import decode_instances

_SYNTAXES = (uid.ExplicitVRLittleEndian, uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.RLELossless)


def main() -> None:
    """Measure and print a table of medians."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        objects = ObjectStore(Path(folder))
        objects.prepare()
        print("| transfer syntax | MB stored | here | one decoder | two | four |\n|---|---|---|---|---|---|")
        for syntax in _SYNTAXES:
            stored = _stored(objects, syntax, arguments.slices, arguments.size)
            digests, megabytes = [digest for digest, _ in stored], sum(size for _, size in stored) / 1e6
            ways: list[Callable[[], None]] = [lambda digests=digests: _here(objects, digests)]  # type: ignore[misc] # its types cannot be told from a default
            crews = [Decoders(most=most) for most in (1, 2, 4)]
            ways += [lambda crew=crew, digests=digests: _apart(objects, digests, crew) for crew in crews]  # type: ignore[misc] # its types cannot be told from a default
            cells = " | ".join(f"{_median(way, arguments.repeats):.2f}" for way in ways)
            print(f"| {syntax.name} | {megabytes:.0f} | {cells} |", flush=True)
            for crew in crews:
                crew.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def _stored(objects: ObjectStore, syntax: uid.UID, slices: int, size: int) -> list[tuple[str, int]]:
    """Store a noisy disc in every slice; return digests and sizes."""
    chance = np.random.default_rng(1)
    found = []
    across = np.hypot(*(np.indices((size, size)) - size / 2)) / size
    for image in series(SeriesPlan(modality="CT", shape=(slices, size, size))):
        grey = np.where(across < 0.4, 1000 + 60 * np.cos(across * 30), 20) + chance.normal(0, 12, across.shape)
        image.PixelData = grey.clip(0, 4095).astype("<u2").tobytes()
        kept = put(objects, image if syntax == uid.ExplicitVRLittleEndian else compressed(image, syntax))
        found.append((kept.digest, kept.size_bytes))
    return found


def _here(objects: ObjectStore, digests: list[str]) -> None:
    for digest in digests:
        pixels = describe_pixels(objects, digest, limits=DEFAULT_LIMITS)
        if not pixels.is_compressed:
            _use(frame for _, _, frame in decode_instances(objects, [digest]))
            continue
        request = EncodedFrames(digest, 1, str(pixels.syntax), pixels.layout, tuple(pixels.encoded_frames()))
        _use(decode(request.frames, request.syntax, request.layout))


def _apart(objects: ObjectStore, digests: list[str], crew: Decoders) -> None:
    _use(frame for _, _, frame in decode_instances(objects, digests, decoders=crew))


def _use(frames: Iterator[np.ndarray]) -> None:
    for frame in frames:
        frame.astype(np.float32)


def _median(way: Callable[[], None], repeats: int) -> float:
    way()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        way()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
