"""What oncue holds, retrieved by DCMTK, Orthanc and pynetdicom by C-GET and C-MOVE, and by peers that behave badly."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import build_context

from dicom_gateway.data_sets import decode, encode
from dicom_gateway.protocol.commands import CommandField
from dicom_gateway.queries import retrieval_service, selection
from dicom_gateway.queries.moving import MOST_MOVES
from storage import audit, peers
from storage.attributes import Attributes
from storage.attributes import element as attribute
from storage.database import Database, connect, utc_now
from storage.objects import ObjectStore
from storage.peers import USUAL_SERVICES, PeerEntry, Service
from storage.uids import deterministic_uid
from tests.support.conversing_peer import (
    COMPLETED,
    FAILED,
    FIELD,
    MOVE_RQ,
    REMAINING,
    STATUS,
    STORE_RQ,
    ConversingPeer,
    Message,
    role,
)
from tests.support.gateways import Running, running_gateway, until
from tests.support.pdus import element
from tests.support.peers import dcmtk_storescp, executable, free_port, orthanc, run
from tests.support.senders import ct_image, data_set_bytes, encoded, store

PATIENT_GET, PATIENT_MOVE = retrieval_service.PATIENT_ROOT_GET, retrieval_service.PATIENT_ROOT_MOVE
GET, MOVE = retrieval_service.STUDY_ROOT_GET, retrieval_service.STUDY_ROOT_MOVE
PENDING, CANCELED, SOME_FAILED, NONE_SENT = 0xFF00, 0xFE00, 0xB000, 0xA702
VIEWER = "VIEWER"

pytestmark = pytest.mark.slow


def _image(study: str, number: int, series: int = 1, patient: str = "PATIENT-17") -> Dataset:
    image = ct_image(study, number, value=number)
    image.SeriesInstanceUID = deterministic_uid("test-series", study, str(series))
    image.PatientID = patient
    return image


FIRST = [_image("first", 1), _image("first", 2), _image("first", 3, series=2)]
SECOND = [_image("second", 1)]
OTHERS = [_image("others", 1, patient="PATIENT-18")]
PACKED = ct_image("packed", 1)
PACKED.file_meta.TransferSyntaxUID = JPEG2000Lossless
PACKED.PatientID = "PATIENT-19"
PACKED.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(60)])
PACKED["PixelData"].VR, PACKED["PixelData"].is_undefined_length = "OB", True


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(sqlite_template, folder / "oncue.sqlite")
    database, objects = connect(f"sqlite:///{folder / 'oncue.sqlite'}"), ObjectStore(folder / "objects")
    objects.prepare()
    admit(database, PeerEntry("viewer", VIEWER, services=frozenset({Service.RETRIEVAL})))
    admit(database, PeerEntry("second", "SECOND", services=frozenset({Service.RETRIEVAL})))
    admit(database, PeerEntry("modality", "CT1"))
    with running_gateway(database, objects, network_seconds=20) as running:
        assert store(running.port, *FIRST, *SECOND, *OTHERS, PACKED) == [0] * 6
        assert running.gateway.drain(10)
        yield running
    database.dispose()


def admit(database: Database, entry: PeerEntry) -> None:
    with database.write() as session:
        known = {one.name for one in peers.entries(session)}
        record = peers.replace if entry.name in known else peers.add
        record(session, entry, actor="test", now=utc_now())


def addressed(site: Running, title: str, port: int) -> None:
    """Say where a title takes objects; who may retrieve is read anew within two seconds, destinations at once."""
    services = USUAL_SERVICES | {Service.RETRIEVAL}
    admit(site.database, PeerEntry(title.lower(), title, services=services, store_address=f"{title}@127.0.0.1:{port}"))


def keys(level: str, **values: object) -> Dataset:
    found = Dataset()
    found.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


def study(images: list[Dataset]) -> Dataset:
    return keys("STUDY", StudyInstanceUID=images[0].StudyInstanceUID)


def retrievals(site: Running) -> list[dict[str, object]]:
    with site.database.read() as session:
        return [json.loads(one.details) for one in audit.history(session, tag="study:retrieved", limit=1000)]


@dataclass
class Got:
    """What a client was given."""

    status: int
    last: Dataset
    identifier: Dataset | None
    images: list[Dataset] = field(default_factory=list)

    @property
    def counts(self) -> tuple[int, int, int]:
        last = self.last
        return (
            last.NumberOfCompletedSuboperations,
            last.NumberOfFailedSuboperations,
            last.NumberOfWarningSuboperations,
        )


def get(
    site: Running,
    asked: Dataset,
    *,
    model: str = GET,
    syntax: str = ExplicitVRLittleEndian,
    statuses: tuple[int, ...] = (),
) -> Got:
    """Retrieve over one association, as a viewer does; ``statuses`` are the first answers to what comes."""
    images: list[Dataset] = []
    left = list(statuses)

    def keep(event: evt.Event) -> int:
        images.append(event.dataset)
        return left.pop(0) if left else 0x0000

    role_of_scp = SCP_SCU_RoleSelectionNegotiation()
    role_of_scp.sop_class_uid, role_of_scp.scu_role, role_of_scp.scp_role = CTImageStorage, False, True
    client = AE(ae_title=VIEWER)
    client.add_requested_context(model, ImplicitVRLittleEndian)
    client.add_requested_context(CTImageStorage, syntax)
    opened = client.associate(
        "127.0.0.1",
        site.port,
        ae_title="ONCUE",
        ext_neg=[role_of_scp],
        evt_handlers=[(evt.EVT_C_STORE, keep)],
    )
    assert opened.is_established
    *_, (last, identifier) = opened.send_c_get(asked, model)
    opened.release()
    return Got(int(last.Status), last, identifier, images)


def move(site: Running, asked: Dataset, destination: str, *, model: str = MOVE) -> Got:
    """Have what is asked for sent elsewhere."""
    client = AE(ae_title=VIEWER)
    client.add_requested_context(model, ImplicitVRLittleEndian)
    opened = client.associate("127.0.0.1", site.port, ae_title="ONCUE")
    assert opened.is_established
    *_, (last, identifier) = opened.send_c_move(asked, destination, model)
    opened.release()
    return Got(int(last.Status), last, identifier)


@contextlib.contextmanager
def storing(handle: Callable[[evt.Event], int], *, title: str = "WS1") -> Iterator[int]:
    """Run a storage SCP for CT images; gives its port."""
    entity = AE(ae_title=title)
    entity.maximum_associations = 2 * MOST_MOVES
    entity.supported_contexts = [build_context(CTImageStorage, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])]
    port = free_port()
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, handle)])
    assert server is not None
    try:
        yield port
    finally:
        server.shutdown()


def uids(images: list[Dataset]) -> set[str]:
    return {str(image.SOPInstanceUID) for image in images}


@pytest.mark.parametrize(
    ("asked", "model", "expected"),
    [
        (keys("PATIENT", PatientID="PATIENT-17"), PATIENT_GET, FIRST + SECOND),
        (keys("STUDY", StudyInstanceUID=FIRST[0].StudyInstanceUID, PatientID="PATIENT-17"), PATIENT_GET, FIRST),
        (keys("STUDY", StudyInstanceUID=FIRST[0].StudyInstanceUID, PatientID="PATIENT-18"), PATIENT_GET, []),
        (keys("STUDY", StudyInstanceUID=[FIRST[0].StudyInstanceUID, OTHERS[0].StudyInstanceUID]), GET, FIRST + OTHERS),
        (study(SECOND), GET, SECOND),
        (
            keys(
                "SERIES",
                StudyInstanceUID=FIRST[0].StudyInstanceUID,
                SeriesInstanceUID=[FIRST[2].SeriesInstanceUID, FIRST[0].SeriesInstanceUID],
            ),
            GET,
            FIRST,
        ),
        (
            keys(
                "IMAGE",
                StudyInstanceUID=FIRST[0].StudyInstanceUID,
                SeriesInstanceUID=FIRST[0].SeriesInstanceUID,
                SOPInstanceUID=[FIRST[1].SOPInstanceUID, FIRST[2].SOPInstanceUID, "1.2.3"],
            ),
            GET,
            FIRST[1:2],
        ),
        (keys("STUDY", StudyInstanceUID="1.2.3"), GET, []),
    ],
    ids=[
        "patient", "study", "study of another patient", "studies", "study root", "series", "images", "nothing",
    ],
)  # fmt: skip # reads by its lines
def test_each_level_gives_what_it_names_and_nothing_else(
    site: Running, asked: Dataset, model: str, expected: list[Dataset]
) -> None:
    got = get(site, asked, model=model)
    assert (got.status, got.counts) == (0, (len(expected), 0, 0))
    assert uids(got.images) == uids(expected)
    assert "NumberOfRemainingSuboperations" not in got.last
    by_uid = {image.SOPInstanceUID: image for image in expected}
    for image in got.images:
        assert encoded(image) == encoded(by_uid[image.SOPInstanceUID])


@pytest.mark.parametrize(
    ("asked", "model"),
    [
        (keys("STUDY"), GET),
        (keys("PATIENT", PatientID="PATIENT-17"), GET),
        (keys("PATIENT"), PATIENT_GET),
        (keys("FRAME", StudyInstanceUID="1.2"), GET),
        (keys("SERIES", SeriesInstanceUID="1.2.3"), GET),
        (keys("SERIES", StudyInstanceUID=["1.2", "1.3"], SeriesInstanceUID="1.2.3"), GET),
        (keys("IMAGE", StudyInstanceUID="1.2", SOPInstanceUID="1.2.3"), GET),
    ],
    ids=[
        "no study", "patients of the study root", "no patient", "no level", "no study of a series",
        "two studies of a series", "no series of an image",
    ],
)  # fmt: skip # reads by its lines
def test_an_identifier_that_names_nothing_is_refused(site: Running, asked: Dataset, model: str) -> None:
    got = get(site, asked, model=model)
    assert (got.status, got.images) == (0xA900, [])
    assert move(site, asked, "NOBODY", model=model.removesuffix("3") + "2").status == 0xA900


def test_more_than_a_request_may_ask_for_is_refused(site: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "MOST_OBJECTS", 2)
    assert get(site, study(FIRST)).status == 0xA701


def test_who_got_objects_of_which_study_is_on_record_once_for_each_study(site: Running) -> None:
    before = len(retrievals(site))
    get(site, keys("PATIENT", PatientID="PATIENT-17"), model=PATIENT_GET)
    assert sorted(retrievals(site)[before:], key=str) == [
        {"destination": VIEWER, "objects": 1},
        {"destination": VIEWER, "objects": 3},
    ]
    get(site, keys("STUDY", StudyInstanceUID="1.2.3"))
    assert len(retrievals(site)) == before + 2


def test_what_the_peer_does_not_take_as_it_lies_is_written_anew_where_that_changes_no_pixel(site: Running) -> None:
    got = get(site, study(FIRST), syntax=ImplicitVRLittleEndian)
    assert (got.status, got.counts) == (0, (3, 0, 0))
    assert {image.PixelData for image in got.images} == {image.PixelData for image in FIRST}


def test_a_compressed_image_fails_where_the_peer_does_not_take_it_and_travels_where_it_does(site: Running) -> None:
    refused = get(site, study([PACKED]))
    assert (refused.status, refused.counts) == (NONE_SENT, (0, 1, 0))
    assert refused.identifier is not None
    assert refused.identifier.FailedSOPInstanceUIDList == PACKED.SOPInstanceUID
    taken = get(site, study([PACKED]), syntax=JPEG2000Lossless)
    assert (taken.status, taken.images[0].PixelData) == (0, PACKED.PixelData)


def test_what_the_peer_answers_is_counted_and_what_failed_is_named(site: Running) -> None:
    got = get(site, study(FIRST), statuses=(0xA700, 0xB000))
    assert (got.status, got.counts) == (SOME_FAILED, (1, 1, 1))
    assert got.identifier is not None
    assert got.identifier.FailedSOPInstanceUIDList == got.images[0].SOPInstanceUID


@pytest.mark.parametrize("damage", ["lost", "changed"])
@pytest.mark.parametrize("way", ["get", "move"])
def test_an_object_that_is_not_there_as_it_was_has_failed_and_the_next_follows(
    site: Running, damage: str, way: str
) -> None:
    came: list[Dataset] = []

    def keep(event: evt.Event) -> int:
        came.append(event.dataset)
        return 0x0000

    (digest,) = (one.digest for one in site.instances() if one.sop_instance_uid == FIRST[0].SOPInstanceUID)
    path = site.objects.path(digest)
    whole = path.read_bytes()
    try:
        path.unlink()
        if damage == "changed":
            path.write_bytes(whole[:-2] + b"\7\7")
        with storing(keep) as port:
            addressed(site, "WS1", port)
            got = get(site, study(FIRST)) if way == "get" else move(site, study(FIRST), "WS1")
    finally:
        path.write_bytes(whole)
    assert (got.status, got.counts) == (SOME_FAILED, (2, 1, 0))
    assert got.identifier is not None
    assert got.identifier.FailedSOPInstanceUIDList == FIRST[0].SOPInstanceUID
    assert uids(got.images or came) == uids(FIRST[1:])


def test_a_peer_whose_entry_does_not_allow_it_is_offered_no_retrieval(site: Running) -> None:
    asking = AE(ae_title="CT1")
    for uid in retrieval_service.OPERATIONS:
        asking.add_requested_context(uid)
    opened = asking.associate("127.0.0.1", site.port, ae_title="ONCUE")
    assert not opened.is_established
    assert [context.result for context in opened.rejected_contexts] == [1] * 4


def test_dcmtk_gets_a_study(site: Running, tmp_path: Path) -> None:
    got = run(
        executable("getscu"), "-v", "-S", "-aet", VIEWER, "-aec", "ONCUE", "-od", tmp_path,
        "-k", "0008,0052=STUDY", "-k", f"0020,000d={FIRST[0].StudyInstanceUID}", "127.0.0.1", str(site.port),
    )  # fmt: skip # a command line
    assert got.returncode == 0, got.stdout
    images = [pydicom.dcmread(path) for path in tmp_path.iterdir()]
    assert {encoded(image) for image in images} == {encoded(image) for image in FIRST}


@pytest.mark.parametrize("model", ["-S", "-P"])
def test_dcmtk_has_a_study_moved_to_its_storescp(site: Running, tmp_path: Path, model: str) -> None:
    with dcmtk_storescp(tmp_path, "+xa", ae_title="STORESCP") as scp:
        addressed(site, "STORESCP", scp.port)
        moved = run(
            executable("movescu"), "-v", model, "-aet", VIEWER, "-aec", "ONCUE", "-aem", "STORESCP",
            "-k", "0008,0052=STUDY", "-k", "0010,0020=PATIENT-17", "-k", f"0020,000d={FIRST[0].StudyInstanceUID}",
            "127.0.0.1", str(site.port),
        )  # fmt: skip # a command line
        assert moved.returncode == 0, moved.stdout
        assert {data_set_bytes(path.read_bytes()) for path in scp.files()} == {encoded(image) for image in FIRST}


def test_orthanc_has_a_study_moved_to_itself(site: Running, tmp_path: Path) -> None:
    with orthanc(tmp_path, modalities=[("ONCUE", site.port)]) as peer:
        addressed(site, "ORTHANC", peer.port)
        asked = {"Level": "Study", "Resources": [{"StudyInstanceUID": FIRST[0].StudyInstanceUID}], "Timeout": 30}
        until(lambda: _is_moved(peer.rest, asked), "the entry of Orthanc")
        assert peer.sop_instance_uids() == tuple(sorted(uids(FIRST)))


def _is_moved(rest: Callable[[str, str, bytes], bytes], asked: dict[str, object]) -> bool:
    try:
        rest("POST", "/modalities/ONCUE/move", json.dumps(asked).encode())
    except AssertionError:
        return False
    return True


def test_what_is_moved_says_who_asked_for_it_and_who_gets_it_is_on_record(site: Running) -> None:
    seen: list[tuple[str, int]] = []

    def keep(event: evt.Event) -> int:
        request: Any = event.request
        seen.append((request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID))
        return 0x0000

    with storing(keep) as port:
        addressed(site, "WS1", port)
        got = move(site, study(SECOND), "WS1")
    assert (got.status, got.counts) == (0, (1, 0, 0))
    assert seen == [(VIEWER, 1)]
    assert retrievals(site)[-1] == {"destination": "WS1", "objects": 1}


@pytest.mark.parametrize(
    ("status", "expected", "counts"),
    [(0xB000, SOME_FAILED, (2, 0, 1)), (0xA700, SOME_FAILED, (2, 1, 0)), (None, NONE_SENT, (0, 3, 0))],
    ids=["a warning", "a refusal", "nobody there"],
)  # fmt: skip # reads by its lines
def test_what_the_destination_does_not_take_is_counted(
    site: Running, status: int | None, expected: int, counts: tuple[int, int, int]
) -> None:
    left = [status]
    with storing(lambda _: left.pop() or 0 if left else 0x0000) as port:
        addressed(site, "WS1", free_port() if status is None else port)
        got = move(site, study(FIRST), "WS1")
    assert (got.status, got.counts) == (expected, counts)
    if got.counts[1]:
        assert got.identifier is not None
        failed = got.identifier["FailedSOPInstanceUIDList"]
        assert got.counts[1] == failed.VM


def test_a_destination_that_nobody_knows_is_refused(site: Running) -> None:
    got = move(site, study(FIRST), "NOBODY")
    assert got.status == 0xA801
    admit(site.database, PeerEntry("nobody", "NOBODY", store_address="NOBODY@127.0.0.1:104", allowed=False))
    assert move(site, study(FIRST), "NOBODY").status == 0xA801


def _identifier(images: list[Dataset], uid: str = "") -> bytes:
    uid = uid or str(images[0].StudyInstanceUID)
    said = {"00080052": attribute("CS", "STUDY"), "0020000D": attribute("UI", uid)}
    return encode(Attributes(said), ImplicitVRLittleEndian)


def _ask_to_move(peer: ConversingPeer, images: list[Dataset], destination: str = "WS1") -> None:
    """Ask by C-MOVE; the destination stands between message id and data set type."""
    number = {"field": 0x0021, "id": 7, "type": 0x0001}
    elements = (
        element(0x0002, MOVE.encode() + b"\0" * (len(MOVE) % 2)),
        element(0x0100, number["field"].to_bytes(2, "little")),
        element(0x0110, number["id"].to_bytes(2, "little")),
        element(0x0600, destination.encode().ljust(16)),
        element(0x0800, number["type"].to_bytes(2, "little")),
    )
    peer.send(1, elements, _identifier(images))


@dataclass
class SlowStation:
    """A station that takes no image before it may."""

    may: threading.Event = field(default_factory=threading.Event)
    has_one: threading.Event = field(default_factory=threading.Event)
    taken: list[str] = field(default_factory=list)

    def store(self, event: evt.Event) -> int:
        self.has_one.set()
        self.may.wait(20)
        self.taken.append(event.dataset.SOPInstanceUID)
        return 0x0000


def test_a_move_to_a_slow_destination_says_how_far_it_is_and_can_be_cancelled(site: Running) -> None:
    station = SlowStation()
    with storing(station.store) as port, ConversingPeer(site.port, [MOVE], calling_aet=VIEWER) as peer:
        addressed(site, "WS1", port)
        _ask_to_move(peer, FIRST)
        assert station.has_one.wait(10)
        pending = peer.read()
        assert (pending.number(STATUS), pending.number(REMAINING), pending.number(COMPLETED)) == (PENDING, 3, 0)
        # Whoever waits for a destination holds nothing that others wait for.
        assert get(site, study(SECOND)).status == 0
        peer.cancel()
        last = _last(peer)
        assert (last.number(STATUS), last.number(REMAINING), last.number(COMPLETED)) == (CANCELED, 3, 0)
        assert peer.release()
        station.may.set()
        until(lambda: _is_over("move"), "the end of the move")
    assert len(station.taken) == 1


def test_a_peer_that_is_gone_in_the_middle_of_a_move_ends_it(site: Running) -> None:
    station = SlowStation()
    with storing(station.store) as port:
        addressed(site, "WS1", port)
        with ConversingPeer(site.port, [MOVE], calling_aet=VIEWER) as peer:
            _ask_to_move(peer, FIRST)
            assert station.has_one.wait(10)
        until(lambda: _is_over("association"), "the end of the association")
        station.may.set()
        until(lambda: _is_over("move"), "the end of the move")
    assert len(station.taken) == 1


def test_more_moves_at_once_than_there_are_places_for_are_refused_for_now(site: Running) -> None:
    station = SlowStation()
    with storing(station.store) as port, contextlib.ExitStack() as stack:
        addressed(site, "WS1", port)
        peers_at_work = [
            stack.enter_context(ConversingPeer(site.port, [MOVE], calling_aet=VIEWER)) for _ in range(MOST_MOVES)
        ]
        for peer in peers_at_work:
            _ask_to_move(peer, SECOND)
        assert [peer.read().number(STATUS) for peer in peers_at_work] == [PENDING] * MOST_MOVES
        with ConversingPeer(site.port, [MOVE], calling_aet="SECOND") as late:
            _ask_to_move(late, SECOND)
            assert late.read().number(STATUS) == NONE_SENT
        station.may.set()
        assert [_last(peer).number(STATUS) for peer in peers_at_work] == [0] * MOST_MOVES


@contextlib.contextmanager
def viewing(site: Running) -> Iterator[ConversingPeer]:
    contexts = [(GET, ImplicitVRLittleEndian), (str(CTImageStorage), str(ExplicitVRLittleEndian))]
    with ConversingPeer(site.port, contexts, role(CTImageStorage, scu=0, scp=1), calling_aet=VIEWER) as peer:
        yield peer


def test_a_get_that_is_cancelled_says_what_was_done(site: Running) -> None:
    with viewing(site) as peer:
        peer.request(CommandField.C_GET_RQ, GET, _identifier(FIRST))
        peer.answer(peer.read(), 0xA700)
        asked = peer.read()
        assert asked.number(FIELD) == STORE_RQ
        peer.cancel()
        peer.answer(asked)
        last = _last(peer)
        assert (last.number(STATUS), last.number(COMPLETED), last.number(FAILED)) == (CANCELED, 1, 1)
        assert last.number(REMAINING) == 1
        failed = decode(last.data_set, ImplicitVRLittleEndian).values("00080058")
        assert len(failed) == 1
        assert peer.release()


@pytest.mark.parametrize("is_aborted", [True, False], ids=["a wrong message id", "closed in the middle"])
def test_a_peer_that_breaks_a_get_harms_nobody_else(site: Running, is_aborted: bool) -> None:
    with viewing(site) as peer:
        peer.request(CommandField.C_GET_RQ, GET, _identifier(FIRST))
        asked = peer.read()
        if is_aborted:
            peer.answer(asked, responds_to=4711)
            assert peer.is_aborted()
    until(lambda: _is_over("association"), "the end of the association")
    assert get(site, study(FIRST)).status == 0


def test_an_operation_of_another_class_is_refused(site: Running) -> None:
    with ConversingPeer(site.port, [GET, MOVE], calling_aet=VIEWER) as peer:
        peer.request(MOVE_RQ, GET, _identifier(FIRST))
        assert peer.read().number(STATUS) == 0x0211
        peer.request(CommandField.C_GET_RQ, MOVE, _identifier(FIRST))
        assert peer.read().number(STATUS) == 0x0122
        peer.request(CommandField.C_GET_RQ, GET)
        assert peer.read().number(STATUS) == 0xA900
        for identifier in (b"\7" * 50, _identifier(FIRST, "1.2.*"), _identifier(FIRST, "*")):
            peer.request(CommandField.C_GET_RQ, GET, identifier)
            assert peer.read().number(STATUS) == 0xA900
        peer.request(CommandField.C_GET_RQ, GET)
        assert peer.read().number(STATUS) == 0xA900
        peer.request(CommandField.C_GET_RQ, GET, bytes((1 << 20) + 2))
        assert peer.read().number(STATUS) == 0xA701


def _last(peer: ConversingPeer) -> Message:
    """Answer images until the last response comes."""
    while True:
        message = peer.read()
        if message.number(FIELD) == STORE_RQ:
            peer.answer(message)
        elif message.number(STATUS) != PENDING:
            return message


def _is_over(name: str) -> bool:
    """Say whether no thread of the gateway has this name any more."""
    return not any(thread.name == name for thread in threading.enumerate())
