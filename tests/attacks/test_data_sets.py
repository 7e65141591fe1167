"""Data sets that lie about themselves, nest without end, or are bombs; and senders that break off inside one."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import pytest

from dicom_gateway.status import Status
from tests.support.attacked_gateway import AttackedGateway, under_attack
from tests.support.gateways import until
from tests.support.hostile import Hostile, at_once
from tests.support.pdus import (
    ABORT,
    COMMAND,
    CT_IMAGE,
    DEFLATED,
    LAST,
    association_request,
    context,
    explicit,
    fragment,
    p_data,
    pdu,
    store_command,
)
from tests.support.senders import ct_image, encoded

pytestmark = pytest.mark.slow

_IMAGE = ct_image("hostile")
_UID, _CONTENT = str(_IMAGE.SOPInstanceUID), encoded(_IMAGE)
_SENDERS = 24
_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
_SEQUENCE = struct.pack("<HH2sHL", 0x0008, 0x1115, b"SQ", 0, 0xFFFFFFFF)


def _before_pixels(hostile: bytes) -> bytes:
    """Put bytes into an honest data set, before its pixels."""
    at = _CONTENT.index(struct.pack("<HH2s", 0x7FE0, 0x0010, b"OW"))
    return _CONTENT[:at] + hostile + _CONTENT[at:]


_EMPTY_ITEM, _SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE000, 0), struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


# Made by the test that sends them: some of them take a second and ten megabytes, in each process that collects tests.
def _deep() -> bytes:
    return _before_pixels((_SEQUENCE + _ITEM) * 200_000)


def _deep_and_defined() -> bytes:
    head = explicit(0x00081115, b"SQ", struct.pack("<HHL", 0xFFFE, 0xE000, 1 << 30), length=1 << 30)
    return _before_pixels(head * 9)


def _many_items() -> bytes:
    return _items(1_000_000)


def _too_many_items() -> bytes:
    return _items(3_000_000)


def _items(count: int) -> bytes:
    return _before_pixels(_SEQUENCE + _EMPTY_ITEM * count + _SEQUENCE_END)


def _many_elements() -> bytes:
    group = b"".join(explicit(0x60010000 + number, b"LO", b"") for number in range(0x10000))
    return _before_pixels((group * 16)[: 1_000_000 * (len(group) // 0x10000)])


def _deflated() -> bytes:
    return zlib.compress(bytes(64 << 20), 9)[2:-4]


@pytest.mark.parametrize("made", [_many_items, _many_elements], ids=["a million items", "a million elements"])
def test_large_structures_from_many_senders_delay_nobody(gateway: AttackedGateway, made: Callable[[], bytes]) -> None:
    data_set = made()
    answers: list[int | None] = []

    def send(_: int) -> None:
        with Hostile(gateway.port) as hostile:
            if hostile.associate():
                answers.append(hostile.store(_UID, data_set))

    with under_attack(gateway, most_memory_bytes=128 << 20) as peer:
        at_once(_SENDERS, send)
        peer.asks(3)
    assert answers


@pytest.mark.parametrize(
    "made", [_deep, _deep_and_defined, _too_many_items], ids=["deep", "deep with lengths", "three million items"]
)
def test_structures_without_end_are_refused(gateway: AttackedGateway, made: Callable[[], bytes]) -> None:
    data_set = made()
    with under_attack(gateway), Hostile(gateway.port) as hostile:
        assert hostile.associate()
        assert hostile.store(_UID, data_set) == Status.CANNOT_UNDERSTAND


def _told(old: bytes, new: bytes) -> bytes:
    assert old in _CONTENT
    return _CONTENT.replace(old, new, 1)


_STUDY = explicit(0x0020000D, b"UI", str(_IMAGE.StudyInstanceUID).encode().ljust(44, b"\0"))
_PIXELS = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 512)
_BROKEN = {
    "empty": b"",
    "noise": bytes(range(256)) * 40,
    "cut off": _CONTENT[:-1],
    "cut off in a header": _CONTENT[: _CONTENT.index(_PIXELS) + 3],
    "no study": _CONTENT.replace(b"\x20\x00\x0d\x00", b"\x20\x00\xfd\x00", 1),
    "a length beyond the end": _told(b"LO\x06\x00Thorax", b"LO\xff\xffThorax"),
    "pixels longer than the data set": _told(_PIXELS, _PIXELS[:8] + struct.pack("<L", 0xFFFFFFF0)),
    "pixels without end": _told(_PIXELS, _PIXELS[:8] + struct.pack("<L", 0xFFFFFFFF)),
    "no value representation": _told(b"LO\x06\x00Thorax", b"\0\0\x06\x00Thorax"),
    "a delimiter that closes nothing": _before_pixels(struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)),
    "a sequence that nothing closes": _before_pixels(_SEQUENCE + _ITEM),
    "another instance": _told(_UID.encode()[-4:], b"9999"),
    "an identifier twice": _before_pixels(explicit(0x00100020, b"LO", b"SOMEBODY")),
    "an absolute path as study": _told(str(_IMAGE.StudyInstanceUID).encode()[:12], b"/../../../x/"),
}


def test_a_data_set_that_is_not_what_it_says_is_refused(gateway: AttackedGateway) -> None:
    answers: dict[str, int | None] = {}
    with under_attack(gateway), Hostile(gateway.port) as hostile:
        assert hostile.associate()
        for name, data_set in (_BROKEN | {"deflated": _deflated()}).items():
            answers[name] = hostile.store(_UID, data_set)
    refused = {Status.CANNOT_UNDERSTAND, Status.MISMATCH}
    assert {name: status for name, status in answers.items() if status not in refused} == {}


@pytest.mark.parametrize(
    "uid", ["../../../../tmp/oncue", "1.2.3/../4", "1" * 65, "", "1.2.\0.3", "a", "1.2\r\n", "1.2.3 ' OR 1=1"], ids=repr
)
def test_a_uid_that_is_none_names_no_file(gateway: AttackedGateway, uid: str) -> None:
    # What the attacks before were answered for gets its name, its row and its place a moment after the answer.
    until(lambda: gateway.incoming_bytes() == 0, "the images of the attacks before to be in their places")
    files = {path for path in gateway.state.parent.rglob("*") if path.is_file()}
    with Hostile(gateway.port) as hostile:
        assert hostile.associate()
        assert hostile.store(uid, _CONTENT) != Status.SUCCESS
    new = {path for path in gateway.state.parent.rglob("*") if path.is_file()} - files
    assert {path for path in new if "incoming" not in path.parts and not path.name.startswith("oncue.sqlite")} == set()


def test_deflated_data_sets_are_not_negotiated(gateway: AttackedGateway) -> None:
    """A few hundred kilobytes would become gigabytes before anybody could look."""
    request = association_request([context(1, CT_IMAGE, [DEFLATED])])
    with under_attack(gateway), Hostile(gateway.port) as hostile:
        if hostile.associate(request):
            assert hostile.store(_UID, _deflated()) != Status.SUCCESS


@pytest.mark.parametrize("how", ["abort", "close", "reset"])
def test_senders_that_break_off_inside_an_image_leave_nothing(gateway: AttackedGateway, how: str) -> None:
    def break_off(number: int) -> None:
        for attempt in range(8):
            with Hostile(gateway.port) as hostile:
                if not hostile.associate():
                    continue
                hostile.send(p_data(fragment(1, COMMAND | LAST, store_command(f"1.2.{number}.{attempt}"))))
                hostile.send(p_data(fragment(1, 0, bytes(200_000))) * (attempt % 3))
                if how == "abort":
                    hostile.send(pdu(ABORT, bytes(4)))
                    assert hostile.is_closed()
                elif how == "reset":
                    hostile.reset()

    with under_attack(gateway):
        at_once(_SENDERS, break_off)


def test_a_sender_that_repeats_a_refused_image_fills_neither_log_nor_database(gateway: AttackedGateway) -> None:
    rows, lines = gateway.rows(), len(gateway.log_lines())
    with under_attack(gateway), Hostile(gateway.port) as hostile:
        assert hostile.associate()
        for _ in range(400):
            assert hostile.store(_UID, _CONTENT[:-1]) == Status.CANNOT_UNDERSTAND
    assert gateway.rows() - rows < 350
    assert len(gateway.log_lines()) - lines < 150
