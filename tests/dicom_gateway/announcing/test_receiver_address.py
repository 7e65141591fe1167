"""Addresses of receivers: what is one, in which form it is kept and shown, and what is none."""

from __future__ import annotations

import pytest

from dicom_gateway.announcing.options import MailSecurity
from dicom_gateway.announcing.receiver_address import read_address
from storage.announcing.tables import ChannelKind
from storage.errors import ChannelInvalid


@pytest.mark.parametrize(
    ("text", "shown", "port", "path"),
    [
        ("https://alerts.example", "https://alerts.example", 443, "/"),
        ("https://alerts.example:8443/a/b?c=d", "https://alerts.example:8443/a/b", 8443, "/a/b?c=d"),
        ("http://[::1]/x", "http://[::1]/x", 80, "/x"),
    ],
)
def test_a_webhook_is_kept_with_its_query_and_shown_without(text: str, shown: str, port: int, path: str) -> None:
    address = read_address(ChannelKind.WEBHOOK, text)
    assert (address.written, str(address), address.port, address.path) == (text, shown, port, path)
    assert address.tls is text.startswith("https")


@pytest.mark.parametrize(
    ("text", "kept", "tls"),
    [
        ("mllp://ris.example:2575", "mllp://ris.example:2575", False),
        ("mllps://[fd00::1]:6661", "mllps://[fd00::1]:6661", True),
        (" MLLP://ris:1 ", "mllp://ris:1", False),
    ],
)
def test_an_hl7_receiver_is_a_host_and_a_port(text: str, kept: str, tls: bool) -> None:
    address = read_address(ChannelKind.HL7, text)
    assert (address.written, str(address), address.tls, address.path) == (kept, kept, tls, "")


@pytest.mark.parametrize(
    ("text", "security", "host", "port"),
    [
        ("smtp://mail.example", MailSecurity.STARTTLS, "mail.example", 587),
        ("smtp://mail.example", MailSecurity.TLS, "mail.example", 465),
        ("smtp://mail.example/", MailSecurity.PLAIN, "mail.example", 25),
        ("smtp://[::1]:2525", MailSecurity.PLAIN, "::1", 2525),
    ],
)
def test_a_mail_server_has_the_usual_port_of_its_security(
    text: str, security: MailSecurity, host: str, port: int
) -> None:
    address = read_address(ChannelKind.MAIL, text, security=security)
    assert (address.host, address.port) == (host, port)
    assert read_address(ChannelKind.MAIL, address.written, security=MailSecurity.PLAIN) == address


@pytest.mark.parametrize(
    ("text", "is_here"),
    [
        ("https://127.0.0.1/r4", True),
        ("https://[::1]/", True),
        ("https://localhost/r4", True),
        ("https://10.0.0.1/", False),
        ("https://localhost.example/", False),
    ],
)
def test_an_address_on_this_machine_is_known(text: str, is_here: bool) -> None:
    assert read_address(ChannelKind.FHIR, text).is_here is is_here


_WRONG = {
    ChannelKind.WEBHOOK: (
        "",
        "alerts.example",
        "ftp://alerts.example/",
        "https://",
        "https://user:pw@alerts.example/",
        "https://alerts.example/#part",
        "https://alerts.example:0/",
        "https://alerts.example:99999/",
        "https://alerts.example/a b",
        "https://alerts.example/a\r\nX-Header: 1",
        "https://älerts.example/",
        "https://[::1/",
        f"https://alerts.example/{'a' * 300}",
    ),
    ChannelKind.FHIR: ("https://fhir.example/r4?_format=json", "https://fhir.example/#r4", "mllp://fhir.example:1"),
    ChannelKind.HL7: (
        "",
        "ris:2575",
        "mllp://ris",
        "tcp://ris:1",
        "mllp://ris:99999",
        "mllp://u@ris:1",
        "mllp://ris:1/x",
        "mllp://[::1:5",
    ),
    ChannelKind.MAIL: (
        "",
        "mail.example:25",
        "smtp://",
        "smtp://u:p@mail",
        "smtp://mail:0",
        "smtp://mail/x",
        "smtp://mail:x",
    ),
}
_FORMS = {
    ChannelKind.WEBHOOK: "https://HOST/PATH",
    ChannelKind.FHIR: "https://HOST/BASE",
    ChannelKind.HL7: "mllp://HOST:PORT",
    ChannelKind.MAIL: "smtp://HOST:PORT",
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in _WRONG.items() for text in texts])
def test_what_is_no_address_says_how_to_write_one(kind: ChannelKind, text: str) -> None:
    with pytest.raises(ChannelInvalid, match=_FORMS[kind]):
        read_address(kind, text)


@pytest.mark.parametrize("text", ["https://alerts.example/#s3cret", "https://u:s3cret@alerts.example/", "s3cret"])
def test_what_is_refused_is_not_repeated(text: str) -> None:
    for kind in ChannelKind:
        with pytest.raises(ChannelInvalid) as caught:
            read_address(kind, text)
        assert "s3cret" not in str(caught.value)
