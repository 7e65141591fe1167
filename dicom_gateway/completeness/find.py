"""Ask a source by C-FIND how many images it holds of a study (PS3.4 C.4.1, Study Root).

Asked is at the SERIES level for NumberOfSeriesRelatedInstances, which tells reports from images. A source that leaves
it out, as it may (PS3.4 Table C.6-3), has its images counted one by one; one that knows no SERIES level is asked at the
STUDY level. Everything ends within one time limit, whatever the source does.
"""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Iterator
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import decode, encode
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import, from a table
    StudyRootQueryRetrieveInformationModelFind,
)

from dicom_gateway.completeness.counts import (
    MOST_IMAGES,
    MOST_SERIES,
    WHOLE_STUDY,
    SeriesCount,
    SourceCount,
    checked_number,
    checked_study,
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
    StudyUnknownToSource,
)
from dicom_gateway.sending.associations import PeerTimeouts, open_association
from dicom_gateway.sending.requested_association import Proposal, RequestedAssociation
from dicom_gateway.tls.destination_handshake import DestinationTls

_CONNECT_SECONDS = 5.0
_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_UNREADABLE = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    NotImplementedError,
    struct.error,
    BytesLengthException,
    OSError,  # of a stream in memory: it ends where more is due
    EOFError,
    RecursionError,  # sequences in sequences; NotImplementedError is the other RuntimeError
)
"""What pydicom raises on values that are none."""


def count_by_find(
    source: Destination,
    study_instance_uid: str,
    *,
    calling_aet: str,
    seconds: float,
    tls: DestinationTls | None = None,
) -> SourceCount:
    """Return what a source says to hold of a study.

    ``seconds`` bound connecting, and then everything else. Raises SourceSilent, SourceTooSlow, SourceRefused,
    SourceAnswerInvalid and StudyUnknownToSource.
    """
    timeouts = PeerTimeouts(min(_CONNECT_SECONDS, seconds), seconds, seconds)
    proposals = [Proposal(str(StudyRootQueryRetrieveInformationModelFind), str(syntax)) for syntax in _SYNTAXES]
    try:
        with open_association(
            source, proposals, calling_ae_title=calling_aet, timeouts=timeouts, tls=tls
        ) as association:
            return _Question(association, source, study_instance_uid).count(seconds)
    except AssociationInterrupted as error:
        raise SourceTooSlow(f"{source} did not end its answer in time") from error
    except PeerUnreachable as error:
        raise SourceSilent(str(error)) from error
    except PeerRejectedObject as error:
        raise SourceRefused(str(error)) from error


class _Question:
    """One association with a source, and the study that it is asked about."""

    def __init__(self, association: RequestedAssociation, source: Destination, study_instance_uid: str) -> None:
        self._association = association
        self._source = source
        self._study = study_instance_uid
        self._context = next(iter(association.accepted))
        self._syntax = UID(self._context.transfer_syntax_uid)

    def count(self, seconds: float) -> SourceCount:
        # A source that drips its answer keeps every wait for a message short; this ends them all.
        limit = threading.Timer(seconds, self._association.interrupt, args=("source_too_slow",))
        limit.daemon = True
        limit.start()
        try:
            return self._count()
        finally:
            limit.cancel()

    def _count(self) -> SourceCount:
        try:
            series = self._series()
        except SourceRefused:
            series = {}
        if not series:
            return self._whole_study()
        return {uid: self._counted(uid, one) for uid, one in series.items()}

    def _series(self) -> dict[str, SeriesCount]:
        query = self._query("SERIES", "SeriesInstanceUID", "Modality", "NumberOfSeriesRelatedInstances")
        found: dict[str, SeriesCount] = {}
        for answer in self._answers(query, most=MOST_SERIES):
            with _readable():
                uid, modality = str(answer.get("SeriesInstanceUID", "")), str(answer.get("Modality", ""))
                found[uid] = SeriesCount(modality, checked_number(answer.get("NumberOfSeriesRelatedInstances")))
            if not uid:
                raise SourceAnswerInvalid(f"{self._source} answers with a series that has no UID")
        return found

    def _counted(self, uid: str, series: SeriesCount) -> SeriesCount:
        if series.instances is not None:
            return series
        query = self._query("IMAGE", "SOPInstanceUID")
        query.SeriesInstanceUID = uid
        images: set[str] = set()
        for answer in self._answers(query, most=MOST_IMAGES):
            with _readable():
                images.add(str(answer.get("SOPInstanceUID", "")))
        return SeriesCount(series.modality, len(images))

    def _whole_study(self) -> SourceCount:
        for answer in self._answers(self._query("STUDY", "NumberOfStudyRelatedInstances"), most=1):
            with _readable():
                number = checked_number(answer.get("NumberOfStudyRelatedInstances"))
            if number is None:
                raise SourceRefused(f"{self._source} does not say how many instances it holds")
            return {WHOLE_STUDY: SeriesCount("", number)}
        raise StudyUnknownToSource(f"{self._source} holds nothing of the study")

    def _query(self, level: str, *keywords: str) -> Dataset:
        query = Dataset()
        query.QueryRetrieveLevel = level
        query.StudyInstanceUID = self._study
        for keyword in keywords:
            setattr(query, keyword, None)
        return query

    def _answers(self, query: Dataset, *, most: int) -> Iterator[Dataset]:
        identifier = encode(query, self._syntax.is_implicit_VR, self._syntax.is_little_endian) or b""
        for number, match in enumerate(self._association.find(self._context, identifier), start=1):
            if not match.is_pending:
                if match.status != 0:
                    raise SourceRefused(f"{self._source} refused the question with status 0x{match.status:04X}")
                return
            if number > most:
                self._association.abort()
                raise SourceAnswerInvalid(f"{self._source} sends more than {most:,} answers to one question")
            yield self._read(match.identifier)

    def _read(self, identifier: bytes | None) -> Dataset:
        if identifier is None:
            raise SourceAnswerInvalid(f"{self._source} sends an answer that cannot be read")
        with _readable():
            answer = decode(BytesIO(identifier), self._syntax.is_implicit_VR, self._syntax.is_little_endian)
            checked_study(str(answer.get("StudyInstanceUID", "")), self._study)
        return answer


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Turn what reading a hostile value raises into SourceAnswerInvalid."""
    try:
        yield
    except _UNREADABLE as error:
        raise SourceAnswerInvalid("the source answers with values that are none") from error
