from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicom_gateway.destination_entries import DestinationWish, changed, new_entry
from storage.destinations import DestinationEntry
from storage.domain import ObjectKind, Priority, Unanalysed
from storage.errors import DestinationInvalid
from storage.proof_ways import ProofWay

ROUTES = frozenset({"head-mr", "chest-ct"})
WISH = DestinationWish(address="PACS@10.0.0.1:104")


def made(name: str = "pacs", **words: Any) -> DestinationEntry:
    return new_entry(name, replace(WISH, **words), known_routes=ROUTES)


def test_what_nobody_says_is_seg_and_sr_of_every_result() -> None:
    assert made() == DestinationEntry("pacs", "PACS@10.0.0.1:104", (ObjectKind.SEG, ObjectKind.SR))


def test_words_become_an_entry() -> None:
    entry = made(
        forms="sc, GSPS,sc",
        routes="head-mr",
        priorities="stat,high",
        transfer_syntaxes="implicit,1.2.840.10008.1.2,ExplicitVRLittleEndian",
        unanalysed="sr",
        character_set="ISO_IR 100",
        keeps_segmentations=False,
        shows_priority=True,
    )
    assert entry.forms == (ObjectKind.SC, ObjectKind.GSPS)
    assert (entry.routes, entry.priorities) == (("head-mr",), (Priority.STAT, Priority.HIGH))
    assert entry.transfer_syntaxes == ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
    assert (entry.unanalysed, entry.character_set) == (Unanalysed.SR, "ISO_IR 100")
    assert (entry.keeps_segmentations, entry.shows_priority) == (False, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"forms": "SEG,MPR"}, "'MPR' is no form; these are: SEG, LABELMAP"),
        ({"forms": "REJECT"}, "is no form"),
        ({"forms": ","}, "is no form"),
        ({"routes": "head-mri"}, "there is no route 'head-mri'; these are: chest-ct, head-mr"),
        ({"priorities": "urgent"}, "STAT, HIGH, ROUTINE, LOW"),
        ({"transfer_syntaxes": "jpeg"}, "implicit"),
        ({"transfer_syntaxes": ""}, "implicit"),
        ({"series_number_base": -1}, "series numbers"),
        ({"series_description": "a\\b"}, "no backslash"),
        ({"series_description": "x" * 65}, "1 to 64"),
        ({"series_description": "x" * 56, "shows_priority": True}, "at most 55 characters, not 56"),
        ({"character_set": "utf-8"}, "ISO_IR 192"),
        ({"unanalysed": "mail"}, "sr, nothing"),
        ({"address": "https://user:pw@pacs/dicom-web"}, "shown in lists"),
        ({"address": "PACS@host"}, "not complete"),
        ({"proof": "email"}, "none, commitment, query"),
        ({"proof_address": "ARCHIVE@10.0.0.2:104"}, "of no use without them"),
        ({"proof": "query", "proof_address": "ARCHIVE"}, "not complete"),
        ({"address": "https://pacs/dicom-web", "proof": "commitment"}, "--proof query"),
        ({"proof": "commitment", "proof_address": "https://pacs/dicom-web"}, "--proof query"),
    ],
)
def test_a_wrong_word_is_named_with_what_it_should_be(words: dict[str, Any], told: str) -> None:
    with pytest.raises(DestinationInvalid) as raised:
        made(**words)
    assert told in str(raised.value)


@pytest.mark.parametrize("name", ["", "PACS@h:1", "a b", "x" * 33, "-pacs"])
def test_a_name_is_never_an_address(name: str) -> None:
    with pytest.raises(DestinationInvalid, match="no name of a destination"):
        made(name)


def test_a_destination_may_be_asked_for_proof_elsewhere() -> None:
    entry = made(proof="query", proof_address="https://pacs.example.org/dicom-web/")
    assert (entry.proof, entry.proof_address) == (ProofWay.QUERY, "https://pacs.example.org/dicom-web")
    assert changed(entry, DestinationWish(), ["proof", "proof-address"], known_routes=ROUTES) == made()
    with pytest.raises(DestinationInvalid, match="--clear proof-address"):
        changed(entry, DestinationWish(proof="none"), [], known_routes=ROUTES)


def test_a_change_leaves_what_it_does_not_name_and_clears_what_it_is_told_to() -> None:
    before = made(forms="SC", routes="head-mr", series_number_base=700)
    after = changed(before, DestinationWish(forms="SR"), ["routes", "series-number"], known_routes=ROUTES)
    assert after == made(forms="SR")
    with pytest.raises(DestinationInvalid, match="no option to clear"):
        changed(before, DestinationWish(), ["address"], known_routes=ROUTES)
    with pytest.raises(DestinationInvalid, match="given and cleared"):
        changed(before, DestinationWish(forms="SR"), ["forms"], known_routes=ROUTES)


def test_credentials_are_for_services_that_nobody_listens_in_on(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("u:p")
    file.chmod(0o600)
    entry = made(address="https://pacs.example.org/dicom-web/", credentials=file)
    assert (entry.address, entry.credentials) == ("https://pacs.example.org/dicom-web", str(file))
    assert made(address="http://127.0.0.1:8042/dicom-web", credentials=file).credentials == str(file)
    with pytest.raises(DestinationInvalid, match="use https"):
        made(address="http://pacs.example.org/dicom-web", credentials=file)
    with pytest.raises(DestinationInvalid, match="DICOMweb"):
        made(credentials=file)
