"""How the planes of one series are told apart, whatever order they come in."""

from __future__ import annotations

import random

import pytest
from pydicom.dataset import Dataset

from storage.objects import ObjectStore
from storage.routes.file import load_routes
from tests.support import odd_series as odd
from tests.support.dicom import enhanced, put_all
from workers.imaging.instances import read_headers
from workers.imaging.series import LeftOutReason, SelectionRules, SeriesSelection, select_series

HEAD_MR = SelectionRules(preferences=load_routes().named("head-mr").prefer)


def selected(objects: ObjectStore, images: list[Dataset], rules: SelectionRules = HEAD_MR) -> SeriesSelection:
    return select_series(read_headers(put_all(objects, images), objects), rules=rules)


def with_b_value(image: Dataset, maker: str, value: int) -> Dataset:
    """Return the image with its b-value where only one maker's readers look for it."""
    creator, group, element, vr, written = {
        "GE": ("GEMS_PARM_01", 0x0043, 0x39, "IS", [str(value + 1_000_000_000), "8", "0", "0"]),
        "Siemens": ("SIEMENS MR HEADER", 0x0019, 0x0C, "IS", str(value)),
        "Philips": ("Philips Imaging DD 001", 0x2001, 0x03, "FL", float(value)),
    }[maker]
    image.private_block(group, creator, create=True).add_new(element, vr, written)
    return image


@pytest.mark.parametrize("maker", ["GE", "Siemens", "Philips"])
def test_the_b_values_of_makers_tell_parts_apart(objects: ObjectStore, maker: str) -> None:
    images = [with_b_value(image, maker, 0) for image in odd.head()]
    again = [with_b_value(image, maker, 1000) for image in odd.repeated(odd.head())]
    ranked = selected(objects, [*images, *again]).ranked
    assert [part.part for part in ranked] == ["b-value 1000 (2 of 2)", "b-value 0 (1 of 2)"]


def test_the_route_chooses_before_the_order_does(objects: ObjectStore) -> None:
    long, short = odd.head(EchoTime="90"), odd.repeated(odd.head(), EchoTime="15")
    chosen = selected(objects, [*long, *short]).chosen
    assert chosen is not None
    assert chosen.part == "echo 90 (1 of 2)"
    without_preference = selected(objects, [*long, *short], SelectionRules()).chosen
    assert without_preference is not None
    assert without_preference.part == "echo 15 (2 of 2)"


def test_two_attributes_together_tell_four_parts_apart(objects: ObjectStore) -> None:
    images: list[Dataset] = []
    for number, (echo, phase) in enumerate(((20, 1), (80, 1), (20, 2), (80, 2))):
        images += odd.repeated(
            odd.head(), mark=str(number + 1), EchoTime=str(echo), TemporalPositionIdentifier=phase, factor=1.0
        )
    parts = selected(objects, images).ranked
    assert [part.slices for part in parts] == [12] * 4
    assert all(part.part.startswith("echo and time point") for part in parts)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.slow
def test_the_order_of_the_files_decides_nothing(objects: ObjectStore, seed: int) -> None:
    first = odd.head(AcquisitionNumber=1)
    images = [*first, *odd.repeated(first, AcquisitionNumber=2), *odd.survey(), odd.again(first[3])]
    wanted = selected(objects, images)
    assert [(part.slices, part.part) for part in wanted.ranked] == [
        (13, "acquisition 1 (1 of 2)"),
        (12, "acquisition 2 (2 of 2)"),
    ]
    random.Random(seed).shuffle(images)  # noqa: S311 - a fixed shuffle, not a secret
    assert selected(objects, images) == wanted


def test_phases_of_an_enhanced_image_are_told_apart_by_their_trigger(objects: ObjectStore) -> None:
    image = enhanced(odd.PLAN, order=[*range(12), *range(12)])
    for number, groups in enumerate(image.PerFrameFunctionalGroupsSequence):
        synchronization = Dataset()
        synchronization.NominalCardiacTriggerDelayTime = 0.0 if number < 12 else 350.0
        groups.CardiacSynchronizationSequence = [synchronization]
    ranked = selected(objects, [image]).ranked
    assert [part.part for part in ranked] == ["trigger 350 (2 of 2)", "trigger 0 (1 of 2)"]


def test_a_stack_that_is_whole_is_not_split_by_what_differs_within_it(objects: ObjectStore) -> None:
    """Interleaved packages, a trigger of its own for each slice, thickness written in two ways: still one stack."""
    images = odd.each(odd.head(), lambda z, image: setattr(image, "AcquisitionNumber", z % 2 + 1))
    images = odd.each(images, lambda z, image: setattr(image, "TriggerTime", str(z * 13)))
    images = odd.each(images, lambda z, image: setattr(image, "SliceThickness", "5" if z % 3 else "5.01"))
    selection = selected(objects, images)
    assert [(part.slices, part.part) for part in selection.ranked] == [(12, "")]
    assert selection.left_out == ()


def test_a_slice_that_is_lost_between_interleaved_packages_is_not_hidden_by_a_split(objects: ObjectStore) -> None:
    images = odd.each(odd.head(), lambda z, image: setattr(image, "AcquisitionNumber", z % 2 + 1))
    (whole,) = selected(objects, [*images[:4], *images[5:]]).ranked
    assert whole.slices == 11


def test_what_nothing_tells_apart_is_left_out(objects: ObjectStore) -> None:
    images = [image for mark in "123" for image in odd.renamed(odd.head(), mark)]
    selection = selected(objects, images)
    assert selection.chosen is None
    assert [item.reason for item in selection.left_out] == [LeftOutReason.REPEATED_POSITIONS]
