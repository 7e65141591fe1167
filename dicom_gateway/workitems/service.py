"""The SCP of workitems: which SOP class takes which operation, and the status of what goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime

import structlog

from dicom_gateway.errors import GatewayError
from dicom_gateway.protocol.commands import CommandField
from dicom_gateway.protocol.exchange import Conversation, Request, Response
from dicom_gateway.status import Status
from dicom_gateway.workitems import search_responses
from dicom_gateway.workitems.operations import Action, WorkitemOperations
from storage.database import Database
from storage.errors import StorageError
from storage.peers import Service
from storage.workitems.refusals import Refusal, WorkitemRefused
from storage.workitems.requirements import LARGEST_CONTENT_CHARACTERS
from storage.workitems.rows import UPS_PUSH

UPS_WATCH = "1.2.840.10008.5.1.4.34.6.2"
UPS_PULL = "1.2.840.10008.5.1.4.34.6.3"
UPS_QUERY = "1.2.840.10008.5.1.4.34.6.5"
SOP_CLASSES = (UPS_PUSH, UPS_WATCH, UPS_PULL, UPS_QUERY)

_SUBSCRIPTIONS = frozenset({Action.SUBSCRIBE, Action.UNSUBSCRIBE, Action.SUSPEND_GLOBAL_SUBSCRIPTION})
_OPERATIONS: Mapping[str, frozenset[CommandField]] = {
    UPS_PUSH: frozenset({CommandField.N_CREATE_RQ, CommandField.N_ACTION_RQ, CommandField.N_GET_RQ}),
    UPS_WATCH: frozenset({CommandField.N_ACTION_RQ, CommandField.N_GET_RQ, CommandField.C_FIND_RQ}),
    UPS_PULL: frozenset(
        {CommandField.N_ACTION_RQ, CommandField.N_GET_RQ, CommandField.N_SET_RQ, CommandField.C_FIND_RQ}
    ),
    UPS_QUERY: frozenset({CommandField.C_FIND_RQ}),
}
"""DIMSE services by negotiated SOP class (PS3.4 Tables CC.2-1 to CC.2-5)."""
_ACTIONS: Mapping[str, frozenset[Action]] = {
    UPS_PUSH: frozenset({Action.REQUEST_CANCEL}),
    UPS_WATCH: frozenset({Action.REQUEST_CANCEL, *_SUBSCRIPTIONS}),
    UPS_PULL: frozenset({Action.CHANGE_STATE}),
}
_NO_SUCH_ACTION = 0x0123
_CANNOT_PROCESS = 0xC001
_LARGE_BYTES = 64 << 10

logger = structlog.get_logger(__name__)


class WorkitemService:
    """Implements DataSetService for the SOP classes of workitems."""

    permission = Service.WORKITEMS
    longest_data_set_bytes = LARGEST_CONTENT_CHARACTERS

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._large = threading.Lock()
        self._operations = WorkitemOperations(database, clock)
        self._single: Mapping[int, Callable[[Request], Response]] = {
            CommandField.N_CREATE_RQ: self._operations.create,
            CommandField.N_GET_RQ: self._operations.get,
            CommandField.N_SET_RQ: self._operations.change,
            CommandField.N_ACTION_RQ: self._operations.act,
        }

    def responses(self, request: Request) -> Conversation:
        """Yield the responses to a request; what is refused is one response with the status of the reason."""
        refusal = _not_taken(request)
        if refusal is not None:
            yield refusal
            return
        try:
            if request.command.field == CommandField.C_FIND_RQ:
                yield from search_responses.responses(self._database, request)
            else:
                yield self._answered(request)
        except (WorkitemRefused, GatewayError, StorageError) as error:
            yield _failed(request, error)

    def _answered(self, request: Request) -> Response:
        """Answer a request of one response; of those with large data sets one at a time, for they grow in memory."""
        answer = self._single[request.command.field]
        if len(request.data_set) <= _LARGE_BYTES:
            return answer(request)
        with self._large:
            return answer(request)

    def too_large(self, request: Request) -> Response:
        """Refuse a request whose data set is larger than any workitem."""
        if request.command.field == CommandField.C_FIND_RQ:
            return Response(int(Status.OUT_OF_RESOURCES), comment="the identifier is too large")
        return Response(int(Refusal.RESOURCE_LIMITATION), comment="the data set is larger than 1 MiB")


def workitem_services(database: Database, clock: Callable[[], datetime]) -> dict[str, WorkitemService]:
    """Return the service by each SOP class that it is negotiated with."""
    service = WorkitemService(database, clock)
    return dict.fromkeys(SOP_CLASSES, service)


def _not_taken(request: Request) -> Response | None:
    """Return the answer to a request that its presentation context, or its command, rules out.

    The command names UPS Push whatever was negotiated (CC.3.1); some peers name the negotiated class.
    """
    command, negotiated = request.command, request.sop_class_uid
    if command.field not in _OPERATIONS[negotiated]:
        return Response(int(Status.UNRECOGNIZED_OPERATION), comment="not an operation of the negotiated SOP class")
    if command.sop_class_uid not in (UPS_PUSH, negotiated):
        return Response(int(Status.SOP_CLASS_NOT_SUPPORTED), comment="the SOP class is not UPS Push")
    if command.field == CommandField.N_ACTION_RQ and command.action_type not in _ACTIONS[negotiated]:
        return Response(_NO_SUCH_ACTION, comment="not an action of the negotiated SOP class")
    return None


def _failed(request: Request, error: WorkitemRefused | GatewayError | StorageError) -> Response:
    """Return the answer to a request that failed; what only we can mend is logged."""
    if isinstance(error, WorkitemRefused):
        is_of_find = request.command.field == CommandField.C_FIND_RQ
        return Response(int(Status.MISMATCH if is_of_find else error.refusal), comment=str(error))
    if isinstance(error, GatewayError):
        return Response(_undecodable(request), comment=str(error))
    logger.warning("workitem.failed", code=error.code, calling_aet=request.calling_aet)
    is_of_find = request.command.field == CommandField.C_FIND_RQ
    return Response(_CANNOT_PROCESS if is_of_find else int(Status.PROCESSING_FAILURE), comment="try again later")


def _undecodable(request: Request) -> int:
    if request.command.field == CommandField.C_FIND_RQ:
        return int(Status.MISMATCH)
    return int(Refusal.INVALID_ATTRIBUTE_VALUE)
