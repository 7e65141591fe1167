"""Acknowledged images on their way to their rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from sqlalchemy import event, select, text

from dicom_gateway.errors import OutOfResources
from dicom_gateway.receiving import journal_files
from dicom_gateway.receiving.backlog import Acknowledged, Backlog
from dicom_gateway.receiving.ledger import Ledger
from dicom_gateway.receiving.recovery import Recovery
from storage import audit, journals, registering, studies
from storage.database import Database, utc_now
from storage.domain import StoredInstance
from storage.journals import Journal
from storage.models import StudyRow
from storage.objects import ObjectStore
from tests.support.gateways import half_received, until
from tests.support.journals import put_into_journal
from tests.support.senders import ct_image

_PATIENCE = 30.0


@contextlib.contextmanager
def running_ledger(database: Database, objects: ObjectStore, *, most_images: int = 100) -> Iterator[Ledger]:
    ledger = Ledger(database, objects, Backlog(most_images, 1 << 30), clock=utc_now)
    ledger.start()
    try:
        yield ledger
    finally:
        ledger.stop(_PATIENCE)


@pytest.fixture
def journal(objects: ObjectStore) -> Iterator[Journal]:
    made = Journal.create(objects, "gateway")
    yield made
    made.close()


def acknowledged(objects: ObjectStore, journal: Journal, number: int) -> Acknowledged:
    kept = put_into_journal(objects, journal, ct_image(number=number))
    return journal_files.acknowledged(kept.path, kept.receipt)


def on_record(database: Database) -> tuple[StoredInstance, ...]:
    with database.read() as session:
        study_id = session.scalar(select(StudyRow.id))
        return () if study_id is None else studies.instances_of(session, study_id)


def events(database: Database, tag: str) -> list[audit.AuditEvent]:
    with database.read() as session:
        return list(audit.history(session, tag=tag))


def test_those_that_wait_are_committed_together_and_leave_the_journal(
    sqlite_database: Database, objects: ObjectStore, journal: Journal
) -> None:
    images = [acknowledged(objects, journal, number) for number in range(8)]
    commits: list[object] = []
    event.listen(sqlite_database.engine, "commit", commits.append)
    ledger = Ledger(sqlite_database, objects, Backlog(100, 1 << 30), clock=utc_now)
    for image in images:
        ledger.submit(image)
    ledger.start()
    assert ledger.drain(_PATIENCE)
    ledger.stop(_PATIENCE)
    assert len(commits) == 1
    assert len(on_record(sqlite_database)) == 8
    assert half_received(objects) == []
    for image in images:
        assert objects.path(image.digest).read_bytes() == objects.get(image.digest)


def test_an_outage_delays_rows_and_keeps_their_order_and_the_notes(
    database: Database, objects: ObjectStore, journal: Journal
) -> None:
    images = [acknowledged(objects, journal, number) for number in range(3)]
    with running_ledger(database, objects) as ledger:
        _rename(database, "instances", "away")
        ledger.submit(images[0])
        assert not ledger.drain(_PATIENCE)
        for image in images[1:]:
            ledger.submit(image)
        written: list[str] = []
        ledger.note(lambda session: _record(session, "association:closed"), then=lambda: written.append("closed"))
        ledger.note(lambda session: _record(session, "association:opened"), ahead=True)
        _rename(database, "away", "instances")
        until(lambda: ledger.drain(_PATIENCE), "the end of the outage")
    uids = [image.arrival.instance.sop_instance_uid for image in images]
    assert [instance.sop_instance_uid for instance in on_record(database)] == uids
    assert written == ["closed"]
    with database.read() as session:
        tags = [one.tag for one in audit.history(session)]
    assert tags.index("association:opened") < tags.index("association:closed")


def test_what_may_wait_is_bounded_by_number_and_by_size(
    sqlite_database: Database, objects: ObjectStore, journal: Journal
) -> None:
    for backlog in (Backlog(2, 1 << 30), Backlog(1000, 2000)):
        ledger = Ledger(sqlite_database, objects, backlog, clock=utc_now)
        for number in range(2):
            ledger.require_room()
            ledger.submit(acknowledged(objects, journal, number))
        with pytest.raises(OutOfResources, match="2 images"):
            ledger.require_room()


def test_an_image_that_the_database_refuses_is_set_aside_with_its_receipt_and_the_others_are_registered(
    sqlite_database: Database, objects: ObjectStore, journal: Journal
) -> None:
    images = [acknowledged(objects, journal, number) for number in range(3)]
    refused = images[1]
    _refuse(sqlite_database, refused.arrival.instance.sop_instance_uid)
    with running_ledger(sqlite_database, objects) as ledger:
        for image in images:
            ledger.submit(image)
        assert ledger.drain(_PATIENCE)
        assert len(on_record(sqlite_database)) == 2
        (told,) = events(sqlite_database, "instance:failed")
        assert told.subject == f"instance/{refused.arrival.instance.sop_instance_uid}"
        assert (told.actor, told.outcome) == ("CT", "failed")
        assert journal_files.whole_receipt(objects.set_aside / refused.digest) is not None
        assert half_received(objects) == []
        assert journals.set_aside_count(objects) == 1


def test_what_was_set_aside_is_tried_again_when_a_gateway_starts(
    sqlite_database: Database, objects: ObjectStore, journal: Journal
) -> None:
    image = acknowledged(objects, journal, 1)
    _refuse(sqlite_database, image.arrival.instance.sop_instance_uid)
    with running_ledger(sqlite_database, objects) as ledger:
        ledger.submit(image)
        assert ledger.drain(_PATIENCE)
        Recovery(objects, ledger).take_over()
        assert (objects.set_aside / image.digest).is_file()
        with sqlite_database.write() as session:
            session.execute(text("DROP TRIGGER refuse"))
        Recovery(objects, ledger).take_over()
        assert [instance.digest for instance in on_record(sqlite_database)] == [image.digest]
        assert not objects.set_aside.exists()


def test_the_same_image_in_other_bytes_of_an_earlier_version_is_a_duplicate(
    database: Database, objects: ObjectStore, journal: Journal
) -> None:
    image = acknowledged(objects, journal, 1)
    objects.link(image.path, image.digest)
    earlier = journal_files.content_digest(objects, image.arrival.instance)
    with running_ledger(database, objects) as ledger:
        ledger.submit(image)
        assert ledger.drain(_PATIENCE)
        with database.write() as session:
            session.execute(text("UPDATE instances SET content_sha256 = :content"), {"content": earlier})
        ledger.submit(acknowledged(objects, journal, 1))
        assert ledger.drain(_PATIENCE)
    assert len(events(database, "instance:stored")) == 1
    assert events(database, "instance:changed") == []


def test_half_a_file_in_a_dead_journal_is_removed_and_a_changed_one_too(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    dead = Journal.create(objects, "dead")
    torn = put_into_journal(objects, dead, ct_image(number=1)).path
    changed = put_into_journal(objects, dead, ct_image(number=2)).path
    put_into_journal(objects, dead, ct_image(number=3))
    dead.slots(2)
    torn.write_bytes(torn.read_bytes()[:-10])
    changed.write_bytes(changed.read_bytes()[:-1] + b"\x77")
    dead.close()
    with running_ledger(sqlite_database, objects) as ledger:
        Recovery(objects, ledger).take_over()
    (instance,) = on_record(sqlite_database)
    assert instance.sop_instance_uid == ct_image(number=3).SOPInstanceUID
    assert list(objects.incoming.iterdir()) == []


def test_a_file_that_cannot_be_read_keeps_no_other_from_its_row(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    dead = Journal.create(objects, "dead")
    unreadable = dead.folder / "00000000"
    unreadable.mkdir()
    put_into_journal(objects, dead, ct_image(number=1))
    dead.close()
    with running_ledger(sqlite_database, objects) as ledger:
        Recovery(objects, ledger).take_over()
    assert len(on_record(sqlite_database)) == 1
    assert unreadable.is_dir()


def test_an_older_version_in_a_dead_journal_does_not_take_the_place_of_the_newer_one(
    database: Database, objects: ObjectStore, journal: Journal
) -> None:
    dead = Journal.create(objects, "dead")
    on_record_before = acknowledged(objects, dead, 1)
    waiting = put_into_journal(objects, dead, ct_image(number=2))
    with running_ledger(database, objects) as ledger:
        # The gateway died behind the commit of the one, and before that of the other.
        with database.write() as session:
            registering.register_instances(session, [on_record_before.arrival], now=utc_now())
        newer = []
        for number in (1, 2):
            kept = put_into_journal(objects, journal, ct_image(number=number, rows=48))
            newer.append(journal_files.acknowledged(kept.path, kept.receipt))
            ledger.submit(newer[-1])
        assert ledger.drain(_PATIENCE)
        dead.close()
        Recovery(objects, ledger).take_over()
        assert ledger.drain(_PATIENCE)
    assert {instance.digest for instance in on_record(database)} == {image.digest for image in newer}
    assert len(events(database, "instance:changed")) == 1
    assert len(events(database, "instance:stored")) == 3
    objects.verify(waiting.receipt.digest)
    assert half_received(objects) == []


def _record(session: object, tag: str) -> None:
    audit.record(session, tag, "association/1", actor="CT", now=utc_now())  # type: ignore[arg-type]  # as notes get it


def _refuse(database: Database, uid: str) -> None:
    with database.write() as session:
        session.execute(
            text(
                f"CREATE TRIGGER refuse BEFORE INSERT ON instances WHEN NEW.sop_instance_uid = '{uid}' "
                "BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        )


def _rename(database: Database, old: str, new: str) -> None:
    with database.write() as session:
        session.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))
