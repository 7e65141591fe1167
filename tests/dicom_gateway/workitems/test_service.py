"""Workitems over DIMSE, asked for by pynetdicom as a workstation and as an order system would."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom.presentation import build_context

from dicom_gateway.data_sets import encode
from dicom_gateway.protocol import commands, pdus
from storage import audit
from storage.attributes import Attributes
from storage.database import Database
from storage.objects import ObjectStore
from tests.support.gateways import Running, running_gateway
from tests.support.records import analysed_study
from tests.support.senders import RawSender, association, echoes
from tests.support.workitems import (
    IMPLICIT,
    PULL,
    PUSH,
    QUERY,
    WATCH,
    WORKSTATION,
    Client,
    admit_workstation,
    lock,
    new_workitem,
    performed,
    workstation,
)

_N_CREATE, _C_CANCEL, _NO_DATA_SET = 0x0140, 0x0FFF, 0x0101
_P_DATA, _ABORT = 0x04, 0x07

pytestmark = pytest.mark.slow


@pytest.fixture
def running(sqlite_database: Database, objects: ObjectStore) -> Iterator[Running]:
    admit_workstation(sqlite_database)
    with running_gateway(sqlite_database, objects) as gateway:
        yield gateway


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    with workstation(running.port) as opened:
        yield opened


def keys(**wanted: object) -> Dataset:
    dataset = Dataset()
    for keyword in ("ProcedureStepState", "ScheduledProcedureStepPriority", "ProcedureStepLabel", "PatientName"):
        setattr(dataset, keyword, "")
    for keyword, value in wanted.items():
        setattr(dataset, keyword, value)
    return dataset


def _find(*, message_id: int) -> bytes:
    """Return a C-FIND request for everything, as PDUs."""
    identifier = encode(Attributes({"00741204": {"vr": "LO"}}), ExplicitVRLittleEndian)
    command = pdus.command_pdus(1, commands.find_request(message_id, PULL), maximum_pdu_bytes=0)
    return command + pdus.data_set_pdus(1, identifier, maximum_pdu_bytes=0)


def _cancel(*, responds_to: int) -> bytes:
    """Return a C-CANCEL request (PS3.7 9.3.2.3), as PDUs."""
    elements = ((0x0100, _C_CANCEL), (0x0120, responds_to), (0x0800, _NO_DATA_SET))
    body = b"".join(struct.pack("<HHLH", 0, element, 2, value) for element, value in elements)
    return pdus.command_pdus(1, struct.pack("<HHLL", 0, 0, 4, len(body)) + body, maximum_pdu_bytes=0)


def _statuses(sender: RawSender, *, last: int) -> list[int]:
    """Read responses until the one with a status, and return all statuses; a data set follows one that is pending."""
    found: list[int] = []
    while not found or found[-1] != last:
        found.append(sender.read_status())
        if found[-1] == 0xFF00:
            assert sender.read_pdu()[0] == _P_DATA
    return found


def events(running: Running) -> list[str]:
    with running.database.read() as session:
        return [event.tag for event in audit.history(session, limit=1000) if event.tag.startswith("workitem:")]


def test_a_workitem_is_created_found_claimed_performed_and_completed(running: Running, client: Client) -> None:
    assert client.create(new_workitem(), "1.2.3.4")[0] == 0x0000
    status, found = client.find(keys(PatientName="MÜL*", ScheduledProcedureStepPriority="MEDIUM"))
    assert (status, [one.SOPInstanceUID for one in found]) == (0x0000, ["1.2.3.4"])
    assert (found[0].PatientName, found[0].ProcedureStepState) == ("Müller^Jürgen", "SCHEDULED")
    mine = lock()
    assert client.move("1.2.3.4", "IN PROGRESS", mine) == 0x0000
    assert client.set("1.2.3.4", performed(), mine) == 0x0000
    assert client.move("1.2.3.4", "COMPLETED", mine) == 0x0000
    status, got = client.get("1.2.3.4")
    assert (status, got.ProcedureStepState, got.SOPClassUID) == (0x0000, "COMPLETED", PUSH)
    assert "TransactionUID" not in got
    assert got.UnifiedProcedureStepPerformedProcedureSequence[0].PerformedStationNameCodeSequence[0].CodeValue == "WS1"
    assert events(running) == ["workitem:created", "workitem:claimed", "workitem:changed", "workitem:completed"]


def test_who_completes_too_early_is_told_what_is_missing(client: Client) -> None:
    client.create(new_workitem(), "1.2.3.4")
    mine = lock()
    client.move("1.2.3.4", "IN PROGRESS", mine)
    asked = Dataset()
    asked.ProcedureStepState, asked.TransactionUID = "COMPLETED", mine
    status, _ = client.association.send_n_action(asked, 1, PUSH, "1.2.3.4", meta_uid=PULL)
    assert status.Status == 0xC304
    assert "PerformedStationNameCodeSequence" in status.ErrorComment  # in whole, within the 64 characters of a comment


@pytest.mark.parametrize("label", ["Read", "Прочитать", "読影"])
def test_text_comes_back_as_it_was_whatever_the_transfer_syntax(running: Running, label: str) -> None:
    with workstation(running.port, syntax=IMPLICIT) as client:
        asked = new_workitem(label)
        asked.SpecificCharacterSet = "ISO_IR 192"
        assert client.create(asked, "1.2.9")[0] == 0x0000
        _, got = client.get("1.2.9", [0x00741204, 0x00080005])
    assert got.ProcedureStepLabel == label


def test_a_workitem_without_a_uid_gets_one(client: Client) -> None:
    assert client.create(new_workitem())[0] == 0x0000
    _, (found,) = client.find(keys())
    assert client.get(found.SOPInstanceUID)[0] == 0x0000


def test_only_the_holder_of_the_lock_may_go_on(client: Client) -> None:
    client.create(new_workitem(), "1.2.3.4")
    mine, other = lock(), lock()
    assert client.move("1.2.3.4", "COMPLETED", mine) == 0xC310
    assert client.set("1.2.3.4", performed(), mine) == 0xC310
    assert client.move("1.2.3.4", "IN PROGRESS", "") == 0xC301
    assert client.move("1.2.3.4", "IN PROGRESS", mine) == 0x0000
    assert client.move("1.2.3.4", "IN PROGRESS", other) == 0xC301
    assert client.move("1.2.3.4", "IN PROGRESS", mine) == 0xC302
    assert client.move("1.2.3.4", "SCHEDULED", mine) == 0xC303
    assert client.set("1.2.3.4", performed(), other) == 0xC301
    assert client.move("1.2.3.4", "COMPLETED", mine) == 0xC304
    assert client.act("1.2.3.4", None, 2, PUSH) == 0xC312
    assert client.move("1.2.3.4", "CANCELED", other) == 0xC301
    assert client.move("1.2.3.4", "CANCELED", mine) == 0x0000
    assert client.move("1.2.3.4", "CANCELED", mine) == 0xB304
    assert client.move("1.2.3.4", "COMPLETED", mine) == 0xC300
    assert client.set("1.2.3.4", performed(), mine) == 0xC300
    _, got = client.get("1.2.3.4")
    progress = got.ProcedureStepProgressInformationSequence[0]
    assert progress.ProcedureStepCancellationDateTime
    assert progress.ProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue == "110513"


def test_anybody_may_cancel_what_nobody_has_claimed_and_says_why(client: Client) -> None:
    client.create(new_workitem(), "1.2.3.4")
    why = Dataset()
    why.ReasonForCancellation = "ordered twice"
    assert client.act("1.2.3.4", why, 2, PUSH) == 0x0000
    assert client.act("1.2.3.4", why, 2, WATCH) == 0xB304
    _, got = client.get("1.2.3.4")
    assert got.ProcedureStepProgressInformationSequence[0].ReasonForCancellation == "ordered twice"


def test_what_breaks_a_rule_of_creation_is_refused_with_the_status_for_it(client: Client) -> None:
    missing, empty, state, performing = new_workitem(), new_workitem(), new_workitem(), new_workitem()
    del missing.ProcedureStepLabel
    empty.InputReadinessState = ""
    state.ProcedureStepState = "IN PROGRESS"
    performing.UnifiedProcedureStepPerformedProcedureSequence = [Dataset()]
    performing.UnifiedProcedureStepPerformedProcedureSequence[0].PerformedProcedureStepStartDateTime = "2026"
    when = new_workitem()
    when.ScheduledProcedureStepStartDateTime = "20261301"
    expected = {0x0120: missing, 0x0121: empty, 0xC309: state}
    assert {status: client.create(asked)[0] for status, asked in expected.items()} == {key: key for key in expected}
    assert client.create(performing)[0] == 0x0106
    assert client.create(new_workitem(priority="URGENT"))[0] == 0x0106
    assert client.create(when)[0] == 0x0106
    assert client.create(None)[0] == 0xC309
    unlisted = new_workitem()
    unlisted.WorklistLabel = ""
    assert client.create(unlisted)[0] == 0xB300
    assert client.create(new_workitem(), "1.2.3.4")[0] == 0x0000
    assert client.create(new_workitem(), "1.2.3.4")[0] == 0x0111


def test_what_identifies_patient_and_study_is_not_changed_by_a_peer(client: Client) -> None:
    client.create(new_workitem(), "1.2.3.4")
    changes = Dataset()
    changes.PatientID = "P-2"
    assert client.set("1.2.3.4", changes) == 0x0106
    changes = Dataset()
    changes.ScheduledProcedureStepPriority = "HIGH"
    assert client.set("1.2.3.4", changes) == 0x0000
    _, got = client.get("1.2.3.4", [0x00741200, 0x00100020])
    assert (got.ScheduledProcedureStepPriority, got.PatientID) == ("HIGH", "P-1")


@pytest.mark.parametrize("uid", ["1.2.3.999", "1.2.840.10008.5.1.4.34.5"])
def test_what_is_no_workitem_is_said_to_be_none(client: Client, uid: str) -> None:
    assert client.get(uid)[0] == 0xC307
    assert client.move(uid, "IN PROGRESS", lock()) == 0xC307
    assert client.set(uid, performed()) == 0xC307
    assert client.act(uid, None, 2, PUSH) == 0xC307


def test_subscriptions_are_refused_and_unknown_actions_are_none(client: Client) -> None:
    client.create(new_workitem(), "1.2.3.4")
    assert client.act("1.2.3.4", None, 3, WATCH) == 0xC315
    assert client.act("1.2.3.4", None, 9, WATCH) == 0x0123
    assert client.act("1.2.3.4", None, 1, PUSH) == 0x0123


def test_an_operation_that_the_negotiated_class_has_not_is_not_recognised(client: Client) -> None:
    status, _ = client.association.send_n_set(performed(), PUSH, "1.2.3.4", meta_uid=WATCH)
    assert status.Status == 0x0211


def test_the_most_urgent_come_first_and_every_kind_of_key_matches(client: Client) -> None:
    for number, (priority, label) in enumerate([("LOW", "One"), ("HIGH", "Two"), ("MEDIUM", "Three")], start=1):
        asked = new_workitem(label, priority=priority, study=f"1.2.{number}")
        asked.ScheduledProcedureStepStartDateTime = f"2026030{number}120000"
        assert client.create(asked, f"1.2.3.{number}")[0] == 0x0000

    def labels(**wanted: object) -> list[str]:
        status, found = client.find(keys(**wanted), model=QUERY)
        assert status == 0x0000
        return [one.ProcedureStepLabel for one in found]

    assert labels() == ["Two", "Three", "One"]
    assert labels(ProcedureStepLabel="T*") == ["Two", "Three"]
    assert labels(ProcedureStepLabel="T?o") == ["Two"]
    assert labels(ScheduledProcedureStepStartDateTime="20260302-20260303") == ["Two", "Three"]
    assert labels(ScheduledProcedureStepStartDateTime="-202603020000") == ["One"]
    assert labels(StudyInstanceUID=["1.2.1", "1.2.3"]) == ["Three", "One"]
    assert labels(PatientID="P-1", WorklistLabel="radiology") == []
    code = Dataset()
    code.CodeValue = "110005"
    assert labels(ScheduledWorkitemCodeSequence=[code], ScheduledProcedureStepPriority="LOW") == ["One"]
    code.CodeValue = "110006"
    assert labels(ScheduledWorkitemCodeSequence=[code]) == []


def test_an_identifier_that_is_none_does_not_match_the_class(client: Client) -> None:
    assert client.find(keys(ScheduledProcedureStepStartDateTime="soon"))[0] == 0xA900


def test_a_search_that_is_cancelled_in_the_middle_ends_and_the_association_goes_on(
    running: Running, client: Client
) -> None:
    for number in range(5):
        client.create(new_workitem(), f"1.2.3.{number}")
    with RawSender(running.port, sop_class_uid=PULL, calling_aet=WORKSTATION) as sender:
        sender.socket.sendall(_find(message_id=7) + _cancel(responds_to=8) + _cancel(responds_to=7))
        assert _statuses(sender, last=0xFE00) in ([0xFF00, 0xFE00], [0xFF00, 0xFF00, 0xFE00])
        sender.socket.sendall(_find(message_id=11))
        assert _statuses(sender, last=0x0000) == [*[0xFF00] * 5, 0x0000]
        sender.socket.sendall(_cancel(responds_to=11) + _find(message_id=12))
        assert _statuses(sender, last=0x0000) == [*[0xFF00] * 5, 0x0000]


def test_a_data_set_larger_than_any_workitem_is_refused_and_the_association_goes_on(running: Running) -> None:
    large = new_workitem()
    large.CommentsOnTheScheduledProcedureStep = "x" * (1 << 20)
    with workstation(running.port, syntax=IMPLICIT) as client:
        assert client.create(large)[0] == 0x0213
        assert client.create(new_workitem())[0] == 0x0000


def test_bytes_that_are_no_data_set_are_an_invalid_value(running: Running) -> None:
    with RawSender(running.port, sop_class_uid=PUSH, calling_aet=WORKSTATION) as sender:
        sender.send_command("1.2.3.4", sop_class_uid=PUSH, field=_N_CREATE)
        sender.send_fragment(b"no data set at all", control=0b10)
        assert sender.read_status() == 0x0106
        sender.send_command("1.2.3.4", sop_class_uid=PUSH, field=_N_CREATE, data_set=_NO_DATA_SET)
        assert sender.read_status() == 0xC309


def test_a_request_before_the_last_response_ends_the_association(running: Running, client: Client) -> None:
    for number in range(5):
        client.create(new_workitem(), f"1.2.3.{number}")
    with RawSender(running.port, sop_class_uid=PULL, calling_aet=WORKSTATION) as sender:
        sender.socket.sendall(_find(message_id=7) + _find(message_id=8))
        kinds = [sender.read_pdu()[0] for _ in range(3)]
        assert kinds == [_P_DATA, _P_DATA, _ABORT]


def test_a_sender_of_images_may_not_ask_for_workitems(sqlite_database: Database, objects: ObjectStore) -> None:
    with (
        running_gateway(sqlite_database, objects) as running,
        association(running.port, [build_context(PULL)], calling_aet="MODALITY") as opened,
    ):
        assert not opened.is_established
        assert echoes(running.port)


def test_a_workstation_gets_what_a_header_tells_and_ends_what_the_console_shows(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    admit_workstation(sqlite_database)
    analysed_study(sqlite_database, objects)
    with running_gateway(sqlite_database, objects) as running, workstation(running.port) as client:
        _, (found,) = client.find(keys(StudyInstanceUID="2.25.1001"))
        assert found.ScheduledProcedureStepPriority == "HIGH"
        _, got = client.get(found.SOPInstanceUID)
        (item,) = got.InputInformationSequence
        assert (item.SeriesInstanceUID, len(item.ReferencedSOPSequence)) == ("2.25.1001.1", 2)
        assert item.DICOMRetrievalSequence[0].RetrieveAETitle == "MODALITY"
        assert item.ReferencedSOPSequence[0].ReferencedSOPClassUID == MRImageStorage
        mine = lock()
        assert client.move(found.SOPInstanceUID, "IN PROGRESS", mine) == 0x0000
        assert client.set(found.SOPInstanceUID, performed(), mine) == 0x0000
        assert client.move(found.SOPInstanceUID, "COMPLETED", mine) == 0x0000
        with running.database.read() as session:
            (read,) = audit.history(session, tag="study:read-marked")
        assert read.actor == "WORKSTATION"
