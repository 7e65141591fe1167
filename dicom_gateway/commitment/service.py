"""The service of storage commitment: what peers ask us to vouch for, and what they report of what we sent (PS3.4 J)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from dicom_gateway.commitment.information import (
    LONGEST_BYTES,
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST_COMMITMENT,
    EventType,
    Refusal,
    event_type,
    read_report,
    read_request,
    report_information,
)
from dicom_gateway.commitment.report_takers import ReportTakers
from dicom_gateway.errors import CommitmentInvalid
from dicom_gateway.protocol.commands import CommandField
from dicom_gateway.protocol.exchange import Conversation, PeerAnswer, PeerRequest, Request, Response
from dicom_gateway.status import Status
from storage.commitment import requests
from storage.commitment.judging import judge
from storage.commitment.proof_reports import CommitmentReport
from storage.commitment.requests import Asker, CommitmentRequest
from storage.database import Database
from storage.errors import RecordExists, StorageError
from storage.objects import ObjectStore
from storage.peers import Service
from storage.states import CommitmentState

_HOLD = timedelta(seconds=60)
"""How long rounds leave a request to its association, should nobody hand it over."""
_LOOKS_SECONDS = (0.0, 0.1, 0.2, 0.4, 0.8, 1.0)
"""Pauses before we look for instances that are not on record yet; other requests of the association wait meanwhile."""

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Vouching:
    """What it takes to vouch for instances: where they are, under which title they can be had, and a clock."""

    database: Database
    objects: ObjectStore
    aet: str
    clock: Callable[[], datetime]

    def report_of(self, request: CommitmentRequest) -> CommitmentReport:
        """Return what is reported of a request that is judged."""
        return CommitmentReport(request.transaction_uid, request.committed, request.failures or ())

    def information(self, report: CommitmentReport, transfer_syntax_uid: str) -> bytes:
        """Return a report as it goes over the wire."""
        return report_information(report, retrieve_aet=self.aet, transfer_syntax_uid=transfer_syntax_uid)


class CommitmentService:
    """Implements DataSetService for the Storage Commitment Push Model."""

    permission = Service.COMMITMENT
    longest_data_set_bytes = LONGEST_BYTES

    def __init__(self, vouching: Vouching, takers: ReportTakers, *, on_hand_over: Callable[[], None]) -> None:
        """``on_hand_over`` is called where an association ended before its peer had our report."""
        self._vouching = vouching
        self._takers = takers
        self._on_hand_over = on_hand_over
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Wait for no instance any more."""
        self._stopping.set()

    def responses(self, request: Request) -> Conversation:
        """Yield the answer to a request, and behind that to N-ACTION our report, if the association lasts so long."""
        asked, answer = self._answered(request)
        if asked is None:
            yield answer
            return
        is_settled = False
        try:
            yield answer  # many peers release at once, and this is where the conversation ends then
            is_settled = yield from self._report(request, asked)
        finally:
            if not is_settled:
                self._hand_over(asked)

    def _answered(self, request: Request) -> tuple[CommitmentRequest | None, Response]:
        """Return what a request asks us to vouch for, None where it does not, and its answer."""
        try:
            _require_taken(request)
            if request.command.field == CommandField.N_EVENT_REPORT_RQ:
                return None, self._reported(request)
            return self._asked(request), Response(int(Status.SUCCESS))
        except CommitmentInvalid as error:
            return None, Response(error.status, comment=str(error))
        except StorageError as error:
            logger.warning("commitment.failed", code=error.code, calling_aet=request.calling_aet)
            return None, Response(int(Refusal.PROCESSING_FAILURE), comment="try again later")

    def too_large(self, request: Request) -> Response:
        """Refuse a request that names more instances than any may."""
        del request
        return Response(int(Refusal.RESOURCE_LIMITATION), comment="too many instances at once")

    def _asked(self, request: Request) -> CommitmentRequest:
        wanted = read_request(request.data_set, request.transfer_syntax_uid)
        asker = Asker(request.peer, request.calling_aet)
        try:
            with self._vouching.database.write() as session:
                now = self._vouching.clock()
                return requests.ask(session, asker, wanted.transaction_uid, wanted.references, hold=_HOLD, now=now)
        except RecordExists as error:
            raise CommitmentInvalid(str(error), Refusal.INVALID_ARGUMENT_VALUE) from error

    def _report(self, request: Request, asked: CommitmentRequest) -> Generator[PeerRequest, PeerAnswer | None, bool]:
        """Report over the association that the request came by, and return whether the peer took it."""
        try:
            judged = self._judged(asked)
            if judged is None:
                return False
            report = self._vouching.report_of(judged)
            answer = yield PeerRequest(
                CommandField.N_EVENT_REPORT_RQ,
                request.sop_class_uid,
                request.transfer_syntax_uid,
                PUSH_MODEL_INSTANCE,
                self._vouching.information(report, request.transfer_syntax_uid),
                event_type=int(event_type(report)),
            )
            if answer is None or answer.status != Status.SUCCESS:
                return False
            with self._vouching.database.write() as session:
                requests.reported(session, asked.id, now=self._vouching.clock())
        except StorageError as error:
            logger.warning("commitment.failed", code=error.code, calling_aet=request.calling_aet)
            return False
        return True

    def _judged(self, asked: CommitmentRequest) -> CommitmentRequest | None:
        """Judge a request; None where some of its instances may still come: images wait for their rows a moment."""
        if asked.state is CommitmentState.JUDGED:
            return asked
        for seconds in _LOOKS_SECONDS:
            if self._stopping.wait(seconds):
                return None
            judgement = judge(self._vouching.database, self._vouching.objects, asked.references)
            if not judgement.unknown:
                with self._vouching.database.write() as session:
                    return requests.judged(session, asked.id, judgement.failures, now=self._vouching.clock())
        return None

    def _hand_over(self, asked: CommitmentRequest) -> None:
        try:
            with self._vouching.database.write() as session:
                requests.hand_over(session, asked.id, now=self._vouching.clock())
        except StorageError as error:
            logger.warning("commitment.failed", code=error.code, transaction=asked.transaction_uid)
        self._on_hand_over()

    def _reported(self, request: Request) -> Response:
        """Take a peer's report over an association that it opened for that."""
        if request.command.event_type not in tuple(EventType):
            raise CommitmentInvalid("not an event of the Push Model", Refusal.NO_SUCH_EVENT_TYPE)
        report = read_report(request.data_set, request.transfer_syntax_uid)
        if self._takers.take(report, reporter=request.calling_aet):
            return Response(int(Status.SUCCESS))
        return Response(int(Refusal.PROCESSING_FAILURE), comment="you were not asked by this transaction")


def _require_taken(request: Request) -> None:
    """Raise CommitmentInvalid for what the Push Model does not offer (PS3.4 J.3.2, J.3.3)."""
    command = request.command
    if command.field not in (CommandField.N_ACTION_RQ, CommandField.N_EVENT_REPORT_RQ):
        raise CommitmentInvalid("not an operation of storage commitment", Refusal.UNRECOGNIZED_OPERATION)
    if command.sop_class_uid != PUSH_MODEL:
        raise CommitmentInvalid("the SOP class is not the Push Model", Refusal.CLASS_INSTANCE_CONFLICT)
    if command.sop_instance_uid != PUSH_MODEL_INSTANCE:
        raise CommitmentInvalid("not the well-known instance of the Push Model", Refusal.NO_SUCH_INSTANCE)
    if command.field == CommandField.N_ACTION_RQ and command.action_type != REQUEST_COMMITMENT:
        raise CommitmentInvalid("not an action of the Push Model", Refusal.NO_SUCH_ACTION)
