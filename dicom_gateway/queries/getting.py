"""C-GET: the objects come back over the association that asks, as C-STORE requests of ours (PS3.4 C.4.3)."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_gateway.errors import GatewayError, RequestCanceled, UndecodableObject, UnsupportedObject
from dicom_gateway.protocol.commands import CommandField
from dicom_gateway.protocol.exchange import Conversation, FileDataSet, PeerAnswer, PeerRequest, Request
from dicom_gateway.queries.retrieval_count import RetrievalCount
from dicom_gateway.queries.selection import Selection
from dicom_gateway.sending.outgoing import data_set_offset, encoded
from dicom_gateway.status import meaning, written
from storage.errors import StorageError
from storage.holdings.objects import HeldObject

_LARGEST_ENCODED_BYTES = 256 << 20
"""What is encoded anew for a peer lies in memory whole, several times over."""


def conversation(selection: Selection, request: Request, found: Sequence[HeldObject]) -> Conversation:
    """Send the objects one after another, each in a transfer syntax that the peer takes, and count them.

    One that lies on disk in none of them, or is not there as it was, has failed, and the next one follows.
    """
    count = RetrievalCount(len(found), request.transfer_syntax_uid)
    try:
        for one in found:
            yield from _one(selection, request, one, count)
            if not count.due_in and count.remaining:
                yield count.pending()
    except RequestCanceled:
        yield count.canceled()
        return
    yield count.last()


def _one(selection: Selection, request: Request, one: HeldObject, count: RetrievalCount) -> Conversation:
    try:
        asked = _asked(selection, request, one)
        answer = yield asked
    except (GatewayError, StorageError) as error:
        count.has_failed(one.sop_instance_uid, str(error))
    except OSError:
        count.has_failed(one.sop_instance_uid, "an object is not in the store any more")
    else:
        assert isinstance(answer, PeerAnswer)  # noqa: S101 - a request of ours is answered by one
        why = f"you answered {written(answer.status)}: {meaning(answer.status)}"
        count.answered(one.sop_instance_uid, answer.status, why)


def _asked(selection: Selection, request: Request, one: HeldObject) -> PeerRequest:
    """Return the request that stores an object with the peer; GatewayError, StorageError or OSError where none can."""
    outgoing = selection.outgoing(one)
    syntaxes = (proposal.transfer_syntax_uid for proposal in outgoing.proposals)
    taken = [syntax for syntax in syntaxes if (one.sop_class_uid, syntax) in request.takes]
    if not taken:
        raise UnsupportedObject("no transfer syntax was agreed on for an object as it is stored")
    selection.objects.verify(one.digest)
    at = data_set_offset(outgoing) if one.transfer_syntax_uid in taken else None
    if at is not None:
        return _store(one, one.transfer_syntax_uid, FileDataSet(outgoing.path, at))
    if one.size_bytes > _LARGEST_ENCODED_BYTES:
        raise UndecodableObject("an object is too large to be encoded anew")
    return _store(one, taken[0], encoded(outgoing, taken[0]))


def _store(one: HeldObject, transfer_syntax_uid: str, data_set: bytes | FileDataSet) -> PeerRequest:
    uids = one.sop_class_uid, transfer_syntax_uid, one.sop_instance_uid
    return PeerRequest(CommandField.C_STORE_RQ, *uids, data_set)
