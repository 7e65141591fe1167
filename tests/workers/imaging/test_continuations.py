from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from storage.objects import ObjectStore
from tests.support import odd_series as odd
from tests.support.dicom import put_all
from workers.imaging.best_volume import build_best
from workers.imaging.continuations import continuations
from workers.imaging.instances import read_headers
from workers.imaging.selection_notes import selection_notes
from workers.imaging.series import SeriesRef, select_series


def usable(objects: ObjectStore, images: list[Dataset]) -> tuple[SeriesRef, ...]:
    return select_series(read_headers(put_all(objects, images), objects)).ranked


def pieces(*parts: list[Dataset]) -> list[Dataset]:
    return [image for number, part in enumerate(parts) for image in odd.another_series(part, str(number))]


def test_a_stack_in_three_series_is_followed_from_piece_to_piece(objects: ObjectStore) -> None:
    head = odd.head()
    taken, *others = usable(objects, pieces(head[:5], head[5:9], head[9:]))
    assert taken.slices == 5
    assert {piece.series_instance_uid for piece in continuations(taken, others)} == {
        other.series_instance_uid for other in others
    }


@pytest.mark.parametrize(
    "other",
    [{"EchoTime": "20"}, {"FrameOfReferenceUID": "1.2.3"}, {"PixelSpacing": [3.0, 3.0]}, {"InversionTime": "900"}],
    ids=lambda other: next(iter(other)),
)
def test_a_series_of_other_settings_or_geometry_is_no_continuation(
    objects: ObjectStore, other: dict[str, object]
) -> None:
    head = odd.head()
    taken, *others = usable(objects, pieces(head[:7], odd.changed(head[7:], **other)))
    assert continuations(taken, others) == ()


def test_a_gap_or_an_overlap_makes_no_continuation(objects: ObjectStore) -> None:
    head = odd.head()
    for second in (head[8:], odd.renamed(head[6:], "2")):
        taken, *others = usable(objects, pieces(head[:7], second))
        assert continuations(taken, others) == ()


def test_the_larger_piece_is_analysed_and_the_other_named(objects: ObjectStore) -> None:
    head = odd.head()
    selection = select_series(read_headers(put_all(objects, pieces(head[:5], head[5:])), objects))
    volume, taken, left_out = build_best(selection, objects)
    assert volume.voxels.shape[0] == 7
    (note,) = selection_notes(taken, left_out)
    other = next(series for series in selection.ranked if series.slices == 5)
    assert note == f"stack_continues_in_another_series: series {other.series_instance_uid}, 5 images"
