"""The SCP of C-GET and C-MOVE: which SOP class takes which operation, and the status of what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog

from dicom_gateway.config import GatewaySettings
from dicom_gateway.errors import GatewayError
from dicom_gateway.protocol.commands import CommandField
from dicom_gateway.protocol.exchange import Conversation, Request, Response
from dicom_gateway.queries import getting, move_destinations
from dicom_gateway.queries.moving import MoveCaller, Mover
from dicom_gateway.queries.retrieval_keys import read_keys
from dicom_gateway.queries.selection import Selection
from dicom_gateway.queries.taken_requests import refusal
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.status import Status
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.database import Database
from storage.errors import StorageError
from storage.objects import ObjectStore
from storage.peers import Service

PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
OPERATIONS: Mapping[str, CommandField] = {
    PATIENT_ROOT_MOVE: CommandField.C_MOVE_RQ,
    PATIENT_ROOT_GET: CommandField.C_GET_RQ,
    STUDY_ROOT_MOVE: CommandField.C_MOVE_RQ,
    STUDY_ROOT_GET: CommandField.C_GET_RQ,
}
"""The one DIMSE service of each SOP class (PS3.4 C.6.1.3, C.6.2.3)."""

_LARGEST_IDENTIFIER_BYTES = 1 << 20
_UNABLE_TO_PROCESS = 0xC001
_OF_A_RETRIEVAL = frozenset(
    {Status.CANNOT_COUNT_MATCHES, Status.CANNOT_PERFORM_SUB_OPERATIONS, Status.MOVE_DESTINATION_UNKNOWN}
)

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Holdings:
    """Where objects are, and who may be told of them."""

    database: Database
    objects: ObjectStore
    settings: GatewaySettings
    clock: Callable[[], datetime]


class RetrievalService:
    """Implements DataSetService for the retrieval of what oncue holds and wrote."""

    permission = Service.RETRIEVAL
    longest_data_set_bytes = _LARGEST_IDENTIFIER_BYTES

    def __init__(self, holdings: Holdings, caller: MoveCaller) -> None:
        self._holdings = holdings
        self._selection = Selection(holdings.database, holdings.objects, holdings.clock)
        self._mover = Mover(caller)

    def responses(self, request: Request) -> Conversation:
        """Send what a request asks for, and say how far it is; what is refused is one response with its reason."""
        refused = refusal(request, OPERATIONS[request.sop_class_uid])
        if refused is not None:
            yield refused
            return
        try:
            yield from self._retrieved(request)
        except (GatewayError, StorageError) as error:
            yield _failed(request, error)

    def too_large(self, request: Request) -> Response:
        """Refuse a request whose identifier is larger than any list of UIDs that is taken."""
        logger.info("retrieval.refused", code="identifier_too_large", calling_aet=request.calling_aet)
        return Response(int(Status.CANNOT_COUNT_MATCHES), comment="the identifier is larger than 1 MiB")

    def _retrieved(self, request: Request) -> Conversation:
        keys = read_keys(request)
        if request.command.field == CommandField.C_GET_RQ:
            found = self._selection.find(keys)
            self._selection.note(found, actor=request.calling_aet, destination=request.calling_aet)
            yield from getting.conversation(self._selection, request, found)
            return
        title = request.command.move_destination
        with self._holdings.database.read() as session:
            receiver = move_destinations.receiver(session, title, peer=request.peer, settings=self._holdings.settings)
        found = self._selection.find(keys)
        self._selection.note(found, actor=request.calling_aet, destination=title)
        yield from self._mover.conversation(self._selection, request, found, receiver)


def retrieval_services(holdings: Holdings, timeouts: PeerTimeouts, tls: DestinationTls) -> dict[str, RetrievalService]:
    """Return the service by each SOP class that it is negotiated with."""
    service = RetrievalService(holdings, MoveCaller(holdings.settings.aet, timeouts, tls))
    return dict.fromkeys(OPERATIONS, service)


def _failed(request: Request, error: GatewayError | StorageError) -> Response:
    """Return the answer to a request that failed before anything was sent; what only we can mend is logged."""
    if isinstance(error, StorageError):
        logger.warning("retrieval.failed", code=error.code, calling_aet=request.calling_aet)
        return Response(_UNABLE_TO_PROCESS, comment="try again later")
    logger.info("retrieval.refused", code=error.code, calling_aet=request.calling_aet)
    if error.status == Status.OUT_OF_RESOURCES:
        return Response(int(Status.CANNOT_PERFORM_SUB_OPERATIONS), comment=str(error))
    status = error.status if error.status in _OF_A_RETRIEVAL else Status.MISMATCH
    return Response(int(status), comment=str(error))
