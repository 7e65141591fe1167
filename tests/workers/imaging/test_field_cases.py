"""Odd series from the field: what becomes of each, from the stored files to the volume that is analysed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from pydicom.dataset import Dataset

from storage.objects import ObjectStore
from storage.routes.file import load_routes
from storage.volumes import Volume
from tests.support import odd_series as odd
from tests.support.dicom import put
from tests.support.field_cases import CASES, different_twin
from workers.errors import WorkerError
from workers.imaging.best_volume import build_best
from workers.imaging.instances import read_headers
from workers.imaging.selection_notes import selection_notes
from workers.imaging.series import SelectionRules, choose_series

pytestmark = pytest.mark.slow

HEAD_MR = SelectionRules(modalities=frozenset({"MR"}), preferences=load_routes().named("head-mr").prefer)


def analysed(objects: ObjectStore, images: Callable[[], Sequence[odd.Sent]]) -> tuple[Volume, tuple[str, ...]]:
    """Return the volume that a worker would analyse, and the notes on its choice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the writer dislikes what is odd on purpose
        stored = [put(objects, sent if isinstance(sent, Dataset) else sent[0], like=named(sent)) for sent in images()]
    _, selection = choose_series(read_headers(stored, objects), rules=HEAD_MR)
    volume, taken, left_out = build_best(selection, objects)
    return volume, selection_notes(taken, left_out)


def named(sent: odd.Sent) -> Dataset:
    return sent if isinstance(sent, Dataset) else sent[1]


def head_points(volume: Volume) -> dict[tuple[float, ...], float]:
    """Return the values of the head by where they lie in the patient, rounded as headers are."""
    geometry = volume.geometry
    axes = np.array([geometry.slice_direction, geometry.column_direction, geometry.row_direction])
    where = np.argwhere(np.ones(volume.voxels.shape, dtype=bool)) * geometry.spacing_mm @ axes + geometry.origin_mm
    values = volume.voxels.ravel()
    inside = values > 100
    points = np.round(where[inside], 0).tolist()
    return dict(zip(map(tuple, points), values[inside].tolist(), strict=True))


def codes(notes: Sequence[str]) -> list[str]:
    return sorted(note.partition(":")[0] for note in notes)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.refusal])
def test_a_series_with_a_property_from_the_field_is_analysed_as_a_person_would(objects: ObjectStore, name: str) -> None:
    case = CASES[name]
    volume, notes = analysed(objects, case.images)
    assert codes(notes) == sorted(case.notes)
    assert case.part in "".join(notes)
    if case.factor is not None:
        there, wanted = head_points(volume), expected_points(case.factor)
        assert there.keys() == wanted.keys()
        assert all(value == pytest.approx(wanted[point]) for point, value in there.items())


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.refusal])
def test_a_series_that_nobody_could_be_sure_of_is_refused_with_a_code(objects: ObjectStore, name: str) -> None:
    case = CASES[name]
    with pytest.raises(WorkerError) as refusal:
        analysed(objects, case.images)
    assert refusal.value.code == case.refusal
    assert case.says in str(refusal.value)


def expected_points(factor: float) -> dict[tuple[float, ...], float]:
    inside = odd.anatomy() * odd.body()
    where = np.argwhere(inside > 0)[:, ::-1] * odd.PLAN.spacing_mm[::-1] + odd.PLAN.origin_mm
    values = np.rint(inside[inside > 0] * factor)
    return {
        tuple(point): float(value)
        for point, value in zip(np.round(where, 0).tolist(), values.tolist(), strict=True)
        if value > 100
    }


def test_a_twin_that_differs_is_named_beside_the_other(objects: ObjectStore) -> None:
    with pytest.raises(WorkerError) as refusal:
        analysed(objects, different_twin)
    twins = (odd.head()[5].SOPInstanceUID, odd.again(odd.head()[5]).SOPInstanceUID)
    assert all(str(twin)[-12:] in str(refusal.value) for twin in twins)


def test_monochrome1_shows_the_same_head(objects: ObjectStore) -> None:
    images = [odd.with_pixels(image, 2000 - values) for image, values in zip(odd.head(), odd.anatomy(), strict=True)]
    plain, _ = analysed(objects, odd.head)
    volume, _ = analysed(objects, lambda: odd.changed(images, PhotometricInterpretation="MONOCHROME1"))
    inside = odd.body()
    shift = volume.voxels[inside] - plain.voxels[inside]
    assert np.ptp(shift) == 0
