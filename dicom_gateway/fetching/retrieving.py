"""C-MOVE and C-GET of a study as their SCU (PS3.4 C.4.2, C.4.3, Study Root)."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from socket import socket
from typing import TYPE_CHECKING, Any, cast

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import build_context, build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import, from a table
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from dicom_gateway.asking.finder import query
from dicom_gateway.contexts import storage_sop_classes
from dicom_gateway.destinations import Destination
from dicom_gateway.errors import PeerUnreachable, RetrievalRefused, SourceSilent, SourceTooSlow
from dicom_gateway.fetching.source_client import Progress
from dicom_gateway.inlets.inlet import Inlet, Visit, Visitor
from dicom_gateway.privacy import keep_identifiers_out_of_logs
from dicom_gateway.status import Status
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.errors import OncueError
from storage.sop_kinds import ImageKind, classes_of

if TYPE_CHECKING:
    from pynetdicom.association import Association

_PENDING = frozenset({0xFF00, 0xFF01})
_UNKNOWN_DESTINATION = 0xA801
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 120.0
_LONGEST_SECONDS = 2 * 3600.0
_MOST_STORED_CLASSES = 120  # of the 128 contexts of an association, beside the one of C-GET
_GET_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.5",
)


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How images of one source come: to ``move_to``, or where that is None over our association, into ``inlet``."""

    source: Destination
    calling_aet: str
    move_to: str | None
    inlet: Inlet
    visitor: Visitor
    tls: DestinationTls | None

    def retrieve(self, study_instance_uid: str, *, on_progress: Progress) -> None:
        """Ask for a study, and return once the source says that it has sent what it could.

        Raises SourceSilent, SourceTooSlow, RetrievalRefused, and what ``on_progress`` raises.
        """
        asked = query("STUDY", StudyInstanceUID=study_instance_uid)
        if self.move_to is not None:
            with self._association(_moving()) as association:
                model = StudyRootQueryRetrieveInformationModelMove
                self._follow(association.send_c_move(asked, self.move_to, model), on_progress)
            return
        with self.inlet.visit(self.visitor) as visit:
            taking = _Taking(visit, study_instance_uid, on_progress)
            with self._association(_getting(), taking) as association:
                model = StudyRootQueryRetrieveInformationModelGet
                self._follow(association.send_c_get(asked, model), on_progress)
            taking.require()

    @contextlib.contextmanager
    def _association(self, ae: AE, taking: _Taking | None = None) -> Iterator[Association]:
        keep_identifiers_out_of_logs()
        ae.ae_title = self.calling_aet
        ae.connection_timeout = _CONNECT_SECONDS
        ae.acse_timeout, ae.dimse_timeout, ae.network_timeout = 30.0, _ANSWER_SECONDS, _ANSWER_SECONDS
        handlers: list[Any] = [] if taking is None else [(evt.EVT_C_STORE, taking.store)]
        association = ae.associate(
            self.source.host,
            self.source.port,
            ae_title=self.source.ae_title,
            ext_neg=cast("Any", None if taking is None else _roles(ae)),
            evt_handlers=handlers,
            tls_args=cast("Any", (_Handshake(self.tls, self.source), self.source.host)) if self.source.tls else None,
        )
        if not association.is_established:
            why = "rejected the association" if association.is_rejected else "does not answer, or ended the association"
            raise SourceSilent(f"{self.source} {why}")
        if not association.accepted_contexts:
            association.abort()
            raise RetrievalRefused(f"{self.source} does not offer C-MOVE or C-GET: choose another way")
        try:
            yield association
        except BaseException:
            association.abort()
            raise
        association.release()

    def _follow(self, answers: Iterator[tuple[Dataset, Dataset | None]], on_progress: Progress) -> None:
        """Read the answers to the end, which says how it went."""
        limit = time.monotonic() + _LONGEST_SECONDS
        try:
            for answer, _ in answers:
                status = answer.get("Status")
                if status is None:
                    raise SourceSilent(f"{self.source} broke off, or was silent for {_ANSWER_SECONDS:.0f} s")
                on_progress()
                if time.monotonic() > limit:
                    raise SourceTooSlow(f"{self.source} did not end in {_LONGEST_SECONDS / 3600:.0f} hours")
                if status not in _PENDING:
                    self._judge(int(status), answer)
                    return
        except ValueError as error:  # no context of the wanted service was accepted
            raise RetrievalRefused(f"{self.source} does not offer this service: choose another way") from error
        raise SourceSilent(f"{self.source} broke off in the middle")

    def _judge(self, status: int, answer: Dataset) -> None:
        """Raise RetrievalRefused for a failure; a warning (0xB000) is what the count of instances will tell of."""
        if status in (0x0000, 0xB000):
            return
        if status == _UNKNOWN_DESTINATION:
            raise RetrievalRefused(
                f"{self.source} does not know the move destination {self.move_to}: tell it our title, host and port"
            )
        failed = answer.get("NumberOfFailedSuboperations") or 0
        raise RetrievalRefused(f"{self.source} refused with status 0x{status:04X}; {failed} instances failed")


class _Taking:
    """Takes what comes by C-GET of one study, image by image, and keeps the first reason of ours not to."""

    def __init__(self, visit: Visit, study_instance_uid: str, on_progress: Progress) -> None:
        self._visit = visit
        self._study_instance_uid = study_instance_uid
        self._on_progress = on_progress
        self._ours: OncueError | None = None

    def store(self, event: evt.Event) -> int:
        """Answer one C-STORE sub-operation."""
        try:
            self._on_progress()
            self._visit.take(BytesIO(event.encoded_dataset()), study_instance_uid=self._study_instance_uid)
        except OncueError as error:
            if error.retryable and self._ours is None:
                self._ours = error
            return int(getattr(error, "status", Status.OUT_OF_RESOURCES))
        return int(Status.SUCCESS)

    def require(self) -> None:
        """Raise what kept us from taking an image, where trying again may help."""
        if self._ours is not None:
            raise self._ours


@dataclass(frozen=True, slots=True)
class _Handshake:
    """What pynetdicom takes for a context of TLS; ours are read anew when their files change."""

    tls: DestinationTls | None
    source: Destination

    def wrap_socket(self, sock: socket, *, server_side: bool, server_hostname: str) -> ssl.SSLSocket:
        """Shake hands as with every destination."""
        del server_side, server_hostname
        if self.tls is None:
            raise PeerUnreachable(f"{self.source} is spoken to by TLS, which is not set up")
        return self.tls.secure(sock, self.source)


def _moving() -> AE:
    ae = AE()
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelMove)
    return ae


def _getting() -> AE:
    """Offer C-GET, and to take storage SOP classes: those of images first, as many as there is room for."""
    pictured = classes_of(ImageKind.VOLUME) | classes_of(ImageKind.IMAGE)
    ordered = sorted(storage_sop_classes(), key=lambda uid: (uid not in pictured, uid))[:_MOST_STORED_CLASSES]
    ae = AE()
    ae.requested_contexts = [
        build_context(StudyRootQueryRetrieveInformationModelGet),
        *(build_context(uid, list(_GET_SYNTAXES)) for uid in ordered),
    ]
    return ae


def _roles(ae: AE) -> list[SCP_SCU_RoleSelectionNegotiation]:
    return [build_role(cast("Any", context.abstract_syntax), scp_role=True) for context in ae.requested_contexts[1:]]
