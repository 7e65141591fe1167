from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from storage.domain import Algorithm, Presence, Segmentation
from storage.volumes import Extent, FrameRef, Geometry, Volume
from workers.components import MOST_LESIONS
from workers.lesions import find_lesions, longest_diameter_mm

GEOMETRY = Geometry((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (5.0, 2.0, 1.0))
ALGORITHM = Algorithm("test", "1", "a" * 64, "{}")


def _volume(shape: tuple[int, int, int]) -> Volume:
    frames = tuple(FrameRef(f"1.2.{z}", "1.2", None, "0" * 64) for z in range(shape[0]))
    return Volume(np.zeros(shape, np.float32), GEOMETRY, "MR", "1.2.3", "1.2.4", None, frames)


def _segmentation(mask: np.ndarray, *, score: np.ndarray | None = None, case_score: float = 0.8) -> Segmentation:
    score_map = mask.astype(np.float32) if score is None else score
    return Segmentation(mask, score_map, case_score, 0.0, ALGORITHM)


def _mask(*boxes: tuple[slice, slice, slice], shape: tuple[int, int, int] = (6, 30, 30)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    for box in boxes:
        mask[box] = True
    return mask


def test_lesions_are_numbered_by_falling_volume_and_measured_in_millilitres() -> None:
    mask = _mask(np.s_[0:1, 0:2, 0:2], np.s_[2:5, 10:20, 10:20])
    found = find_lesions(_segmentation(mask), _volume(mask.shape), input_sha256="1" * 64)
    assert [finding.number for finding in found.findings] == [1, 2]
    assert [finding.volume_ml for finding in found.findings] == pytest.approx([3.0, 0.04])
    assert found.labels[3, 15, 15] == 1
    assert found.labels[0, 0, 0] == 2
    assert np.array_equal(found.labels > 0, mask)


def test_an_empty_mask_is_one_statement_of_absence() -> None:
    mask = _mask()
    found = find_lesions(_segmentation(mask, case_score=0.1), _volume(mask.shape), input_sha256="1" * 64)
    (finding,) = found.findings
    assert (finding.presence, finding.number, finding.volume_ml) == (Presence.ABSENT, 0, 0.0)
    assert finding.confidence == pytest.approx(0.9)


def test_the_same_input_gives_the_same_tracking_uids_and_other_input_others() -> None:
    mask = _mask(np.s_[0:1, 0:2, 0:2], np.s_[2:5, 10:20, 10:20])
    one, same, other = (
        find_lesions(_segmentation(mask), _volume(mask.shape), input_sha256=digest * 64).findings for digest in "112"
    )
    assert [f.tracking_uid for f in one] == [f.tracking_uid for f in same]
    assert len({f.tracking_uid for f in (*one, *other)}) == 4


def test_beyond_the_cap_the_smallest_share_the_last_number_and_no_voxel_is_lost() -> None:
    shape = (1, 60, 60)
    boxes = [np.s_[0:1, row : row + 2, column : column + 2] for row in range(0, 60, 6) for column in range(0, 18, 6)]
    mask = _mask(*boxes, shape=shape)
    found = find_lesions(_segmentation(mask), _volume(shape), input_sha256="1" * 64)
    assert len(found.findings) == MOST_LESIONS
    assert found.merged == 30 - MOST_LESIONS
    assert np.array_equal(found.labels > 0, mask)
    assert sum(f.volume_ml for f in found.findings) == pytest.approx(mask.sum() * GEOMETRY.voxel_ml)


def test_the_most_conspicuous_lesion_carries_the_score_of_the_case() -> None:
    mask = _mask(np.s_[0:1, 0:5, 0:5], np.s_[3:4, 10:12, 10:12])
    score = np.where(mask, 0.4, 0.0).astype(np.float32)
    score[3:4, 10:12, 10:12] = 0.8
    found = find_lesions(_segmentation(mask, score=score), _volume(mask.shape), input_sha256="1" * 64)
    assert [finding.confidence for finding in found.findings] == pytest.approx([0.4, 0.8])


def test_the_longest_diameter_is_taken_in_space_with_anisotropic_voxels() -> None:
    mask = _mask(np.s_[0:1, 0:1, 0:1], np.s_[3:4, 4:5, 0:1], np.s_[1:3, 1:4, 0:1])
    assert longest_diameter_mm(mask, GEOMETRY) == pytest.approx(math.hypot(15, 8) + 1)


def test_a_large_flat_lesion_and_a_single_voxel_have_a_diameter() -> None:
    disc = _mask(np.s_[2:3, 0:100, 0:200], shape=(6, 120, 220))
    assert longest_diameter_mm(disc, GEOMETRY) == pytest.approx(math.hypot(99 * 2, 199) + 1, abs=0.01)
    assert longest_diameter_mm(_mask(np.s_[1:2, 1:2, 1:2]), GEOMETRY) == pytest.approx(1.0)


def _plane(extent: Extent) -> Volume:
    return replace(_volume((1, 30, 30)), extent=extent)


def test_in_a_calibrated_plane_a_lesion_has_an_area_and_a_diameter_but_no_volume() -> None:
    mask = _mask(np.s_[0:1, 10:14, 10:13], shape=(1, 30, 30))
    (finding,) = find_lesions(_segmentation(mask), _plane(Extent.AREA), input_sha256="1" * 64).findings
    assert finding.extent is Extent.AREA
    assert finding.volume_ml == 0.0
    assert finding.area_mm2 == pytest.approx(4 * 3 * 2.0 * 1.0)
    assert finding.longest_diameter_mm == pytest.approx(math.hypot(3 * 2.0, 2 * 1.0) + 1.0)


def test_without_calibration_a_lesion_has_no_measure_at_all() -> None:
    mask = _mask(np.s_[0:1, 10:14, 10:13], shape=(1, 30, 30))
    (finding,) = find_lesions(_segmentation(mask), _plane(Extent.UNKNOWN), input_sha256="1" * 64).findings
    assert (finding.extent, finding.presence) == (Extent.UNKNOWN, Presence.PRESENT)
    assert (finding.volume_ml, finding.area_mm2, finding.longest_diameter_mm) == (0.0, 0.0, 0.0)


def test_in_a_volume_there_is_no_area_and_absence_keeps_the_extent() -> None:
    mask = _mask(np.s_[2:5, 10:20, 10:20])
    (finding,) = find_lesions(_segmentation(mask), _volume(mask.shape), input_sha256="1" * 64).findings
    assert (finding.extent, finding.area_mm2) == (Extent.VOLUME, 0.0)
    empty = _mask(shape=(1, 30, 30))
    (absent,) = find_lesions(_segmentation(empty), _plane(Extent.AREA), input_sha256="1" * 64).findings
    assert (absent.presence, absent.extent) == (Presence.ABSENT, Extent.AREA)
