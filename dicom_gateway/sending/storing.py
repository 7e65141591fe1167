"""Objects over one open association: each is made ready while the peer works on its answer to the one before."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from pydicom.uid import UID

from dicom_gateway.destinations import Destination
from dicom_gateway.errors import GatewayError, PeerRejectedObject, UndecodableObject
from dicom_gateway.protocol.data_set_pdus import BytesSource, FileSource
from dicom_gateway.sending.outcomes import SendOutcome, answered, failed
from dicom_gateway.sending.outgoing import Outgoing, data_set_offset, encoded
from dicom_gateway.sending.proposals import Proposal
from dicom_gateway.sending.requested_association import PreparedStore, RequestedAssociation
from storage.errors import StorageError

Ready = tuple[Outgoing, PreparedStore | GatewayError]
"""An object with the request that is ready to go out, or why there is none."""


def store_in_turn(
    objects: Sequence[Outgoing],
    association: RequestedAssociation,
    destination: Destination,
    *,
    wanted: tuple[str, ...] | None = None,
) -> Iterator[SendOutcome]:
    """Send one object after another and yield what became of each, until all are sent or the association is over.

    ``wanted`` are the transfer syntaxes that the destination is set to want, None for any.
    """
    with contextlib.closing(_Queue(objects, association, destination, wanted)) as queue:
        for outgoing, ready in queue:
            yield _stored(outgoing, ready, association, destination, queue)
            if not association.is_open:
                return


def unwanted(outgoing: Outgoing, destination: object) -> PeerRejectedObject:
    """Return the error for an object that can travel in none of the transfer syntaxes that a destination wants."""
    sop_class, syntax = UID(outgoing.sop_class_uid).name, UID(outgoing.transfer_syntax_uid).name
    return PeerRejectedObject(
        f"{destination} is set to want transfer syntaxes that {sop_class} as {syntax} cannot be written in; change "
        "those of the destination",
        of_form=True,
    )


class _Queue(Iterator[Ready]):
    """The objects in order, each made ready when it is its turn, or before by ``look_ahead``."""

    def __init__(
        self,
        objects: Sequence[Outgoing],
        association: RequestedAssociation,
        destination: Destination,
        wanted: tuple[str, ...] | None,
    ) -> None:
        self._wanted = wanted
        self._association = association
        self._destination = destination
        self._taken: dict[tuple[str, str], tuple[Proposal, ...]] = {}
        self._made = ((outgoing, self._ready(outgoing)) for outgoing in objects)
        self._ahead: Ready | None = None

    def look_ahead(self) -> None:
        """Make the next one ready."""
        self._ahead = self._ahead or next(self._made, None)

    def __next__(self) -> Ready:
        self.look_ahead()
        ready, self._ahead = self._ahead, None
        if ready is None:
            raise StopIteration
        return ready

    def close(self) -> None:
        """Let go of the file of one that was made ready and is not sent."""
        self._made.close()
        if self._ahead is not None and isinstance(self._ahead[1], PreparedStore):
            self._ahead[1].following.close()

    def _ready(self, outgoing: Outgoing) -> PreparedStore | GatewayError:
        taken = self._proposals(outgoing)
        if not taken:
            if not outgoing.travels_as(self._wanted):
                return unwanted(outgoing, self._destination)
            sop_class, syntax = UID(outgoing.sop_class_uid).name, UID(outgoing.transfer_syntax_uid).name
            return PeerRejectedObject(f"{self._destination} does not take {sop_class} as {syntax}", of_form=True)
        try:
            if outgoing.verify is not None:
                outgoing.verify()
            return _prepared(outgoing, self._association, taken)
        except GatewayError as error:
            return error
        except StorageError as error:
            return UndecodableObject(str(error))
        except OSError as error:
            return _unreadable(error)

    def _proposals(self, outgoing: Outgoing) -> tuple[Proposal, ...]:
        """Return those of its proposals that the peer took, which are the same for all of its kind."""
        kind = (outgoing.sop_class_uid, outgoing.transfer_syntax_uid)
        if kind not in self._taken:
            accepted = self._association.accepted
            self._taken[kind] = tuple(one for one in outgoing.travels_as(self._wanted) if one in accepted)
        return self._taken[kind]


def _prepared(outgoing: Outgoing, association: RequestedAssociation, taken: Sequence[Proposal]) -> PreparedStore:
    """Make ready what is sent: the file as it lies where it can be, else encoded anew."""
    as_it_lies = Proposal(outgoing.sop_class_uid, outgoing.transfer_syntax_uid)
    offset = data_set_offset(outgoing) if as_it_lies in taken else None
    if offset is None:
        content = BytesSource(encoded(outgoing, taken[0].transfer_syntax_uid))
        return association.prepare(taken[0], outgoing.sop_instance_uid, content)
    return association.prepare(as_it_lies, outgoing.sop_instance_uid, FileSource(outgoing.path, offset))


def _stored(
    outgoing: Outgoing,
    ready: PreparedStore | GatewayError,
    association: RequestedAssociation,
    destination: Destination,
    queue: _Queue,
) -> SendOutcome:
    if isinstance(ready, GatewayError):
        return failed(outgoing, ready)
    try:
        return answered(outgoing, association.store(ready, meanwhile=queue.look_ahead), destination)
    except GatewayError as error:
        return failed(outgoing, error)
    except OSError as error:
        return failed(outgoing, _unreadable(error))


def _unreadable(error: OSError) -> UndecodableObject:
    return UndecodableObject(f"the object cannot be read: {type(error).__name__}")
