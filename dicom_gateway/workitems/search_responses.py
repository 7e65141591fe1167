"""C-FIND of workitems: a pending response for each that matches, the most urgent first (PS3.4 CC.2.8)."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_gateway import data_sets
from dicom_gateway.protocol.exchange import Request, Response
from dicom_gateway.status import Status
from storage.attributes import Attributes
from storage.database import Database
from storage.workitems import search

_PENDING = 0xFF00
_LARGEST_IDENTIFIER_BYTES = 64 << 10


def responses(database: Database, request: Request) -> Iterator[Response]:
    """Yield the matches, and the end; errors as of the decoding and the search.

    No transaction stays open between two of them, however slowly the peer takes them.
    """
    if not request.data_set:
        yield Response(int(Status.MISMATCH), comment="the request has no identifier")
        return
    if len(request.data_set) > _LARGEST_IDENTIFIER_BYTES:
        yield Response(int(Status.OUT_OF_RESOURCES), comment="the identifier is too large")
        return
    keys = data_sets.decode(request.data_set, request.transfer_syntax_uid)
    for workitem in search.matching(database, keys):
        yield Response(_PENDING, _encoded(search.answer(workitem, keys), request))
    yield Response(int(Status.SUCCESS))


def _encoded(answer: Attributes, request: Request) -> bytes:
    return data_sets.encode(answer, request.transfer_syntax_uid)
