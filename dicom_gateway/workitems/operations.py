"""N-CREATE, N-SET, N-GET and N-ACTION of workitems: one request, one response (PS3.4 CC.2.1 to CC.2.7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from dicom_gateway import data_sets
from dicom_gateway.protocol.exchange import Request, Response
from dicom_gateway.status import Status
from storage.attributes import Attributes
from storage.database import Database
from storage.uids import deterministic_uid
from storage.workitems import workitems
from storage.workitems.attributes import Tag
from storage.workitems.inputs import with_inputs
from storage.workitems.refusals import Remark

_NO_SUCH_ACTION = 0x0123
_NO_EVENT_REPORTS = 0xC315
_OPTIONAL_NOT_SUPPORTED = 0x0001
_CREATED_WITH_MODIFICATIONS = 0xB300


class Action(IntEnum):
    """Action Type IDs (PS3.4 Tables CC.2.1-1, CC.2.2-1 and CC.2.3-1)."""

    CHANGE_STATE = 1
    REQUEST_CANCEL = 2
    SUBSCRIBE = 3
    UNSUBSCRIBE = 4
    SUSPEND_GLOBAL_SUBSCRIPTION = 5


@dataclass(frozen=True, slots=True)
class WorkitemOperations:
    """What the DIMSE-N services do; WorkitemRefused and UndecodableObject where they do not."""

    database: Database
    clock: Callable[[], datetime]

    def create(self, request: Request) -> Response:
        """Answer an N-CREATE; a UID is made for a workitem that comes without one (PS3.7 10.1.5.1.3)."""
        now, uid = self.clock(), request.command.sop_instance_uid
        content = _decoded(request)
        if not uid:
            uid = deterministic_uid("created-workitem", request.calling_aet, now.isoformat(), content.text())
        with self.database.write() as session:
            made = workitems.create(session, uid, content, actor=request.calling_aet, now=now)
        status = Status.SUCCESS if _kept(content, made.data_set) else _CREATED_WITH_MODIFICATIONS
        return Response(int(status), sop_instance_uid=uid)

    def get(self, request: Request) -> Response:
        """Answer an N-GET with the attributes that it names, or with all; the Transaction UID is shown to nobody."""
        with self.database.read() as session:
            found = with_inputs(session, workitems.find(session, request.command.sop_instance_uid)).data_set
        wanted = [f"{tag:08X}" for tag in request.command.attributes]
        shown = found.only(wanted) if wanted else found
        lacks = any(tag not in found for tag in wanted if tag != Tag.TransactionUID)
        status = _OPTIONAL_NOT_SUPPORTED if lacks else Status.SUCCESS
        return Response(int(status), data_sets.encode(shown, request.transfer_syntax_uid) if shown.elements else b"")

    def change(self, request: Request) -> Response:
        """Answer an N-SET."""
        content = _decoded(request)
        with self.database.write() as session:
            workitems.change(
                session,
                request.command.sop_instance_uid,
                content,
                transaction_uid=content.value(Tag.TransactionUID),
                actor=request.calling_aet,
                now=self.clock(),
            )
        return Response(int(Status.SUCCESS))

    def act(self, request: Request) -> Response:
        """Answer an N-ACTION of the type that the command names."""
        action = request.command.action_type
        if action == Action.CHANGE_STATE:
            return _remarked(self._change_state(request))
        if action == Action.REQUEST_CANCEL:
            return _remarked(self._request_cancel(request))
        if action in list(Action):
            return Response(_NO_EVENT_REPORTS, comment="event reports are not supported")
        return Response(_NO_SUCH_ACTION, comment="no such action type")

    def _change_state(self, request: Request) -> Remark | None:
        content = _decoded(request)
        with self.database.write() as session:
            return workitems.change_state(
                session,
                request.command.sop_instance_uid,
                content.value(Tag.ProcedureStepState),
                transaction_uid=content.value(Tag.TransactionUID),
                actor=request.calling_aet,
                now=self.clock(),
            )

    def _request_cancel(self, request: Request) -> Remark | None:
        content, uid = _decoded(request), request.command.sop_instance_uid
        with self.database.write() as session:
            return workitems.request_cancel(session, uid, content, actor=request.calling_aet, now=self.clock())


def _decoded(request: Request) -> Attributes:
    if not request.data_set:
        return Attributes({})
    return data_sets.decode(request.data_set, request.transfer_syntax_uid)


def _remarked(remark: Remark | None) -> Response:
    return Response(int(Status.SUCCESS if remark is None else remark))


def _kept(asked: Attributes, made: Attributes) -> bool:
    """Say whether a workitem has every value that was asked for."""
    has_list = bool(asked.values(Tag.WorklistLabel))
    return has_list and all(made.values(tag) == asked.values(tag) for tag in asked if _counts(tag))


def _counts(tag: str) -> bool:
    # A start is shown in UTC, whatever offset it came with: it is the same moment.
    return tag not in (Tag.ScheduledProcedureStepStartDateTime, Tag.SOPClassUID, Tag.SOPInstanceUID, Tag.TransactionUID)
