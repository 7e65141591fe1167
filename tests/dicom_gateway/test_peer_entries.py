from __future__ import annotations

from collections.abc import Callable

import pytest
from pydicom.uid import CTImageStorage

from dicom_gateway import peer_entries
from storage.errors import PeerInvalid


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (peer_entries.peer_name, "ct-1.east_wing", "ct-1.east_wing"),
        (peer_entries.ae_title, " CT 1 ", "CT 1"),
        (peer_entries.network, "10.20.0.0/16", "10.20.0.0/16"),
        (peer_entries.network, "10.20.0.7", "10.20.0.7/32"),
        (peer_entries.network, "fd00::/8", "fd00::/8"),
        (peer_entries.address, "fd00::7", "fd00::7"),
        (peer_entries.certificate_name, "CT 1, Röntgen", "CT 1, Röntgen"),
        (peer_entries.sop_class, "CTImageStorage", CTImageStorage),
        (peer_entries.sop_class, CTImageStorage, CTImageStorage),
        (peer_entries.query_address, "PACS@10.0.0.2:104", "PACS@10.0.0.2:104"),
        (peer_entries.query_address, "tls://PACS@10.0.0.2:2762", "tls://PACS@10.0.0.2:2762"),
        (peer_entries.query_address, "https://pacs:8443/dicom-web", "https://pacs:8443/dicom-web"),
        (peer_entries.store_address, " tls://WS1@10.0.0.2:2762", "tls://WS1@10.0.0.2:2762"),
    ],
)
def test_what_is_said_of_a_peer_is_read(read: Callable[[str], str], text: str, value: str) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text", "words"),
    [
        (peer_entries.peer_name, "", "1 to 32 letters"),
        (peer_entries.peer_name, "ct/1", "1 to 32 letters"),
        (peer_entries.peer_name, "a" * 33, "1 to 32 letters"),
        (peer_entries.peer_name, "loopback", "take another name"),
        (peer_entries.ae_title, "A" * 17, "1 to 16 printable"),
        (peer_entries.ae_title, "   ", "1 to 16 printable"),
        (peer_entries.ae_title, "A\\B", "without a backslash"),
        (peer_entries.network, "10.20.0.7/16", "did you mean 10.20.0.0/16 or 10.20.0.7"),
        (peer_entries.network, "10.20.0.0/99", "for example 10.20.0.0/16"),
        (peer_entries.network, "pacs.example.org", "for example 10.20.0.0/16"),
        (peer_entries.address, "pacs", "write it as 10.20.0.7"),
        (peer_entries.certificate_name, "a\nb", "none that cannot be printed"),
        (peer_entries.sop_class, "1.2.3.4", "docs/conformance.md"),
        (peer_entries.sop_class, "Verification", "docs/conformance.md"),
        (peer_entries.query_address, "PACS", "AET@HOST:PORT"),
        (peer_entries.query_address, "tls://PACS@pacs", "is not complete"),
        (peer_entries.query_address, "ftp://pacs/", "no URL of a DICOMweb service"),
        (peer_entries.query_address, "https://jones:secret@pacs/", "a user, a password"),
        (peer_entries.query_address, "https://pacs/?token=secret", "a query"),
        (peer_entries.query_address, "https://pacs:none/", "cannot be read"),
        (peer_entries.query_address, "https://" + "a" * 300, "at most 300"),
        (peer_entries.store_address, "WS1@10.0.0.2", "is not complete"),
        (peer_entries.store_address, "https://pacs/dicom-web", "cannot be read"),
        (peer_entries.store_address, "WS1@" + "a" * 300 + ":104", "at most 300"),
    ],
)
def test_what_is_wrong_with_it_is_said_with_what_it_should_be(
    read: Callable[[str], str], text: str, words: str
) -> None:
    with pytest.raises(PeerInvalid) as refused:
        read(text)
    assert words in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_free_name_is_found_for_a_title() -> None:
    assert peer_entries.name_for("CT1", ()) == "CT1"
    assert peer_entries.name_for("CT 1/2", ()) == "CT-1-2"
    assert peer_entries.name_for("CT1", ("CT1", "CT1-2")) == "CT1-3"
    assert peer_entries.name_for("CT1", ("ct1",)) == "CT1-2"
    assert peer_entries.name_for("loopback", ()) == "loopback-2"
    assert peer_entries.name_for("***", ()) == "peer"
