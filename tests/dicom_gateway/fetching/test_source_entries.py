"""What somebody says of a source: which words pass, and what is said of those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_gateway.fetching.source_entries import SourceWish, new_entry, wished
from storage.domain import Lane
from storage.errors import FetchSourceInvalid
from storage.fetching.sources import FetchWay


def test_the_usual_way_is_that_of_the_address() -> None:
    assert new_entry("pacs", SourceWish(address="PACS@10.0.0.5:104")).way is FetchWay.MOVE
    assert new_entry("web", SourceWish(address="https://pacs.example.org/dicom-web")).way is FetchWay.WADO


def test_words_become_an_entry() -> None:
    wish = SourceWish(
        address="PACS@10.0.0.5:104", way="get", filter=("ModalitiesInStudy=CT",), every="10m", settle="2m",
        hours="20:00-06:00", studies_per_hour=40, priors=2, lane="routine",
    )  # fmt: skip # reads by its lines
    entry = new_entry("pacs", wish)
    assert (entry.way, entry.every_seconds, entry.settle_seconds) == (FetchWay.GET, 600, 120)
    assert (str(entry.hours), entry.studies_per_hour, entry.priors, entry.lane) == ("20:00-06:00", 40, 2, Lane.ROUTINE)
    cleared = wished(entry, SourceWish(), ("hours", "every", "filter"))
    assert (cleared.hours, cleared.every_seconds, dict(cleared.wanted.keys)) == (None, None, {})


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (SourceWish(address="PACS"), "not complete"),
        (SourceWish(address="PACS@10.0.0.5:104", way="wado"), "goes with --way"),
        (SourceWish(address="https://pacs.example.org", way="get"), "goes with --way"),
        (SourceWish(address="PACS@10.0.0.5:104", way="push"), "no way to fetch"),
        (SourceWish(address="PACS@10.0.0.5:104", every="1s"), "every 10 s at most"),
        (SourceWish(address="PACS@10.0.0.5:104", settle="later"), "no span of time"),
        (SourceWish(address="PACS@10.0.0.5:104", hours="now"), "no hours"),
        (SourceWish(address="PACS@10.0.0.5:104", lane="fast"), "no lane"),
        (SourceWish(address="PACS@10.0.0.5:104", priors=0), "--priors is 1 to 20"),
        (SourceWish(address="PACS@10.0.0.5:104", filter=("PatientName=X",)), "a filter is KEY=VALUE"),
    ],
)
def test_words_that_cannot_be_are_named(wish: SourceWish, said: str) -> None:
    with pytest.raises(FetchSourceInvalid, match=said):
        new_entry("pacs", wish)


def test_names_and_clearing_are_checked() -> None:
    with pytest.raises(FetchSourceInvalid, match="no name of a source"):
        new_entry("two words", SourceWish(address="PACS@10.0.0.5:104"))
    entry = new_entry("pacs", SourceWish(address="PACS@10.0.0.5:104"))
    with pytest.raises(FetchSourceInvalid, match="given and cleared"):
        wished(entry, SourceWish(every="10m"), ("every",))
    with pytest.raises(FetchSourceInvalid, match="no option to clear"):
        wished(entry, SourceWish(), ("address",))


def test_credentials_are_for_a_service_and_must_be_some(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("anna:word\n")
    entry = new_entry("web", SourceWish(address="https://pacs.example.org", credentials=secret))
    assert entry.credentials == str(secret)
    with pytest.raises(FetchSourceInvalid, match="credentials are for a DICOMweb service"):
        new_entry("pacs", SourceWish(address="PACS@10.0.0.5:104", credentials=secret))
