from __future__ import annotations

from ipaddress import ip_network

import pytest

from dicom_gateway.config import GatewaySettings
from dicom_gateway.receiving.charsets import decode_text, text_note
from dicom_gateway.receiving.store_request import address_allowed, safe_title, safe_uid
from storage.errors import OncueError
from storage.uids import is_uid


@pytest.mark.parametrize(
    ("address", "networks", "allowed"),
    [
        ("10.1.2.3", [], True),
        ("10.1.2.3", ["10.0.0.0/8"], True),
        ("11.1.2.3", ["10.0.0.0/8", "192.168.0.0/16"], False),
        ("::ffff:10.1.2.3", ["10.0.0.0/8"], True),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("fe80::1", ["10.0.0.0/8"], False),
    ],
)
def test_an_address_is_held_against_the_networks(address: str, networks: list[str], allowed: bool) -> None:
    assert address_allowed(address, [ip_network(network) for network in networks]) is allowed


@pytest.mark.parametrize("text", ["", "1.2.3\n", "1.2.3 ", "1" * 65, "1.2.a", "../1", "1.2.\u0663"])
def test_what_is_no_uid_is_told_apart_and_kept_out_of_records(text: str) -> None:
    assert not is_uid(text)
    assert safe_uid(text) == "invalid"


def test_a_title_from_outside_is_made_fit_for_a_log_line() -> None:
    assert safe_title("CT\n\x1b[31m" + "x" * 40) == "CT??[31mxxxxxxxx"


@pytest.mark.parametrize(
    ("value", "character_set", "text"),
    [
        ("Größe".encode("latin-1"), b"ISO_IR 100", "Größe"),
        ("Größe".encode(), b"ISO_IR 192", "Größe"),
        ("Größe".encode("latin-1"), b"", "Größe"),
        ("Größe".encode("latin-1"), b"ISO_IR 192", "Gr\ufffd\ufffde"),
        ("Кт".encode("iso8859_5"), b"ISO_IR 144", "Кт"),
        (b"\x1b$B;3ED\x1b(B", rb"\ISO 2022 IR 87", "山田"),
        (b"plain", b"NO SUCH SET", "plain"),
        ("Größe".encode("latin-1"), b"ISO_IR 999", "Gr\ufffd\ufffde"),
        (b"\x8eR\x93c", rb"\ISO 2022 IR 87", "\ufffdR\ufffdc"),
        (b"\x1b$B;3ED\x1b(B", b"ISO_IR 100", "\ufffd$B;3ED\ufffd(B"),
        (b"\x1b", b"ISO_IR 192", "\ufffd"),
        (b"a\x00b\r\nc ", b"", "abc"),
    ],
)
def test_text_is_decoded_as_far_as_it_can_be(value: bytes, character_set: bytes, text: str) -> None:
    assert decode_text(value, character_set, longest=64) == text


_HONG = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
_YAMADA = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"


@pytest.mark.parametrize(
    ("value", "character_set", "note"),
    [
        (b"Doe^Jane", b"", None),
        (b"Doe^Jane", b"ISO_IR 100", None),
        ("Größe".encode("latin-1"), b"ISO_IR 100", None),
        (_HONG, rb"\ISO 2022 IR 149", None),
        (_YAMADA, rb"\ISO 2022 IR 87", None),
        ("Wang^小东".encode("gb18030"), b"GB18030", None),
        ("Größe".encode("latin-1"), b"", "character_set_contradicted"),
        ("Größe".encode("latin-1"), b"ISO_IR 192", "character_set_contradicted"),
        (_YAMADA, b"ISO_IR 100", "character_set_contradicted"),
        ("山田".encode("shift_jis"), rb"\ISO 2022 IR 87", "character_set_contradicted"),
        (b"Doe^Jane", b"ISO_IR 999", "character_set_unknown"),
        (b"Doe^Jane", b"ISO-8859-1", "character_set_unknown"),
        (b"Doe^Jane", b"\xff\xfe", "character_set_unknown"),
    ],
)
def test_text_that_is_not_as_the_image_says_is_noted(value: bytes, character_set: bytes, note: str | None) -> None:
    assert text_note([b"plain", value], character_set) == note


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="extra"):
        GatewaySettings.model_validate({"quite_seconds": 3})


@pytest.mark.parametrize(
    "setting", [{"aet": "A" * 17}, {"aet": "A\\B"}, {"allowed_networks": ["10.0.0.0/99"]}, {"quiet_seconds": 0}]
)
def test_a_setting_out_of_range_is_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        GatewaySettings.model_validate(setting)


def test_a_destination_that_cannot_be_read_is_refused() -> None:
    with pytest.raises((ValueError, OncueError), match="AET@HOST:PORT"):
        GatewaySettings.model_validate({"destinations": ["PACS"]})


def test_every_setting_is_described() -> None:
    assert all(field.description for field in GatewaySettings.model_fields.values())
