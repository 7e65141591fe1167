from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import receipts
from storage.domain import Lane
from storage.objects import ObjectStore
from storage.receipts import Receipt

_CONTENT = receipts.BLANK + b"DICM and what follows it"


def _receipt(digest: str = "ab" * 32) -> Receipt:
    return Receipt(
        digest=digest,
        size_bytes=len(_CONTENT),
        study_key=receipts.study_key("1.2.3"),
        calling_aet="MR 1",
        association_id=str(uuid.UUID(int=7)),
        lane=Lane.STAT,
        received_at=datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC),
    )


@given(
    st.builds(
        Receipt,
        digest=st.binary(min_size=32, max_size=32).map(bytes.hex),
        size_bytes=st.integers(0, 1 << 62),
        study_key=st.text("0123456789.", min_size=1, max_size=64).map(receipts.study_key),
        calling_aet=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=16).map(str.rstrip),
        association_id=st.none() | st.uuids(version=4).map(str),
        lane=st.sampled_from(Lane),
        received_at=st.datetimes(timezones=st.just(UTC)),
    )
)
def test_a_receipt_reads_back_from_a_preamble(receipt: Receipt) -> None:
    written = receipts.preamble(receipt)
    assert len(written) == receipts.PREAMBLE_BYTES
    assert receipts.read(written) == receipt
    assert not receipts.is_registered(written)


@pytest.mark.parametrize("place", [0, 8, 50, 100, 104, 108])
def test_a_receipt_that_is_not_whole_is_none(place: int) -> None:
    torn = bytearray(receipts.preamble(_receipt()))
    torn[place] ^= 0x10
    assert receipts.read(bytes(torn)) is None
    assert receipts.read(bytes(torn)[:64]) is None


def test_a_blank_preamble_holds_no_receipt() -> None:
    assert receipts.read(receipts.BLANK) is None


def test_an_object_with_a_receipt_is_read_as_if_its_preamble_were_blank(objects: ObjectStore) -> None:
    digest = objects.put(_CONTENT)
    objects.path(digest).write_bytes(receipts.preamble(_receipt(digest)) + _CONTENT[receipts.PREAMBLE_BYTES :])
    assert objects.get(digest) == _CONTENT
    objects.verify(digest)
