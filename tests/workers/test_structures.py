"""What becomes of a multi-label model's organs and lesions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from storage.domain import Algorithm, Code, LabelEntry, LabelledGrid, LabelRole, Presence, Segmentation, Site
from storage.volumes import Extent, FrameRef, Geometry, Volume
from workers.components import MOST_LESIONS
from workers.lesions import Lesions, find_lesions

SHAPE = (8, 40, 40)
GEOMETRY = Geometry((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (5.0, 2.0, 1.0))
LEFT, RIGHT = Code("7771000", "SCT", "Left"), Code("24028007", "SCT", "Right")
LIVER, KIDNEY = Code("10200004", "SCT", "Liver"), Code("64033007", "SCT", "Kidney")
NEOPLASM, CYST = Code("108369006", "SCT", "Neoplasm"), Code("367643001", "SCT", "Cyst")
TABLE = (
    LabelEntry(1, "liver", LabelRole.ORGAN, LIVER),
    LabelEntry(2, "kidney left", LabelRole.ORGAN, KIDNEY, LEFT),
    LabelEntry(3, "kidney right", LabelRole.ORGAN, KIDNEY, RIGHT),
    LabelEntry(4, "tumour", LabelRole.LESION, NEOPLASM),
    LabelEntry(5, "kidney cyst", LabelRole.LESION, CYST, site=Site(KIDNEY)),
)
Box = tuple[slice, slice, slice]
LIVER_BOX, LEFT_BOX, RIGHT_BOX = np.s_[1:7, 2:18, 2:38], np.s_[1:7, 22:36, 24:36], np.s_[1:7, 22:36, 4:16]


def find(
    *boxes: tuple[int, Box], table: tuple[LabelEntry, ...] = TABLE, extent: Extent = Extent.VOLUME, depth: int = 8
) -> Lesions:
    labels = np.zeros((depth, *SHAPE[1:]), dtype=np.uint8)
    for value, box in boxes:
        labels[box] = value
    return find_drawn(labels, table=table, extent=extent)


def find_drawn(labels: np.ndarray, *, table: tuple[LabelEntry, ...], extent: Extent = Extent.VOLUME) -> Lesions:
    lesions = [entry.value for entry in table if entry.role is LabelRole.LESION]
    mask = np.isin(labels, lesions)
    frames = tuple(FrameRef(f"1.2.{z}", "1.2", None, "0" * 64) for z in range(len(labels)))
    volume = Volume(labels.astype(np.float32), GEOMETRY, "CT", "1.2.3", "1.2.4", None, frames, extent=extent)
    algorithm = Algorithm("test", "1", "a" * 64, "{}")
    said = Segmentation(mask, mask.astype(np.float32), 0.8, 0.0, algorithm, labelled=LabelledGrid(labels, table))
    return find_lesions(said, volume, input_sha256="1" * 64)


ORGANS = ((1, LIVER_BOX), (2, LEFT_BOX), (3, RIGHT_BOX))


def test_organs_are_numbered_after_the_lesions_and_share_no_voxel_with_them() -> None:
    found = find(*ORGANS, (4, np.s_[3:5, 6:10, 6:10]))
    assert [finding.number for finding in found.findings] == [1]
    assert [(one.number, one.name) for one in found.structures] == [
        (2, "liver"),
        (3, "kidney left"),
        (4, "kidney right"),
    ]
    assert (found.labels[4, 8, 8], found.labels[2, 3, 3], found.labels[2, 30, 30], found.labels[0, 0, 0]) == (
        1,
        2,
        3,
        0,
    )
    assert found.lesion_labels.max() == 1
    assert set(np.unique(found.structure_labels)) == {0, 2, 3, 4}


def test_an_organ_is_measured_with_the_lesions_in_it() -> None:
    plain, found = find(*ORGANS), find(*ORGANS, (4, np.s_[3:5, 6:10, 6:10]))
    assert found.structures[0].volume_ml == pytest.approx(6 * 16 * 36 * GEOMETRY.voxel_ml)
    assert [one.volume_ml for one in found.structures] == pytest.approx([one.volume_ml for one in plain.structures])
    assert [one.lesions for one in found.structures] == [(1,), (), ()]


def test_a_lesion_lies_in_the_organ_that_it_touches_most_with_its_side() -> None:
    found = find(*ORGANS, (4, np.s_[3:5, 25:29, 26:30]), (4, np.s_[2:6, 30:35, 6:10]), (4, np.s_[3:5, 14:20, 20:24]))
    assert [finding.site for finding in found.findings] == [Site(KIDNEY, RIGHT), Site(LIVER), Site(KIDNEY, LEFT)]
    assert [one.lesions for one in found.structures] == [(2,), (3,), (1,)]


def test_a_lesion_outside_of_every_organ_has_no_site() -> None:
    found = find(*ORGANS, (4, np.s_[3:5, 28:30, 18:20]))
    assert found.findings[0].site is None
    assert all(one.lesions == () for one in found.structures)


def test_a_label_says_where_its_lesions_lie_and_the_organ_says_on_which_side() -> None:
    beside_liver = np.s_[3:5, 18:20, 10:14]
    found = find(*ORGANS, (5, np.s_[3:6, 25:29, 26:30]), (5, beside_liver))
    assert [finding.site for finding in found.findings] == [Site(KIDNEY, LEFT), Site(KIDNEY)]
    assert [one.lesions for one in found.structures] == [(), (1,), ()]


def test_lesions_of_two_labels_are_findings_of_their_own_by_falling_size_over_all() -> None:
    tumour, cyst = np.s_[3:5, 25:29, 26:30], np.s_[3:5, 29:33, 26:31]
    found = find(*ORGANS, (4, tumour), (5, cyst))
    assert [(one.number, one.concept) for one in found.findings] == [(1, CYST), (2, NEOPLASM)]
    assert [one.volume_ml for one in found.findings] == pytest.approx([40 * 0.01, 32 * 0.01])
    uids = [one.tracking_uid for one in found.findings] + [one.tracking_uid for one in found.structures]
    assert len(set(uids)) == 5


def test_the_core_of_a_tumour_lies_where_its_rim_does() -> None:
    found = find(*ORGANS, (4, np.s_[2:7, 4:14, 4:14]), (5, np.s_[4:5, 8:10, 8:10]), table=(*TABLE[:4], _anywhere(5)))
    assert [finding.site for finding in found.findings] == [Site(LIVER), Site(LIVER)]


def test_beyond_the_cap_no_number_stands_for_two_labels_and_no_voxel_is_lost() -> None:
    dots = [(4 if row % 6 else 5, np.s_[0:1, row : row + 1, c : c + 1]) for row in range(0, 40, 3) for c in (1, 20, 39)]
    found = find(*dots, table=(*TABLE[:4], _anywhere(5)))
    assert len(found.findings) == MOST_LESIONS
    assert found.merged == len(dots) - MOST_LESIONS
    for value, concept in ((4, NEOPLASM), (5, CYST)):
        drawn = np.zeros(SHAPE, dtype=bool)
        for own, box in dots:
            drawn[box] |= own == value
        numbers = [one.number for one in found.findings if one.concept == concept]
        assert np.array_equal(np.isin(found.labels, numbers), drawn)


def test_as_many_labels_as_there_are_numbers_all_keep_one() -> None:
    table = tuple(_anywhere(value) if value <= 30 else _organ(value) for value in range(1, 256))
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[2].flat[: 255 * 2 : 2] = np.arange(1, 256)
    labels[6].flat[: 30 * 2 : 2] = 1
    found = find_drawn(labels, table=table)
    assert len(found.findings) == 30
    assert len(found.structures) == 225
    assert found.structures[-1].number == 255
    assert np.array_equal(found.labels > 0, labels > 0)
    assert set(np.unique(found.labels)) == set(range(256))


def test_a_model_that_draws_organs_alone_says_nothing_of_lesions() -> None:
    found = find(*ORGANS, table=TABLE[:3])
    assert found.findings == ()
    assert [one.number for one in found.structures] == [1, 2, 3]
    assert np.array_equal(found.labels, found.structure_labels)


def test_a_model_that_looks_for_lesions_and_draws_organs_alone_says_absent() -> None:
    found = find(*ORGANS, table=(*TABLE[:3], TABLE[4]))
    (finding,) = found.findings
    assert (finding.presence, finding.concept, finding.site) == (Presence.ABSENT, CYST, Site(KIDNEY))
    assert [one.number for one in found.structures] == [1, 2, 3]
    (generic,) = find(table=TABLE).findings
    assert (generic.concept.meaning, generic.site) == ("Lesion", None)


def test_an_organ_without_a_voxel_is_no_structure() -> None:
    found = find((1, LIVER_BOX), table=TABLE)
    assert [one.name for one in found.structures] == ["liver"]
    nothing = find(table=TABLE[:3])
    assert (nothing.findings, nothing.structures) == ((), ())


@pytest.mark.parametrize("extent", [Extent.AREA, Extent.UNKNOWN])
def test_in_a_flat_image_an_organ_has_no_volume(extent: Extent) -> None:
    found = find((1, np.s_[0:1, 2:30, 2:30]), (4, np.s_[0:1, 5:9, 5:9]), extent=extent, depth=1)
    (liver,) = found.structures
    assert (liver.volume_ml, liver.lesions) == (0.0, (1,))
    assert found.findings[0].site == Site(LIVER)


def test_the_same_input_gives_structures_the_same_tracking_uids() -> None:
    one, same = find(*ORGANS), find(*ORGANS, (4, np.s_[3:5, 6:10, 6:10]))
    assert [s.tracking_uid for s in one.structures] == [s.tracking_uid for s in same.structures]


def _anywhere(value: int) -> LabelEntry:
    return replace(TABLE[4], value=value, name=f"cyst {value}", site=None)


def _organ(value: int) -> LabelEntry:
    return LabelEntry(value, f"organ {value}", LabelRole.ORGAN, Code(str(value), "99TEST", f"Organ {value}"))
