"""A gateway whose objects are retrieved by C-GET and C-MOVE, and those who retrieve them."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import build_context

from dicom_gateway.data_sets import encode
from dicom_gateway.queries import retrieval_service
from dicom_gateway.queries.moving import MOST_MOVES
from storage import audit, peers
from storage.attributes import Attributes
from storage.attributes import element as attribute
from storage.database import Database, connect, utc_now
from storage.objects import ObjectStore
from storage.peers import USUAL_SERVICES, PeerEntry, Service
from storage.uids import deterministic_uid
from tests.support.conversing_peer import (
    FIELD,
    STATUS,
    STORE_RQ,
    ConversingPeer,
    Message,
)
from tests.support.gateways import Running, running_gateway
from tests.support.peers import free_port
from tests.support.senders import ct_image, store

PATIENT_GET, PATIENT_MOVE = retrieval_service.PATIENT_ROOT_GET, retrieval_service.PATIENT_ROOT_MOVE
GET, MOVE = retrieval_service.STUDY_ROOT_GET, retrieval_service.STUDY_ROOT_MOVE
PENDING, CANCELED, SOME_FAILED, NONE_SENT = 0xFF00, 0xFE00, 0xB000, 0xA702
VIEWER = "VIEWER"


def held_image(study: str, number: int, series: int = 1, patient: str = "PATIENT-17") -> Dataset:
    image = ct_image(study, number, value=number)
    image.SeriesInstanceUID = deterministic_uid("test-series", study, str(series))
    image.PatientID = patient
    return image


FIRST = [held_image("first", 1), held_image("first", 2), held_image("first", 3, series=2)]
SECOND = [held_image("second", 1)]
OTHERS = [held_image("others", 1, patient="PATIENT-18")]
PACKED = ct_image("packed", 1)
PACKED.file_meta.TransferSyntaxUID = JPEG2000Lossless
PACKED.PatientID = "PATIENT-19"
PACKED.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(60)])
PACKED["PixelData"].VR, PACKED["PixelData"].is_undefined_length = "OB", True


@contextlib.contextmanager
def retrieval_site(folder: Path, template: Path) -> Iterator[Running]:
    """Run a gateway that holds all of these, and that VIEWER and SECOND may retrieve from."""
    shutil.copy(template, folder / "oncue.sqlite")
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
    """Add the entry of a peer, or put it in place of the one that has its name."""
    with database.write() as session:
        known = {one.name for one in peers.entries(session)}
        record = peers.replace if entry.name in known else peers.add
        record(session, entry, actor="test", now=utc_now())


def addressed(site: Running, title: str, port: int) -> None:
    """Say where a title takes objects; who may retrieve is read anew within two seconds, destinations at once."""
    services = USUAL_SERVICES | {Service.RETRIEVAL}
    admit(site.database, PeerEntry(title.lower(), title, services=services, store_address=f"{title}@127.0.0.1:{port}"))


def keys(level: str, **values: object) -> Dataset:
    """Return an identifier of a level with values by their keywords."""
    found = Dataset()
    found.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


def study(images: list[Dataset]) -> Dataset:
    """Return the identifier of the study of images."""
    return keys("STUDY", StudyInstanceUID=images[0].StudyInstanceUID)


def retrievals(site: Running) -> list[dict[str, object]]:
    """Return the details of all events that say who retrieved a study."""
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
    """Return the SOP Instance UIDs of images."""
    return {str(image.SOPInstanceUID) for image in images}


def identifier_of(images: list[Dataset], uid: str = "") -> bytes:
    """Return the identifier that names the study of images, or another one, as bytes."""
    uid = uid or str(images[0].StudyInstanceUID)
    said = {"00080052": attribute("CS", "STUDY"), "0020000D": attribute("UI", uid)}
    return encode(Attributes(said), ImplicitVRLittleEndian)


def last_message(peer: ConversingPeer) -> Message:
    """Answer images until the last response comes."""
    while True:
        message = peer.read()
        if message.number(FIELD) == STORE_RQ:
            peer.answer(message)
        elif message.number(STATUS) != PENDING:
            return message


def is_over(name: str) -> bool:
    """Say whether no thread of the gateway has this name any more."""
    return not any(thread.name == name for thread in threading.enumerate())
