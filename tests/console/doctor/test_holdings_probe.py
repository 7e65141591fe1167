from __future__ import annotations

from datetime import timedelta
from typing import Any

from storage.database import utc_now
from tests.console.conftest import Place
from tests.support.commands import oncue
from tests.support.held import hold, image, read_headers


def examined(place: Place) -> dict[str, Any]:
    parts: list[dict[str, Any]] = oncue("doctor", "--state", place.state, "--json", "--only", "search").json
    (part,) = parts
    return part


def test_the_doctor_says_of_how_many_studies_headers_are_to_be_read(place: Place) -> None:
    hold(place.database, place.objects, image("new"), now=utc_now())
    part = examined(place)
    assert (part["verdict"], part["detail"][:20]) == ("fine", "headers of 1 studies")
    hold(place.database, place.objects, image("old"), now=utc_now() - timedelta(days=1))
    assert examined(place)["verdict"] == "remark"
    read_headers(place.database, place.objects)
    assert examined(place)["detail"] == "the header of every object that is held was read"
