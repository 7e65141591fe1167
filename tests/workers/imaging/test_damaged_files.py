from __future__ import annotations

import random
import subprocess
import sys
from importlib.util import find_spec

import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from storage.errors import OncueError
from storage.objects import ObjectStore
from tests.support.dicom import SeriesPlan, compressed, enhanced, part10, put
from workers.imaging.instances import read_headers
from workers.imaging.parsing import ReadLimits
from workers.imaging.series import SelectionRules, choose_series
from workers.imaging.volumes import build_volume

PLAN = SeriesPlan(shape=(3, 48, 40))
LIMITS = ReadLimits(decoded_bytes=50_000_000, voxels=10_000_000)
_HEADER_BYTES = 2600
_SYNTAXES = {
    "uncompressed": None,
    "JPEG 2000": uid.JPEG2000Lossless,
    "JPEG-LS": uid.JPEGLSLossless,
    "RLE": uid.RLELossless,
}


def _damaged(content: bytes, chance: random.Random) -> bytes:
    """Change a few bytes anywhere, more often in the header, and sometimes cut the end off."""
    damaged = bytearray(content)
    for _ in range(chance.choice([1, 2, 5])):
        end = len(damaged) if chance.random() < 0.5 else min(len(damaged), _HEADER_BYTES)
        damaged[chance.randrange(132, end)] = chance.choice([0, 0xFF, chance.randrange(256)])
    return bytes(damaged[: chance.randrange(len(damaged))] if chance.random() < 0.15 else damaged)


def _read(objects: ObjectStore, content: bytes, like: Dataset) -> str:
    try:
        scan = read_headers([put(objects, content, like=like)], objects, limits=LIMITS)
        chosen, _ = choose_series(scan, rules=SelectionRules(fewest_slices=1))
        build_volume(chosen, objects, limits=LIMITS)
    except OncueError as error:
        assert "Doe" not in str(error)  # noqa: PT017 - reading it whole is as right as refusing it
        return error.code
    return "read"


@pytest.mark.parametrize("syntax", _SYNTAXES)
@pytest.mark.slow
def test_a_damaged_file_is_read_or_refused_with_a_code_and_never_crashes(objects: ObjectStore, syntax: str) -> None:
    instance = enhanced(PLAN)
    if (transfer_syntax := _SYNTAXES[syntax]) is not None:
        instance = compressed(instance, transfer_syntax)
    content, chance = part10(instance), random.Random(f"damage {syntax}")  # noqa: S311 - damage that can be repeated
    outcomes = {_read(objects, _damaged(content, chance), instance) for _ in range(150)}
    assert {"read", "unreadable_instance", "no_usable_series"} <= outcomes


@pytest.mark.slow
def test_reading_and_drawing_need_no_torch() -> None:
    program = "import sys, workers.imaging.volumes, phantom.study; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_copyleft_jpeg_codec_is_not_installed() -> None:
    assert find_spec("libjpeg") is None
