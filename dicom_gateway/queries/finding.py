"""C-FIND of what is held: Patient Root and Study Root, a pending response for each match (PS3.4 C.4.1, C.6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

import structlog

from dicom_gateway import data_sets
from dicom_gateway.errors import GatewayError
from dicom_gateway.protocol.commands import CommandField
from dicom_gateway.protocol.exchange import Conversation, Request, Response
from dicom_gateway.queries.taken_requests import refusal
from dicom_gateway.status import Status
from storage.attributes import Attributes, Element, element
from storage.database import Database
from storage.errors import QuestionInvalid, StorageError
from storage.holdings import asking, search
from storage.holdings.keys import unmatched
from storage.holdings.question import HoldingsQuestion, Level
from storage.holdings.tags import Tag
from storage.peers import Service
from storage.uids import is_uid

PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
LEVELS: Mapping[str, tuple[Level, ...]] = {PATIENT_ROOT: tuple(Level), STUDY_ROOT: tuple(Level)[1:]}
"""Levels of each information model (PS3.4 C.6.1.1, C.6.2.1)."""
UNIQUE_KEYS: Mapping[Level, Tag] = {
    Level.PATIENT: Tag.PatientID,
    Level.STUDY: Tag.StudyInstanceUID,
    Level.SERIES: Tag.SeriesInstanceUID,
    Level.IMAGE: Tag.SOPInstanceUID,
}
LARGEST_IDENTIFIER_BYTES = 256 << 10
_PENDING, _PENDING_WITH_KEYS_LEFT_OUT = 0xFF00, 0xFF01
_NOT_ANSWERED = Response(0xC001, comment="try again later")

logger = structlog.get_logger(__name__)


class FindService:
    """Implements DataSetService for C-FIND; ``aet`` is what answers name to retrieve from."""

    permission = Service.QUERY
    longest_data_set_bytes = LARGEST_IDENTIFIER_BYTES

    def __init__(self, database: Database, aet: str, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._aet = aet
        self._clock = clock

    def responses(self, request: Request) -> Conversation:
        """Yield a response for each match, and the end; what is refused is one response with its reason."""
        refused = refusal(request, CommandField.C_FIND_RQ)
        if refused is not None:
            yield refused
            return
        try:
            question = _question(request)
            yield from self._answers(request, question)
        except (QuestionInvalid, GatewayError) as error:
            yield Response(int(Status.MISMATCH), comment=str(error))
        except StorageError as error:
            logger.warning("find.failed", code=error.code, calling_aet=request.calling_aet)
            yield _NOT_ANSWERED

    def too_large(self, request: Request) -> Response:
        """Refuse an identifier that is larger than any."""
        del request
        return Response(int(Status.OUT_OF_RESOURCES), comment="the identifier is too large")

    def _answers(self, request: Request, question: HoldingsQuestion) -> Iterator[Response]:
        """Yield the matches and the end; no transaction is open between two of them, however slow the peer is."""
        status = _PENDING_WITH_KEYS_LEFT_OUT if unmatched(question) else _PENDING
        ours: dict[str, Element] = {
            Tag.QueryRetrieveLevel: element("CS", question.level.value),
            Tag.RetrieveAETitle: element("AE", self._aet),
        }
        answers = 0
        try:
            for found in search.matching(self._database, question):
                content = data_sets.encode(found.changed(ours), request.transfer_syntax_uid)
                answers += 1
                yield Response(status, content)
        finally:
            is_on_record = self._record(request, question, answers)
        yield Response(int(Status.SUCCESS)) if is_on_record else _NOT_ANSWERED

    def _record(self, request: Request, question: HoldingsQuestion, answers: int) -> bool:
        """Put the question on record, answered to the end or canceled, and say whether it is there."""
        asked = asking.Asked(question.level, len(question.keys.without([Tag.QueryRetrieveLevel]).elements), answers)
        try:
            with self._database.write() as session:
                asking.record(session, asked, actor=request.calling_aet, now=self._clock())
        except StorageError as error:
            logger.warning("find.not_recorded", code=error.code, calling_aet=request.calling_aet)
            return False
        return True


def find_services(database: Database, aet: str, clock: Callable[[], datetime]) -> dict[str, FindService]:
    """Return the service by each SOP class that it is negotiated with."""
    return dict.fromkeys(LEVELS, FindService(database, aet, clock))


def _question(request: Request) -> HoldingsQuestion:
    """Return what an identifier asks; QuestionInvalid where it does not fit the model (PS3.4 C.4.1.2.1)."""
    if not request.data_set:
        raise QuestionInvalid("the request has no identifier")
    keys = data_sets.decode(request.data_set, request.transfer_syntax_uid)
    levels = LEVELS[request.sop_class_uid]
    said = keys.value(Tag.QueryRetrieveLevel)
    level = next((level for level in levels if level.value == said), None)
    if level is None:
        raise QuestionInvalid(f"(0008,0052) is none of {', '.join(levels)}")
    for above in levels[: levels.index(level)]:
        _require_single(keys, UNIQUE_KEYS[above])
    return HoldingsQuestion(level, keys, limit=None)


def _require_single(keys: Attributes, tag: Tag) -> None:
    """Require the unique key of a level above: one value without wildcards (PS3.4 C.4.1.2.1)."""
    values = keys.values(tag)
    is_one = len(values) == 1 and (tag is Tag.PatientID or is_uid(str(values[0])))
    if not is_one or "*" in str(values[0]) or "?" in str(values[0]):
        raise QuestionInvalid(f"the level needs one value of ({tag[:4]},{tag[4:]})")
