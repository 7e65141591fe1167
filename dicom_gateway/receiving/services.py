"""What becomes of the requests of an association: C-ECHO and C-STORE are served, others by a service of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dicom_gateway.errors import GatewayError, UndecodableObject, UnsupportedObject
from dicom_gateway.protocol.commands import Command, CommandField
from dicom_gateway.protocol.exchange import Conversation, DataSetService, Request, Response
from dicom_gateway.receiving.admission import Admission, Admitted
from dicom_gateway.receiving.association_records import AssociationRecords
from dicom_gateway.receiving.negotiation import AcceptedContext, Taken
from dicom_gateway.receiving.receive import InstanceReceiver
from dicom_gateway.receiving.spool import Spool
from dicom_gateway.receiving.store_request import StoreRequest, safe_uid
from dicom_gateway.status import Status
from storage.arrivals import Origin
from storage.peers import Service
from storage.uids import is_uid


@dataclass(frozen=True, slots=True)
class ServiceParts:
    """What serves the requests of every association; ``data_sets`` by SOP class of the presentation context."""

    receiver: InstanceReceiver
    admission: Admission
    records: AssociationRecords
    data_sets: Mapping[str, DataSetService] = field(default_factory=dict)


@dataclass(slots=True)
class Exchange:
    """A request for a service that answers with data sets: its own is kept in memory, up to the service's bound."""

    service: DataSetService
    context: AcceptedContext
    data_set: bytearray = field(default_factory=bytearray)
    is_too_large: bool = False

    def take(self, content: memoryview) -> None:
        """Take a fragment of the data set; of one that is too large nothing is kept."""
        if len(self.data_set) + len(content) > self.service.longest_data_set_bytes:
            self.is_too_large = True
            self.data_set.clear()
        if not self.is_too_large:
            self.data_set += content

    def responses(self, command: Command, admitted: Admitted, takes: Taken) -> Conversation:
        """Return the responses of the service."""
        context, caller = self.context, admitted.caller
        request = Request(
            command,
            context.sop_class_uid,
            context.transfer_syntax_uid,
            bytes(self.data_set),
            caller.calling_aet,
            admitted.peer,
            takes,
        )
        if self.is_too_large:
            return _single(self.service.too_large(request))
        return self.service.responses(request)


@dataclass(slots=True)
class Incoming:
    """A request on its way in.

    Its data set goes into the spool, into memory for an exchange of data sets, or nowhere where it is refused or not
    looked at.
    """

    command: Command
    spool: Spool | None = None
    refusal: GatewayError | None = None
    size_bytes: int = 0
    exchange: Exchange | None = None

    def take(self, content: memoryview) -> None:
        """Take a fragment of the data set."""
        self.size_bytes += len(content)
        if self.spool is not None:
            self.spool.write(content)
        elif self.exchange is not None:
            self.exchange.take(content)

    def discard(self) -> None:
        """Leave nothing behind of a request that will not be answered."""
        if self.spool is not None:
            self.spool.discard()


class Services:
    """The services of one association."""

    def __init__(self, parts: ServiceParts, admitted: Admitted) -> None:
        self._parts = parts
        self._admitted = admitted
        self._recorded_as: str | None = None
        self._has_echoed = False

    def begin(self, command: Command, context: AcceptedContext) -> Incoming:
        """Decide, before its data set comes, what becomes of a request."""
        service = self._parts.data_sets.get(context.sop_class_uid)
        if service is not None:
            return Incoming(command, exchange=Exchange(service, context))
        if command.field != CommandField.C_STORE_RQ:
            return Incoming(command)
        try:
            request = _store_request(command, context)
        except GatewayError as error:
            return Incoming(command, refusal=error)
        spool = self._parts.receiver.open_spool(request) if command.has_data_set else None
        return Incoming(command, spool)

    def answer(self, incoming: Incoming) -> int:
        """Return the status of the answer to a request that is there in full."""
        if incoming.command.field == CommandField.C_STORE_RQ:
            return self._store(incoming)
        if incoming.command.field == CommandField.C_ECHO_RQ:
            if Service.VERIFICATION not in self._admitted.services:
                return int(Status.SOP_CLASS_NOT_SUPPORTED)
            self._has_echoed = True
            return int(Status.SUCCESS)
        return int(Status.UNRECOGNIZED_OPERATION)

    def responses(self, incoming: Incoming, exchange: Exchange, *, takes: Taken) -> Conversation:
        """Return what is said to a request that is there in full and exchanges data sets.

        ``takes`` are SOP classes with their transfer syntaxes in which the peer takes requests. Of a peer whose entry
        does not allow it any more nothing is looked at.
        """
        self._association_id()
        if not self._parts.admission.still_allows(self._admitted, exchange.service.permission):
            return _single(Response(int(Status.NOT_AUTHORIZED), comment="not allowed any more"))
        return exchange.responses(incoming.command, self._admitted, takes)

    def ended(self, how: str) -> None:
        """Put the end of the association on record; one that only echoed is counted.

        One that asked for nothing is put on record, too, since somebody may look for why; but not each of very many.
        """
        records, caller = self._parts.records, self._admitted.caller
        if self._recorded_as is None and (self._has_echoed or not records.is_due_without_request(caller.calling_aet)):
            records.echoed(caller.calling_aet)
            return
        association_id = self._association_id()
        if association_id is not None:
            records.closed(association_id, how)

    def _store(self, incoming: Incoming) -> int:
        receiver, calling_aet = self._parts.receiver, self._admitted.caller.calling_aet
        uid = safe_uid(incoming.command.sop_instance_uid)
        # On record before its first instance is, so that the study of that instance is held open.
        association_id = self._association_id()
        if incoming.refusal is not None:
            incoming.discard()
            return receiver.refuse(incoming.refusal, sop_instance_uid=uid, calling_aet=calling_aet)
        error = self._parts.admission.charge(self._admitted, incoming.size_bytes)
        if error is not None:
            incoming.discard()
            return int(error.status)
        origin = Origin(calling_aet, association_id, self._admitted.lane)
        return receiver.store(incoming.spool, sop_instance_uid=uid, origin=origin)

    def _association_id(self) -> str | None:
        """Put the association on record if it is not yet, and return our id for it; None where that cannot be done."""
        if self._recorded_as is None:
            self._recorded_as = self._parts.records.opened(self._admitted.caller)
        return self._recorded_as


def _single(response: Response) -> Conversation:
    yield response


def _store_request(command: Command, context: AcceptedContext) -> StoreRequest:
    if not is_uid(command.sop_class_uid) or not is_uid(command.sop_instance_uid):
        raise UndecodableObject("a UID of the C-STORE request is missing, or is none: 1 to 64 digits and dots")
    if command.sop_class_uid != context.sop_class_uid:
        raise UnsupportedObject("the SOP class was not negotiated for this presentation context")
    if not context.may_store:
        raise UnsupportedObject("the peer may not store in this presentation context, only take what it asks for")
    return StoreRequest(command.sop_class_uid, command.sop_instance_uid, context.transfer_syntax_uid)
