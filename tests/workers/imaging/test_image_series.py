from __future__ import annotations

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from storage.objects import ObjectStore
from tests.support.dicom import put, put_all, shortened_pixels
from tests.support.images import MG_FOR_PROCESSING, ImagePlan, drawn, image
from workers.imaging.image_series import MOST_IMAGES, ImageRules, ImageSelection, images_of
from workers.imaging.instances import read_header, read_headers
from workers.imaging.series import LeftOutReason

XRAY = ImageRules(frozenset({"CR", "DX"}))
BREAST = ImageRules(frozenset({"MG"}))
ULTRASOUND = ImageRules(frozenset({"US"}))


def _read(objects: ObjectStore, *datasets: Dataset, rules: ImageRules = XRAY) -> ImageSelection:
    return images_of(read_headers(put_all(objects, datasets), objects).headers, objects, rules=rules)


def _reasons(selection: ImageSelection) -> list[tuple[LeftOutReason, int, str]]:
    return [(item.reason, item.instances, item.code) for item in selection.left_out]


def _different(number: int) -> np.ndarray:
    return np.roll(drawn(), number, axis=0)


def test_frontal_and_lateral_are_two_images_in_order_with_their_views(objects: ObjectStore) -> None:
    frontal = image(ImagePlan(number=1), _different(1), ViewPosition="PA")
    lateral = image(ImagePlan(number=2), _different(2), ViewPosition="LL")
    found = _read(objects, lateral, frontal)
    assert [read.volume.description for read in found.images] == ["CHEST PA", "CHEST LL"]
    assert found.left_out == ()


def test_of_four_breast_views_the_raw_ones_are_left_out_where_processed_ones_exist(objects: ObjectStore) -> None:
    datasets = []
    for number, (side, view) in enumerate((s, v) for s in "LR" for v in ("CC", "MLO")):
        shown = {"ImageLaterality": side, "ViewPosition": view}
        for intent, sop_class in (("FOR PRESENTATION", ""), ("FOR PROCESSING", MG_FOR_PROCESSING)):
            plan = ImagePlan("MG", key=intent, number=number, sop_class=sop_class)
            datasets.append(image(plan, _different(number), PresentationIntentType=intent, **shown))
    found = _read(objects, *datasets, rules=BREAST)
    assert [read.volume.description for read in found.images] == [
        "CHEST L CC",
        "CHEST L MLO",
        "CHEST R CC",
        "CHEST R MLO",
    ]
    assert _reasons(found) == [(LeftOutReason.FOR_PROCESSING, 4, "")]


def test_a_raw_view_that_nobody_processed_is_read(objects: ObjectStore) -> None:
    raw = image(ImagePlan("MG", number=1), _different(1), PresentationIntentType="FOR PROCESSING", ViewPosition="CC")
    other = image(ImagePlan("MG", number=2), _different(2), PresentationIntentType="FOR PRESENTATION")
    found = _read(objects, raw, other, rules=BREAST)
    assert len(found.images) == 2
    assert "for_processing" in found.images[0].notes


def test_beyond_the_limit_images_are_counted_and_not_read(objects: ObjectStore) -> None:
    stills = [image(ImagePlan("US", number=number), _different(number)) for number in range(MOST_IMAGES + 3)]
    found = _read(objects, *stills, rules=ULTRASOUND)
    assert len(found.images) == MOST_IMAGES
    assert _reasons(found) == [(LeftOutReason.BEYOND_LIMIT, 3, "")]


def test_cine_loops_among_stills_are_left_out_with_their_code(objects: ObjectStore) -> None:
    plan = ImagePlan("US", number=1, sop_class=uid.UltrasoundMultiFrameImageStorage)
    loop = image(plan, drawn(), NumberOfFrames=2)
    loop.PixelData = loop.PixelData * 2
    found = _read(objects, loop, image(ImagePlan("US", number=2), drawn()), rules=ULTRASOUND)
    assert len(found.images) == 1
    assert _reasons(found) == [(LeftOutReason.NO_IMAGE, 1, "cine_not_supported")]
    alone = _read(objects, loop, rules=ULTRASOUND)
    assert alone.images == ()
    assert alone.failure is not None
    assert alone.failure.code == "cine_not_supported"


def test_captures_are_taken_only_where_the_route_allows_them(objects: ObjectStore) -> None:
    captures = [
        image(ImagePlan(modality, number=number, sop_class=uid.SecondaryCaptureImageStorage), _different(number))
        for number, modality in enumerate(("US", "OT"))
    ]
    refused = _read(objects, *captures, rules=ULTRASOUND)
    assert _reasons(refused) == [(LeftOutReason.SECONDARY_CAPTURE, 2, "")]
    allowed = _read(objects, *captures, rules=ImageRules(frozenset({"US"}), secondary_capture=True))
    assert len(allowed.images) == 2


def test_a_copy_of_an_image_is_set_aside(objects: ObjectStore) -> None:
    found = _read(objects, *(image(ImagePlan(number=number), drawn()) for number in (1, 2)))
    assert len(found.images) == 1
    assert _reasons(found) == [(LeftOutReason.IDENTICAL_COPY, 1, "")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Manufacturer": "oncue"}, LeftOutReason.OWN_RESULT),
        ({"Modality": "PX"}, LeftOutReason.UNSUPPORTED_MODALITY),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, LeftOutReason.SCREEN_SAVE),
        ({"SOPClassUID": uid.BreastTomosynthesisImageStorage}, LeftOutReason.UNSUPPORTED_CLASS),
        ({"SOPClassUID": uid.GrayscaleSoftcopyPresentationStateStorage}, LeftOutReason.NOT_AN_IMAGE),
    ],
)
def test_what_is_no_image_of_the_route_is_left_out_with_its_reason(
    objects: ObjectStore, changes: dict[str, object], reason: LeftOutReason
) -> None:
    odd = image(ImagePlan(number=1), _different(1), **changes)
    found = _read(objects, odd, image(ImagePlan(number=2), _different(2)))
    assert len(found.images) == 1
    assert _reasons(found) == [(reason, 1, "")]


def test_an_image_that_cannot_be_decoded_costs_the_others_nothing(objects: ObjectStore) -> None:
    broken = image(ImagePlan(number=1), drawn())
    headers = [
        read_header(put(objects, shortened_pixels(broken), like=broken), objects),
        read_header(put(objects, image(ImagePlan(number=2), _different(2))), objects),
    ]
    found = images_of(headers, objects, rules=XRAY)
    assert len(found.images) == 1
    assert _reasons(found) == [(LeftOutReason.NO_IMAGE, 1, "pixel_data_inconsistent")]
