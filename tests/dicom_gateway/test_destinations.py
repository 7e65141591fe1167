from __future__ import annotations

import pytest

from dicom_gateway.destinations import Destination, WebAddress, parse_address
from storage.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PACS@10.0.0.5:104", Destination("PACS", "10.0.0.5", 104)),
        (" MAIN PACS@pacs.example.org:11112 ", Destination("MAIN PACS", "pacs.example.org", 11112)),
        ("PACS@[::1]:104", Destination("PACS", "::1", 104)),
        ("tls://PACS@pacs.example.org:2762", Destination("PACS", "pacs.example.org", 2762, tls=True)),
        ("tls://PACS@[::1]:2762", Destination("PACS", "::1", 2762, tls=True)),
    ],
)
def test_a_destination_is_read_and_written_the_same_way(text: str, expected: Destination) -> None:
    destination = Destination.parse(text)
    assert destination == expected
    assert str(destination) == text.strip()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("PACS", "not complete"),
        ("PACS@10.0.0.5", "not complete"),
        ("10.0.0.5:104", "not complete"),
        ("@10.0.0.5:104", "1 to 16 characters"),
        ("SEVENTEEN_LETTERS@10.0.0.5:104", "1 to 16 characters"),
        ("PA\\CS@10.0.0.5:104", "backslash"),
        ("PÄCS@10.0.0.5:104", "printable ASCII"),
        ("PACS@:104", "names no host"),
        ("PACS@::1:104", "brackets"),
        ("PACS@10.0.0.5:0", "port"),
        ("PACS@10.0.0.5:65536", "port"),
        ("PACS@10.0.0.5:dicom", "port"),
        ("tls://10.0.0.5:2762", "not complete"),
        ("tls://@10.0.0.5:2762", "1 to 16 characters"),
        ("https://PACS.EXAMPLE@10.0.0.5:2762", "1 to 16 characters"),
    ],
)
def test_a_bad_destination_says_what_is_wrong_with_it(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        Destination.parse(text)


@pytest.mark.parametrize(
    ("text", "expected", "written"),
    [
        (
            "https://pacs.example.org/dicom-web/",
            WebAddress("pacs.example.org", 443, "/dicom-web"),
            "https://pacs.example.org/dicom-web",
        ),
        ("HTTPS://pacs:8443", WebAddress("pacs", 8443, ""), "https://pacs:8443"),
        ("http://[::1]:8042/a/b", WebAddress("::1", 8042, "/a/b", tls=False), "http://[::1]:8042/a/b"),
        ("http://pacs:80/x", WebAddress("pacs", 80, "/x", tls=False), "http://pacs/x"),
    ],
)
def test_the_address_of_a_dicomweb_service_is_written_in_one_way(text: str, expected: WebAddress, written: str) -> None:
    assert parse_address(text) == expected
    assert str(expected) == written
    assert parse_address(written) == expected


def test_what_does_not_begin_like_a_url_is_a_dicom_peer() -> None:
    assert parse_address("tls://PACS@pacs:2762") == Destination("PACS", "pacs", 2762, tls=True)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("https://", "no URL"),
        ("https://pacs:port/x", "cannot be read"),
        ("https://pacs:99999/x", "cannot be read"),
        ("https://pa cs/x", "no URL"),
        ("https://user@pacs/x", "no user"),
        ("https://pacs/x?token=1", "query"),
        ("https://pacs/" + "x" * 300, "300 characters"),
    ],
)
def test_a_bad_address_of_a_service_says_what_is_wrong_with_it(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        parse_address(text)
