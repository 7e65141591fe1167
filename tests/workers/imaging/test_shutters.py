from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from tests.support.images import ImagePlan, drawn, image
from workers.imaging.shutters import behind_shutters
from workers.imaging.voi import shown

_EDGES = {
    "ShutterShape": "RECTANGULAR",
    "ShutterLeftVerticalEdge": 4,
    "ShutterRightVerticalEdge": 25,
    "ShutterUpperHorizontalEdge": 6,
    "ShutterLowerHorizontalEdge": 36,
}


def _dataset(**attributes: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def test_a_rectangular_shutter_shows_what_lies_between_its_edges() -> None:
    hidden = behind_shutters(_dataset(**_EDGES), (40, 30))
    assert hidden is not None
    assert not hidden[5:36, 3:25].any()
    assert (~hidden).sum() == 31 * 22


def test_a_circular_shutter_shows_a_disc_and_both_together_what_both_show() -> None:
    circle = {"CenterOfCircularShutter": [21, 16], "RadiusOfCircularShutter": 10}
    disc = behind_shutters(_dataset(ShutterShape="CIRCULAR", **circle), (40, 30))
    both = behind_shutters(_dataset(**{**_EDGES, **circle, "ShutterShape": ["RECTANGULAR", "CIRCULAR"]}), (40, 30))
    assert disc is not None
    assert both is not None
    assert (disc[20, 15], disc[20, 25], disc[20, 26]) == (False, False, True)
    assert (both >= disc).all()


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"ShutterShape": "POLYGONAL"},
        {"ShutterShape": "RECTANGULAR"},
        {**_EDGES, "ShutterRightVerticalEdge": 1},
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [5, 5], "RadiusOfCircularShutter": 0},
    ],
)
def test_a_shutter_that_says_nothing_or_hides_everything_is_none(attributes: dict[str, object]) -> None:
    assert behind_shutters(_dataset(**attributes), (40, 30)) is None


def test_whatever_lies_behind_the_shutter_the_content_stays() -> None:
    seen = []
    for outside in (0, 2000, 4095):
        pixels = np.full((40, 30), outside, np.uint16)
        pixels[5:36, 3:25] = drawn()[5:36, 3:25].astype(np.uint16) * 8 + 100
        seen.append(shown(pixels, image(ImagePlan(bits=12), pixels, **_EDGES)).values)
    assert np.array_equal(seen[0], seen[1])
    assert np.array_equal(seen[0], seen[2])
    assert seen[0].max() == 255.0
    assert not seen[0][:5].any()
