"""Who is told that a result is superseded, and of which objects."""

from __future__ import annotations

from datetime import datetime

import pydicom
import pytest

from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.forms import write_forms
from dicom_gateway.rejection_writer import RejectionWriter
from storage import deliveries, delivery_claims, delivery_lists, destinations, reports, superseding
from storage.database import Database, utc_now
from storage.delivery_claims import ClaimTerms
from storage.destinations import DestinationEntry
from storage.domain import ObjectKind
from storage.models import JobRow
from storage.objects import ObjectStore
from storage.reports import AddressedObject
from tests.support.analysed_sources import analysed_source
from tests.support.sources import LAYOUTS, WRITTEN_AT, store_study

pytestmark = pytest.mark.slow

OLD = "OLD@10.0.0.9:104"


@pytest.fixture
def now() -> datetime:
    return utc_now()


def deliver_and_supersede(database: Database, objects: ObjectStore, *, now: datetime) -> None:
    """Have a SEG and an SR go where entries and addresses say, and a later result take their place."""
    study = store_study(LAYOUTS[0], objects)
    job_id = analysed_source(database, objects, study)
    seg, report = write_forms(
        study.analysis(study.lesion_labels()),
        objects,
        (ObjectKind.SEG, ObjectKind.SR),
        written_at=WRITTEN_AT,
        equipment=Equipment(),
    )
    both, text = ("a", "b", OLD), ("text", "silent")
    with database.write() as session:
        addressed = [AddressedObject(seg, both), AddressedObject(report, (*both, *text))]
        reports.written_to(session, job_id, addressed, choices=(), now=now)
    for name in (*both, *text):
        with database.write() as session:
            for one in delivery_claims.claim(session, name, ClaimTerms(name, 60), now=now):
                deliveries.sent(session, one.id, owner=name, status=0, now=now)
    with database.write() as session:
        job = session.get_one(JobRow, job_id)
        superseding.supersede_results(session, job.study_id, job.route, by=None, actor="test", now=now)


def named(objects: ObjectStore, digest: str) -> int:
    """Return how many instances a note rejects."""
    note = pydicom.dcmread(objects.path(digest))
    return sum(
        len(series.ReferencedSOPSequence)
        for study in note.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
    )


def test_each_receiver_that_wants_notes_is_told_of_what_it_has_got(
    database: Database, objects: ObjectStore, now: datetime
) -> None:
    with database.write() as session:
        for name, address, wants in (
            ("a", "A@10.0.0.1:104", True),
            ("b", "B@10.0.0.2:104", True),
            ("text", "T@10.0.0.3:104", True),
            ("silent", "S@10.0.0.4:104", False),
            # An entry that was made after results had gone to its address: it is told under its name.
            ("old", OLD, True),
        ):
            entry = DestinationEntry(name, address, rejection_notes=wants)
            destinations.add(session, entry, actor="test", now=now)
    deliver_and_supersede(database, objects, now=now)
    writer = RejectionWriter(database, objects, Equipment(), (OLD, "S@10.0.0.4:104"), lambda: now)
    assert writer.write_due() == 1
    assert writer.write_due() == 0
    with database.read() as session:
        notes = [one for one in delivery_lists.listed(session) if one.written.kind is ObjectKind.REJECTION]
    told = {one.destination: named(objects, one.written.digest) for one in notes}
    assert told == {"a": 2, "b": 2, "old": 2, "text": 1}
    assert len({one.written.sop_instance_uid for one in notes}) == 2
