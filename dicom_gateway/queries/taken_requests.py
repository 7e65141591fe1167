"""Which requests of Query/Retrieve are taken: those of the one operation that their SOP class has (PS3.4 C.6)."""

from __future__ import annotations

from dicom_gateway.protocol.commands import CommandField
from dicom_gateway.protocol.exchange import Request, Response
from dicom_gateway.status import Status


def refusal(request: Request, operation: CommandField) -> Response | None:
    """Return the answer to a request that is none of an operation, or names another SOP class than its context."""
    command = request.command
    if command.field != operation:
        return Response(int(Status.UNRECOGNIZED_OPERATION), comment="not an operation of the negotiated SOP class")
    if command.sop_class_uid != request.sop_class_uid:
        return Response(int(Status.SOP_CLASS_NOT_SUPPORTED), comment="the SOP class is not the negotiated one")
    return None
