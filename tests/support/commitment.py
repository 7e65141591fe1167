"""Peers of storage commitment, of pynetdicom: one that asks, and an archive that reports as a test wants."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.pdu import P_DATA_TF

from dicom_gateway.commitment.information import PUSH_MODEL, PUSH_MODEL_INSTANCE
from storage import peers
from storage.database import Database, utc_now
from storage.peers import USUAL_SERVICES, PeerEntry, Service
from tests.support.peers import free_port

ASKER, ARCHIVE = "MODALITY", "ARCHIVE"
_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Report:
    """One report: its event type, and (SOP instance, Failure Reason) of what it says; no reason is committed."""

    event_type: int
    transaction_uid: str
    said: dict[str, int | None]
    retrieve_aet: str
    over: str

    @classmethod
    def of(cls, event: evt.Event, over: str) -> Report:
        """Read what came."""
        information = event.event_information
        committed = {str(item.ReferencedSOPInstanceUID): None for item in information.get("ReferencedSOPSequence", [])}
        failed = {
            str(item.ReferencedSOPInstanceUID): int(item.FailureReason)
            for item in information.get("FailedSOPSequence", [])
        }
        title = str(information.get("RetrieveAETitle", ""))
        return cls(event.event_type or 0, str(information.TransactionUID), {**committed, **failed}, title, over)


def admit(database: Database, name: str, aet: str, *, store_address: str | None = None) -> None:
    """Put an entry on record that allows commitment."""
    services = USUAL_SERVICES | {Service.COMMITMENT}
    with database.write() as session:
        entry = PeerEntry(name, aet, services=services, store_address=store_address)
        peers.add(session, entry, actor="test", now=utc_now())


def request(transaction_uid: str, *references: tuple[str, str]) -> Dataset:
    """Return the action information that asks for (SOP class, SOP instance) each."""
    wanted = Dataset()
    wanted.TransactionUID = transaction_uid
    wanted.ReferencedSOPSequence = DicomSequence(_item(*reference) for reference in references)
    return wanted


def _item(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return item


@dataclass(frozen=True, slots=True)
class Asking:
    """An open association that asks us for commitment, and the reports that came over it."""

    association: Association
    reports: queue.Queue[Report]

    def ask(self, dataset: Dataset, *, action: int = 1, instance: str = PUSH_MODEL_INSTANCE) -> int:
        """Ask, and return the status of the answer."""
        status, _ = self.association.send_n_action(dataset, action, PUSH_MODEL, instance)
        return int(status.Status)

    def report(self) -> Report:
        """Wait for a report."""
        return self.reports.get(timeout=_SECONDS)


@contextlib.contextmanager
def asking(port: int, *, aet: str = ASKER) -> Iterator[Asking]:
    """Open an association that asks for commitment."""
    reports: queue.Queue[Report] = queue.Queue()
    unanswered: list[Report] = []

    def take(event: evt.Event) -> tuple[int, None]:
        unanswered.append(Report.of(event, "same"))
        return 0x0000, None

    def sent(event: evt.Event) -> None:
        # A release before the answer is out would have us report once more.
        if unanswered and isinstance(event.pdu, P_DATA_TF):
            reports.put(unanswered.pop())

    entity = AE(ae_title=aet)
    entity.add_requested_context(PUSH_MODEL, ExplicitVRLittleEndian)
    opened = entity.associate(
        "127.0.0.1",
        port,
        ae_title="ONCUE",
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, take), (evt.EVT_PDU_SENT, sent)],
    )
    assert opened.is_established
    try:
        yield Asking(opened, reports)
    finally:
        if opened.is_established:
            opened.release()


@contextlib.contextmanager
def report_taker(port: int, *, aet: str, statuses: Sequence[int] = ()) -> Iterator[queue.Queue[Report]]:
    """Run a peer that takes reports over associations that we open, and yield what comes."""
    reports: queue.Queue[Report] = queue.Queue()
    left = list(statuses)

    def take(event: evt.Event) -> tuple[int, None]:
        reports.put(Report.of(event, "new"))
        return (left.pop(0) if left else 0x0000), None

    entity = AE(ae_title=aet)
    entity.add_supported_context(PUSH_MODEL, scu_role=False, scp_role=True)
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
    assert server is not None
    try:
        yield reports
    finally:
        server.shutdown()


Answer = Callable[["Archive", Association, Dataset], None]
"""What an archive does once it has answered a request."""


@dataclass
class Archive:
    """An archive that stores, is asked for commitment, and reports by ``answers``, one for each request in turn.

    The last of them stays. ``lost`` are instances that it does not have.
    """

    port: int
    report_port: int
    answers: list[Answer]
    lost: set[str] = field(default_factory=set)
    stored: list[str] = field(default_factory=list)
    requests: queue.Queue[Dataset] = field(default_factory=queue.Queue)
    statuses: queue.Queue[int] = field(default_factory=queue.Queue)

    @property
    def address(self) -> str:
        return f"{ARCHIVE}@127.0.0.1:{self.port}"

    def information(self, asked: Dataset, *, reason: int = 0x0112, transaction: str | None = None) -> Dataset:
        """Return the event information that answers a request: what is lost has failed."""
        told = Dataset()
        told.TransactionUID = transaction or asked.TransactionUID
        held, failed = [], []
        for item in asked.ReferencedSOPSequence:
            named = _item(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID)
            if str(item.ReferencedSOPInstanceUID) in self.lost:
                named.FailureReason = reason
                failed.append(named)
            else:
                held.append(named)
        if held:
            told.ReferencedSOPSequence = DicomSequence(held)
        if failed:
            told.FailedSOPSequence = DicomSequence(failed)
        return told

    def send(self, association: Association, told: Dataset) -> None:
        """Report over an association, and keep the status of the answer."""
        kind = 2 if "FailedSOPSequence" in told else 1
        status, _ = association.send_n_event_report(told, kind, PUSH_MODEL, PUSH_MODEL_INSTANCE)
        self.statuses.put(int(status.Status) if "Status" in status else -1)

    def send_anew(self, told: Dataset, *, aet: str = ARCHIVE) -> None:
        """Report over an association of its own, as the SCP of it."""
        entity = AE(ae_title=aet)
        entity.add_requested_context(PUSH_MODEL, ExplicitVRLittleEndian)
        opened = entity.associate(
            "127.0.0.1", self.report_port, ae_title="ONCUE", ext_neg=[build_role(PUSH_MODEL, scp_role=True)]
        )
        assert opened.is_established
        self.send(opened, told)
        opened.release()


def at_once(archive: Archive, association: Association, asked: Dataset) -> None:
    """Report over the association of the request."""
    archive.send(association, archive.information(asked))


def anew(archive: Archive, association: Association, asked: Dataset) -> None:
    """Report over another association, once the one of the request is over."""
    association.join(_SECONDS)
    archive.send_anew(archive.information(asked))


def twice(archive: Archive, association: Association, asked: Dataset) -> None:
    """Report over the association of the request, and once more over another."""
    at_once(archive, association, asked)
    anew(archive, association, asked)


def never(archive: Archive, association: Association, asked: Dataset) -> None:
    """Say nothing."""
    del archive, association, asked


@contextlib.contextmanager
def archive(*answers: Answer, report_port: int, status: int = 0x0000) -> Iterator[Archive]:
    """Run an archive that answers requests with ``status``."""
    threads: list[threading.Thread] = []
    here = Archive(free_port(), report_port, list(answers))

    def store(event: evt.Event) -> int:
        here.stored.append(str(event.dataset.SOPInstanceUID))
        return 0x0000

    def act(event: evt.Event) -> tuple[int, None]:
        asked = event.action_information
        here.requests.put(asked)
        answer = here.answers.pop(0) if len(here.answers) > 1 else here.answers[0]
        if status == 0x0000:
            thread = threading.Timer(0.05, answer, args=(here, event.assoc, asked))
            threads.append(thread)
            thread.start()
        return status, None

    entity = AE(ae_title=ARCHIVE)
    entity.add_supported_context(CTImageStorage)
    entity.add_supported_context(PUSH_MODEL)
    server = entity.start_server(
        ("127.0.0.1", here.port), block=False, evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_N_ACTION, act)]
    )
    assert server is not None
    try:
        yield here
    finally:
        for thread in threads:
            thread.join(_SECONDS)
        server.shutdown()
