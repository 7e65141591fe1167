"""The notices that destinations get of studies that were not analysed, read back by others."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import BasicTextSRStorage
from sqlalchemy import select

from dicom_gateway.notice_writer import NoticeWriter
from dicom_gateway.objects.equipment import Equipment
from storage import audit, delivery_lists, notices, registering
from storage.arrivals import Origin, StudyFacts
from storage.database import Database
from storage.delivery_tables import DeliveryRow, DestinationRow
from storage.domain import ObjectKind, StoredInstance
from storage.objects import ObjectStore
from storage.result_tables import NoticeRow, ResultObjectRow
from storage.routes.series_facts import SeriesFacts
from storage.states import NoticeState
from tests.support.peers import executable, orthanc, run, storescu
from tests.support.readers import entity_errors, iod_errors
from tests.support.records import NOW
from tests.support.routing import close_quiet, quiet_studies, seen
from tests.support.sources import LAYOUTS, SourceStudy, store_study
from tests.support.told_destinations import add_told

LATER = NOW + timedelta(hours=1)


@pytest.fixture
def study(sqlite_database: Database, objects: ObjectStore) -> SourceStudy:
    """Return a study whose images are stored and on record, and that no route wants."""
    source = store_study(LAYOUTS[0], objects, BodyPartExamined="KNEE")
    with sqlite_database.write() as session:
        add_told(session, "PACS", now=NOW)
    for dataset, frame in zip(source.datasets, source.frames, strict=True):
        instance = StoredInstance(
            str(dataset.StudyInstanceUID),
            str(dataset.SeriesInstanceUID),
            str(dataset.SOPInstanceUID),
            str(dataset.SOPClassUID),
            "1.2.840.10008.1.2.1",
            "MR",
            frame.digest,
            frame.digest,
            10,
        )
        with sqlite_database.write() as session:
            origin = Origin("MODALITY", None)
            registering.register_instance(session, instance, StudyFacts(), origin=origin, now=NOW)
    facts = SeriesFacts(str(source.datasets[0].SeriesInstanceUID), "MR", body_part_examined="KNEE", frames=6)
    with sqlite_database.write() as session:
        (study_id,) = quiet_studies(session, quiet_seconds=0, now=NOW)
        close_quiet(session, study_id, seen(facts), quiet_seconds=0, now=NOW)
    return source


def writer(database: Database, objects: ObjectStore) -> NoticeWriter:
    return NoticeWriter(database, objects, Equipment(), lambda: LATER)


def sent(database: Database) -> dict[str, delivery_lists.Delivery]:
    with database.read() as session:
        return {one.destination: one for one in delivery_lists.listed(session)}


def state(database: Database) -> str:
    with database.read() as session:
        return session.scalars(select(NoticeRow.state)).one()


@pytest.mark.peer
def test_a_notice_says_what_was_not_analysed_and_why(
    study: SourceStudy, sqlite_database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    assert writer(sqlite_database, objects).write_due() == 1
    written = sent(sqlite_database)["PACS"].written
    assert (written.kind, written.sop_class_uid, written.flaw) == (ObjectKind.SR, BasicTextSRStorage, None)
    path = objects.path(written.digest)
    assert iod_errors(path) == []
    assert entity_errors([path, *(objects.path(frame.digest) for frame in study.frames)]) == []
    dump = run(executable("dsrdump"), "+Pl", path)
    assert dump.returncode == 0
    assert "Warning" not in dump.stdout
    for stated in (
        "Study not analysed automatically",
        'CODE:(,,"Reason for no analysis")=(NOT_APPLICABLE,99ONCUE,"No route of analysis applies")',
        "No route of automatic analysis that this site has set up applies to the study. Code: not_applicable.",
        str(study.datasets[0].StudyInstanceUID),
        str(study.datasets[0].SeriesInstanceUID),
        'TEXT:(,,"Images")="6"',
        'TEXT:(,,"Condition not met")="route ',
    ):
        assert stated in dump.stdout
    dataset = pydicom.dcmread(path)
    assert (dataset.PatientID, dataset.SeriesNumber, dataset.VerificationFlag) == ("PATIENT-17", 99010, "UNVERIFIED")
    named = {
        str(reference.ReferencedSOPInstanceUID)
        for series in dataset.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }
    assert named == {str(source.SOPInstanceUID) for source in study.datasets}
    (tmp_path / "pacs").mkdir()
    with orthanc(tmp_path / "pacs") as pacs:
        assert storescu(pacs.ae_title, pacs.port, path).returncode == 0
        assert pacs.sop_instance_uids() == (written.sop_instance_uid,)


def test_destinations_of_one_style_share_an_object_and_others_get_their_own(
    study: SourceStudy, sqlite_database: Database, objects: ObjectStore
) -> None:
    with sqlite_database.write() as session:
        add_told(session, "RIS", now=NOW)
        add_told(
            session, "ARCHIVE", now=NOW, series_number_base=500, series_description="AI", character_set="ISO_IR 192"
        )
    writer(sqlite_database, objects).write_due()
    found = {name: one.written for name, one in sent(sqlite_database).items()}
    assert found["PACS"] == found["RIS"]
    assert found["ARCHIVE"].sop_instance_uid != found["PACS"].sop_instance_uid
    dataset = pydicom.dcmread(objects.path(found["ARCHIVE"].digest))
    assert (dataset.SeriesNumber, dataset.SeriesDescription) == (510, "AI")
    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    assert str(dataset.PatientName) == str(study.datasets[0].PatientName)


@pytest.mark.usefixtures("study")
def test_a_notice_that_nobody_wants_any_more_is_needless(sqlite_database: Database, objects: ObjectStore) -> None:
    with sqlite_database.write() as session:
        session.scalars(select(DestinationRow)).one().unanalysed = "nothing"
    writer(sqlite_database, objects).write_due()
    assert (state(sqlite_database), sent(sqlite_database)) == (NoticeState.NEEDLESS, {})


def test_an_image_that_is_gone_postpones_or_ends_the_notice_and_names_why(
    study: SourceStudy, sqlite_database: Database, objects: ObjectStore
) -> None:
    objects.path(study.frames[0].digest).unlink()
    assert writer(sqlite_database, objects).write_due() == 1
    with sqlite_database.read() as session:
        row = session.scalars(select(NoticeRow)).one()
        assert (row.state, row.code) == (NoticeState.FAILED, "object_missing")
        assert len(audit.history(session, tag="notice:failed")) == 1
    assert writer(sqlite_database, objects).write_due() == 0


def test_a_notice_that_is_written_twice_is_the_same_object(
    study: SourceStudy, sqlite_database: Database, objects: ObjectStore
) -> None:
    with sqlite_database.read() as session:
        (pending,) = notices.due(session, now=LATER)
    one = writer(sqlite_database, objects)
    subject = one._subject(pending)
    assert len(subject.instances) == len(study.datasets)
    one.write_due()
    first = sent(sqlite_database)["PACS"].written
    with sqlite_database.write() as session:
        row = session.scalars(select(NoticeRow)).one()
        row.state = NoticeState.PENDING.value
        session.query(DeliveryRow).delete()
        session.query(ResultObjectRow).delete()
    one.write_due()
    assert sent(sqlite_database)["PACS"].written == first
