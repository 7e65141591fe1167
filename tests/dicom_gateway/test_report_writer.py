"""Results in the forms that each destination takes, from a committed analysis to the peer."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pydicom
import pytest

from dicom_gateway.chosen_forms import SENDABLE, SOP_CLASSES
from dicom_gateway.receiving.file_receiver import running_receiver
from storage import analyses, audit, delivery_lists, destinations, negotiations, reports
from storage.database import Database, utc_now
from storage.destinations import DestinationEntry
from storage.domain import ObjectKind, Priority
from storage.objects import ObjectStore
from storage.states import DeliveryState
from tests.support import storescp_profiles as profiles
from tests.support.analysed_sources import analysed_source
from tests.support.gateways import Running, running_gateway, until
from tests.support.peers import StoreScp, dcmtk_storescp, free_port, orthanc
from tests.support.required import missing_peer
from tests.support.sources import LAYOUTS, SourceStudy, store_study
from tests.support.storescp_profiles import IMPLICIT
from tests.support.stow_service import saying, stow_service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.peer,
    # A thread that a silent peer holds outlives its gateway, and its connection to the database the test.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

_QUICK: dict[str, Any] = {"delivery_poll_seconds": 0.05, "connect_seconds": 1, "acse_seconds": 2, "answer_seconds": 5}
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
SEG, LABELMAP, SR, PM = ObjectKind.SEG, ObjectKind.LABELMAP, ObjectKind.SR, ObjectKind.PM


@pytest.fixture
def source(objects: ObjectStore) -> SourceStudy:
    return store_study(LAYOUTS[0], objects)


def add(database: Database, name: str, address: str, *forms: ObjectKind, **words: Any) -> None:
    with database.write() as session:
        entry = DestinationEntry(name, address, forms or (SEG, SR), **words)
        destinations.add(session, entry, actor="test", now=utc_now())


class _Interrupted(ObjectStore):
    """An object store in which something else happens when the first object is put."""

    meanwhile: ClassVar[Callable[[], None] | None] = None

    def put(self, chunks: bytes | Iterable[bytes]) -> str:
        happening, _Interrupted.meanwhile = _Interrupted.meanwhile, None
        if happening is not None:
            happening()
        return super().put(chunks)


def address(peer: StoreScp) -> str:
    return f"{peer.ae_title}@127.0.0.1:{peer.port}"


def states(running: Running, name: str) -> dict[ObjectKind, DeliveryState]:
    with running.database.read() as session:
        return {one.written.kind: one.state for one in delivery_lists.listed(session) if one.destination == name}


def chosen(running: Running) -> list[tuple[str, str, str]]:
    told = [json.loads(details) for details in running.events("forms:chosen")]
    return [(one["destination"], one["chosen"], one["reason"]) for one in told]


@contextlib.contextmanager
def peer_that_never_answers() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"HANGS@127.0.0.1:{server.getsockname()[1]}"


def test_each_destination_gets_the_forms_that_it_takes_and_the_choice_is_on_record(
    database: Database, objects: ObjectStore, source: SourceStudy, tmp_path: Path
) -> None:
    with (
        dcmtk_storescp(tmp_path / "all") as everything,
        dcmtk_storescp(tmp_path / "odd", *profiles.taking(tmp_path / "odd", {SEG, SR}), ae_title="ODD") as odd,
    ):
        add(database, "archive", address(everything))
        add(database, "viewer", address(odd), LABELMAP, SR, PM)
        analysed_source(database, objects, source)
        with running_gateway(database, objects, **_QUICK) as running:
            until(lambda: states(running, "viewer") == {SEG: DeliveryState.SENT, SR: DeliveryState.SENT}, "the viewer")
            until(lambda: len(everything.files()) == 2, "the archive")
            assert chosen(running) == [
                ("viewer", "SEG,SR", "LABELMAP not_taken, SEG instead; PM not_taken, nothing instead")
            ]
            assert len(odd.files()) == 2


def test_a_peer_that_takes_implicit_vr_alone_gets_all_of_it(
    sqlite_database: Database, objects: ObjectStore, source: SourceStudy, tmp_path: Path
) -> None:
    options = profiles.taking(tmp_path, {SEG, SR}, syntaxes=(IMPLICIT,))
    with dcmtk_storescp(tmp_path, *options) as peer:
        add(sqlite_database, "old", address(peer))
        analysed_source(sqlite_database, objects, source)
        with running_gateway(sqlite_database, objects, **_QUICK) as running:
            until(lambda: len(peer.files()) == 2, "both objects at the peer")
            assert chosen(running) == []
        syntaxes = {str(pydicom.dcmread(path).file_meta.TransferSyntaxUID) for path in peer.files()}
        assert syntaxes == {IMPLICIT}


def test_a_destination_that_hangs_while_it_is_asked_holds_nobody_up(
    database: Database, objects: ObjectStore, source: SourceStudy, tmp_path: Path
) -> None:
    with peer_that_never_answers() as silent, dcmtk_storescp(tmp_path) as peer:
        add(database, "silent", silent)
        add(database, "archive", address(peer))
        analysed_source(database, objects, source)
        with running_gateway(database, objects, **{**_QUICK, "acse_seconds": 60}) as running:
            until(lambda: states(running, "archive") == {SEG: DeliveryState.SENT, SR: DeliveryState.SENT}, "the other")
            # It is written for as if it took all.
            assert set(states(running, "silent")) == {SEG, SR}


def test_a_report_is_written_in_other_forms_once_a_dead_destination_says_what_it_takes(
    database: Database, objects: ObjectStore, source: SourceStudy, tmp_path: Path
) -> None:
    add(database, "viewer", f"VIEWER@127.0.0.1:{free_port()}", LABELMAP, SR)
    analysed_source(database, objects, source)
    with running_gateway(database, objects, **_QUICK) as running:
        until(lambda: LABELMAP in states(running, "viewer"), "what is written for a destination that is dead")
        options = profiles.taking(tmp_path, {SEG, SR})
        with dcmtk_storescp(tmp_path, *options, ae_title="VIEWER") as peer:
            with database.write() as session:
                entry = destinations.find(session, "viewer").entry
                moved = replace(entry, address=address(peer))
                destinations.change(session, moved, actor="test", now=utc_now())
            until(lambda: states(running, "viewer").get(SEG) is DeliveryState.SENT, "what stands in")
            until(lambda: states(running, "viewer").get(SR) is DeliveryState.SENT, "what it takes")
            assert states(running, "viewer")[LABELMAP] is DeliveryState.CALLED_OFF
            assert len(running.events("report:reopened")) == 1
            assert chosen(running) == [("viewer", "SEG,SR", "LABELMAP not_taken, SEG instead")]
            assert len(peer.files()) == 2


def test_what_stands_in_for_a_form_that_a_peer_refuses_against_its_word_goes_there(
    database: Database, objects: ObjectStore, source: SourceStudy, tmp_path: Path
) -> None:
    with dcmtk_storescp(tmp_path, *profiles.taking(tmp_path, {LABELMAP, SR})) as peer:
        add(database, "viewer", address(peer))
        with database.write() as session:
            # What it said an hour ago: every form. Nobody asks again before that is a day old.
            everything = dict.fromkeys(SOP_CLASSES.values(), SENDABLE)
            negotiations.answered(session, "viewer", everything, now=utc_now())
        analysed_source(database, objects, source)
        with running_gateway(database, objects, **_QUICK) as running:
            wanted = {SEG: DeliveryState.CALLED_OFF, LABELMAP: DeliveryState.SENT, SR: DeliveryState.SENT}
            until(lambda: states(running, "viewer") == wanted, "what it takes, and the end of what it does not")
            assert chosen(running) == [("viewer", "LABELMAP,SR", "SEG not_taken, LABELMAP instead")]
            with database.read() as session:
                assert negotiations.find(session, "viewer").taken[SOP_CLASSES[SEG]] == ()


def test_a_peer_that_does_not_know_our_titles_has_said_nothing_of_forms(
    sqlite_database: Database, objects: ObjectStore, source: SourceStudy, tmp_path: Path
) -> None:
    with running_receiver(tmp_path, ae_title="PACS") as peer:
        add(sqlite_database, "pacs", f"OTHER@127.0.0.1:{peer.port}")
        analysed_source(sqlite_database, objects, source)
        with running_gateway(sqlite_database, objects, **_QUICK) as running:
            refused = {SEG: DeliveryState.REFUSED, SR: DeliveryState.REFUSED}
            until(lambda: states(running, "pacs") == refused, "the rejection of both")
            until(lambda: bool(running.events("circuit:opened")), "the end of the batch")
    with sqlite_database.read() as session:
        assert negotiations.find(session, "pacs").taken == {}
        assert not audit.history(session, tag="report:reopened")


def test_a_service_that_is_not_at_its_address_has_said_nothing_of_forms(
    sqlite_database: Database, objects: ObjectStore, source: SourceStudy
) -> None:
    with stow_service(saying(404)) as service:
        add(sqlite_database, "web", str(service.address))
        analysed_source(sqlite_database, objects, source)
        with running_gateway(sqlite_database, objects, **_QUICK) as running:
            refused = {SEG: DeliveryState.REFUSED, SR: DeliveryState.REFUSED}
            until(lambda: states(running, "web") == refused, "the refusal of both")
    with sqlite_database.read() as session:
        assert negotiations.find(session, "web").taken == {}
        assert not audit.history(session, tag="report:reopened")


def test_a_form_that_is_refused_while_the_report_is_written_is_chosen_anew(
    sqlite_database: Database, tmp_path: Path
) -> None:
    refusals = []

    def refuse() -> None:
        with sqlite_database.write() as session:
            refusals.append(session)
            negotiations.refused(session, "viewer", [SOP_CLASSES[SEG]], now=utc_now())
            # It is open: what was said meanwhile is left to whoever writes it.
            assert not reports.reopened(session, 1, destination="viewer", code="form_not_taken", now=utc_now())

    objects = _Interrupted(tmp_path / "objects")
    objects.prepare()
    add(sqlite_database, "viewer", f"VIEWER@127.0.0.1:{free_port()}")
    job_id = analysed_source(sqlite_database, objects, store_study(LAYOUTS[0], objects))
    assert job_id == 1
    _Interrupted.meanwhile = refuse
    with running_gateway(sqlite_database, objects, **_QUICK) as running:
        until(lambda: bool(states(running, "viewer")), "what is written for it")
        assert set(states(running, "viewer")) == {LABELMAP, SR}
    assert len(refusals) == 1


def test_routes_and_priorities_decide_who_gets_a_result(
    sqlite_database: Database, objects: ObjectStore, source: SourceStudy, tmp_path: Path
) -> None:
    with dcmtk_storescp(tmp_path) as peer:
        add(sqlite_database, "all", address(peer))
        add(sqlite_database, "chest", address(peer), routes=("chest",))
        job_id = analysed_source(sqlite_database, objects, source)
        with sqlite_database.read() as session:
            priority = analyses.load(session, job_id, objects).decision.priority
        others = tuple(one for one in Priority if one is not priority)
        add(sqlite_database, "urgent", address(peer), priorities=others)
        add(sqlite_database, "same", address(peer), SR, priorities=(priority,))
        with running_gateway(sqlite_database, objects, **_QUICK) as running:
            until(lambda: states(running, "all") == {SEG: DeliveryState.SENT, SR: DeliveryState.SENT}, "the results")
            until(lambda: states(running, "same") == {SR: DeliveryState.SENT}, "the report")
            assert (states(running, "chest"), states(running, "urgent")) == ({}, {})


def test_an_address_of_the_settings_that_an_entry_has_counts_as_the_entry(
    sqlite_database: Database, objects: ObjectStore, source: SourceStudy, tmp_path: Path
) -> None:
    with dcmtk_storescp(tmp_path) as peer:
        add(sqlite_database, "pacs", address(peer), SR)
        analysed_source(sqlite_database, objects, source)
        with running_gateway(sqlite_database, objects, destinations=(address(peer),), **_QUICK) as running:
            until(lambda: states(running, "pacs") == {SR: DeliveryState.SENT}, "the report")
            assert states(running, address(peer)) == {}
            assert len(peer.files()) == 1


def test_an_entry_made_while_the_gateway_runs_counts_for_the_next_result(
    sqlite_database: Database, objects: ObjectStore, source: SourceStudy, tmp_path: Path
) -> None:
    with (
        dcmtk_storescp(tmp_path) as peer,
        running_gateway(sqlite_database, objects, **_QUICK) as running,
    ):
        add(sqlite_database, "pacs", address(peer))
        analysed_source(sqlite_database, objects, source)
        until(lambda: len(peer.files()) == 2, "the results at the entry")
        assert states(running, "pacs").keys() == {SEG, SR}


def test_a_dicomweb_service_gets_results_by_its_name(
    sqlite_database: Database, objects: ObjectStore, source: SourceStudy, tmp_path: Path
) -> None:
    if not DICOMWEB.exists():
        missing_peer("Orthanc's DICOMweb plugin is not installed")
    with orthanc(tmp_path, Plugins=[str(DICOMWEB)], DicomWeb={"Enable": True, "Root": "/dicom-web/"}) as peer:
        add(sqlite_database, "web", f"http://127.0.0.1:{peer.http_port}/dicom-web")
        analysed_source(sqlite_database, objects, source)
        with running_gateway(sqlite_database, objects, **_QUICK) as running:
            until(lambda: states(running, "web") == {SEG: DeliveryState.SENT, SR: DeliveryState.SENT}, "the results")
        assert len(peer.sop_instance_uids()) == 2


def test_what_waits_for_a_paused_destination_goes_when_it_is_resumed(
    sqlite_database: Database, objects: ObjectStore, source: SourceStudy, tmp_path: Path
) -> None:
    with dcmtk_storescp(tmp_path / "held") as held, dcmtk_storescp(tmp_path / "other") as other:
        add(sqlite_database, "held", address(held), paused=True)
        add(sqlite_database, "other", address(other))
        analysed_source(sqlite_database, objects, source)
        with running_gateway(sqlite_database, objects, **_QUICK) as running:
            until(lambda: len(other.files()) == 2, "the results at the other")
            assert states(running, "held") == {SEG: DeliveryState.PENDING, SR: DeliveryState.PENDING}
            assert running.events("destination:negotiated") != []
            with sqlite_database.write() as session:
                destinations.set_paused(session, "held", paused=False, actor="test", now=utc_now())
            until(lambda: len(held.files()) == 2, "the results that waited")


def test_two_styles_of_one_result_are_objects_of_their_own(
    sqlite_database: Database, objects: ObjectStore, source: SourceStudy, tmp_path: Path
) -> None:
    with dcmtk_storescp(tmp_path / "plain") as plain, dcmtk_storescp(tmp_path / "styled") as styled:
        add(sqlite_database, "plain", address(plain))
        add(sqlite_database, "styled", address(styled), series_number_base=700, series_description="AI result")
        analysed_source(sqlite_database, objects, source)
        with running_gateway(sqlite_database, objects, **_QUICK):
            until(lambda: len(plain.files()) == len(styled.files()) == 2, "both pairs of objects")
        ours, theirs = (
            {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, peer.files())} for peer in (plain, styled)
        )
        assert not ours.keys() & theirs.keys()
        assert {one.SeriesDescription for one in theirs.values()} == {"AI result"}
        assert {int(one.SeriesNumber) for one in theirs.values()} == {701, 702}
        assert {str(one.StudyInstanceUID) for one in (*ours.values(), *theirs.values())} == {
            str(source.datasets[0].StudyInstanceUID)
        }
