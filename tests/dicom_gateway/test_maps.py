from __future__ import annotations

import pytest

from dicom_gateway.maps import configured_destination
from storage.destinations import DestinationEntry
from storage.errors import RecordMissing

PACS = "PACS@10.0.0.1:104"
ENTRIES = (DestinationEntry("main", PACS), DestinationEntry("web", "https://pacs.example.org/dicom-web"))


@pytest.mark.parametrize(
    ("peer", "found"),
    [
        ("main", "main"),
        ("PACS", "main"),
        (PACS, "main"),
        ("https://pacs.example.org/dicom-web", "web"),
        ("ARCHIVE", "ARCHIVE@10.0.0.2:104"),
    ],
)
def test_a_destination_is_named_by_its_name_its_title_or_its_address(peer: str, found: str) -> None:
    assert configured_destination(peer, (PACS, "ARCHIVE@10.0.0.2:104"), ENTRIES) == found


def test_a_title_that_two_destinations_have_names_none() -> None:
    with pytest.raises(RecordMissing, match="names 2 of"):
        configured_destination("PACS", ("PACS@10.0.0.9:104",), ENTRIES)
