from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from storage.errors import ObjectCorrupt, ObjectMissing, StorageFull
from storage.objects import ObjectStore

CONTENT = b"twelve bytes"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def test_an_object_lies_under_its_digest_and_reads_back(objects: ObjectStore) -> None:
    assert objects.put(CONTENT) == DIGEST
    assert objects.put(iter([CONTENT[:5], CONTENT[5:]])) == DIGEST
    assert objects.get(DIGEST) == CONTENT
    objects.verify(DIGEST)


def test_the_same_bytes_are_stored_once(objects: ObjectStore) -> None:
    objects.put(CONTENT)
    before = objects.path(DIGEST).stat().st_ino
    objects.put(CONTENT)
    assert objects.path(DIGEST).stat().st_ino == before


def test_an_interrupted_put_leaves_nothing_behind(objects: ObjectStore) -> None:
    def broken() -> Iterator[bytes]:
        yield CONTENT
        raise ConnectionError

    with pytest.raises((ConnectionError, StorageFull)):
        objects.put(broken())
    assert [path for path in objects.root.rglob("*") if path.is_file()] == []


def test_bytes_that_changed_on_disk_are_noticed(objects: ObjectStore) -> None:
    objects.put(CONTENT)
    objects.path(DIGEST).write_bytes(b"twelve bytez")
    with pytest.raises(ObjectCorrupt):
        objects.get(DIGEST)
    with pytest.raises(ObjectCorrupt):
        objects.verify(DIGEST)


def test_what_is_not_there_is_missing(objects: ObjectStore) -> None:
    with pytest.raises(ObjectMissing):
        objects.get(DIGEST)
    with pytest.raises(ObjectMissing):
        objects.verify(DIGEST)


@pytest.mark.parametrize("name", ["../../etc/passwd", "A" * 64, "", "a" * 63, f"{'a' * 64}\n", "a/" * 32])
def test_nothing_but_a_digest_becomes_a_path(objects: ObjectStore, name: str) -> None:
    with pytest.raises(ValueError, match="digest"):
        objects.path(name)


def test_the_reserve_is_never_used(objects: ObjectStore) -> None:
    full = ObjectStore(objects.root, reserve_bytes=1 << 60)
    with pytest.raises(StorageFull) as caught:
        full.put(CONTENT)
    assert caught.value.retryable
    assert "reserve" in str(caught.value)
    assert not full.path(DIGEST).exists()


def test_a_file_gets_its_digest_as_a_second_name_whether_or_not_its_folder_is_there(objects: ObjectStore) -> None:
    received = objects.incoming / "00000001"
    received.write_bytes(CONTENT)
    assert not objects.path(DIGEST).parent.exists()
    for _ in range(2):  # a batch that a crash interrupted is done again
        objects.link(received, DIGEST)
        objects.sync_names([DIGEST])
        assert objects.get(DIGEST) == CONTENT
    assert objects.path(DIGEST).samefile(received)


def test_no_name_from_outside_becomes_part_of_a_path(objects: ObjectStore) -> None:
    received = objects.incoming / "00000001"
    received.write_bytes(CONTENT)
    with pytest.raises(ValueError, match="digest"):
        objects.link(received, "../../outside")
    with pytest.raises(ValueError, match="digest"):
        objects.sync_names(["../../outside"])
