"""Questions to a source by C-FIND (PS3.4 C.4.1, Study Root): answers in bounded number, all within one time limit."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import decode, encode
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import, from a table
    StudyRootQueryRetrieveInformationModelFind,
)

from dicom_gateway.destinations import Destination
from dicom_gateway.errors import (
    AssociationInterrupted,
    PeerRejectedObject,
    PeerUnreachable,
    SourceAnswerInvalid,
    SourceRefused,
    SourceSilent,
    SourceTooSlow,
)
from dicom_gateway.pydicom_faults import IN_MEMORY
from dicom_gateway.sending.associations import PeerTimeouts, open_association
from dicom_gateway.sending.proposals import Proposal
from dicom_gateway.sending.requested_association import RequestedAssociation
from dicom_gateway.tls.destination_handshake import DestinationTls

_CONNECT_SECONDS = 5.0
_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


class Finder:
    """An association with a source, for one question after another."""

    def __init__(self, association: RequestedAssociation, source: Destination) -> None:
        self.source = source
        self._association = association
        self._context = next(iter(association.accepted))
        self._syntax = UID(self._context.transfer_syntax_uid)

    def answers(self, query: Dataset, *, most: int) -> Iterator[Dataset]:
        """Yield the answers to a query; SourceRefused; SourceAnswerInvalid for over ``most``, or unreadable ones."""
        identifier = encode(query, self._syntax.is_implicit_VR, self._syntax.is_little_endian) or b""
        for number, match in enumerate(self._association.find(self._context, identifier), start=1):
            if not match.is_pending:
                if match.status != 0:
                    raise SourceRefused(f"{self.source} refused the question with status 0x{match.status:04X}")
                return
            if number > most:
                self._association.abort()
                raise SourceAnswerInvalid(f"{self.source} sends more than {most:,} answers to one question")
            yield self._read(match.identifier)

    def _read(self, identifier: bytes | None) -> Dataset:
        if identifier is None:
            raise SourceAnswerInvalid(f"{self.source} sends an answer that cannot be read")
        with readable():
            return decode(BytesIO(identifier), self._syntax.is_implicit_VR, self._syntax.is_little_endian)


@contextlib.contextmanager
def open_finder(
    source: Destination, *, calling_aet: str, seconds: float, tls: DestinationTls | None = None
) -> Iterator[Finder]:
    """Open an association for questions, and end it after ``seconds`` whatever the source does.

    ``seconds`` bound connecting, and then everything else. Raises SourceSilent, SourceTooSlow and SourceRefused.
    """
    timeouts = PeerTimeouts(min(_CONNECT_SECONDS, seconds), seconds, seconds)
    proposals = [Proposal(str(StudyRootQueryRetrieveInformationModelFind), str(syntax)) for syntax in _SYNTAXES]
    try:
        with open_association(
            source, proposals, calling_ae_title=calling_aet, timeouts=timeouts, tls=tls
        ) as association:
            # A source that drips its answer keeps every wait for a message short; this ends them all.
            limit = threading.Timer(seconds, association.interrupt, args=("source_too_slow",))
            limit.daemon = True
            limit.start()
            try:
                yield Finder(association, source)
            finally:
                limit.cancel()
    except AssociationInterrupted as error:
        raise SourceTooSlow(f"{source} did not end its answer in time") from error
    except PeerUnreachable as error:
        raise SourceSilent(str(error)) from error
    except PeerRejectedObject as error:
        raise SourceRefused(str(error)) from error


def query(level: str, *keywords: str, **keys: str) -> Dataset:
    """Return a query of a level: ``keywords`` are asked for, ``keys`` are what answers must match."""
    asked = Dataset()
    asked.QueryRetrieveLevel = level
    for keyword in keywords:
        setattr(asked, keyword, None)
    for keyword, value in keys.items():
        setattr(asked, keyword, value)
    return asked


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Turn what reading a hostile value raises into SourceAnswerInvalid."""
    try:
        yield
    except IN_MEMORY as error:
        raise SourceAnswerInvalid("the source answers with values that are none") from error
