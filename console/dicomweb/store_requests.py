"""Carrying out requests to store: part after part into the inlet, each durable before it counts as stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from console.dicomweb.store_answer import FailedOne, StoredOne, StoreOutcome
from console.dicomweb.store_body import BodyLate, ServerEnding
from console.media_types import DICOM, DICOM_JSON, OCTETS
from console.request_errors import BodyInvalid, BodyTooLarge, MediaTypeUnsupported, RequestRefused
from dicom_gateway.errors import BodyBroken
from dicom_gateway.inlets.related_parts import RelatedPart, RelatedParts
from storage.errors import OncueError

if TYPE_CHECKING:
    from dicom_gateway.inlets.inlet import Visit
    from dicom_gateway.inlets.part10 import Readable
    from dicom_gateway.receiving.store_request import StoreRequest

MOST_PARTS = 20_000
MOST_METADATA_BYTES = 64 << 20
"""Metadata and its bulk data are in memory until they are objects; larger ones travel as application/dicom."""
_MOST_JSON_BYTES = 8 << 20
_AS_IT_IS = frozenset({"", "binary", "8bit", "7bit", "identity"})
_REST_LOST = (BodyBroken, BodyLate, BodyTooLarge, ServerEnding)
"""What ends a request early: the parts before it stay stored."""


@dataclass(slots=True)
class _Named:
    """What a part said of itself before it failed."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""

    def note(self, request: StoreRequest) -> None:
        self.sop_class_uid, self.sop_instance_uid = request.sop_class_uid, request.sop_instance_uid


class StoreRequestBody:
    """One request to store, of a visitor, for any study or for one."""

    def __init__(self, visit: Visit, study_instance_uid: str | None) -> None:
        self._visit = visit
        self._study_instance_uid = study_instance_uid
        self._outcome = StoreOutcome()

    def store_files(self, parts: RelatedParts) -> StoreOutcome:
        """Store the DICOM files that the parts are; RequestRefused where there is nothing to be said of any."""
        return self._finished(self._each_file, parts)

    def store_metadata(self, parts: RelatedParts) -> StoreOutcome:
        """Store the data sets of the metadata part with the bulk data of the others; RequestRefused likewise."""
        return self._finished(self._all_data_sets, parts)

    def _finished(self, store: Callable[[RelatedParts], None], parts: RelatedParts) -> StoreOutcome:
        outcome = self._outcome
        try:
            store(parts)
        except _REST_LOST as error:
            if not outcome.stored:
                raise
            outcome.remark = str(error)
            if not outcome.failed or outcome.failed[-1].code != error.code:
                outcome.failed.append(_failed(error, _Named()))
        if not (outcome.stored or outcome.failed):
            raise BodyBroken("the body holds no part")
        return outcome

    def _each_file(self, parts: RelatedParts) -> None:
        for part in _few(parts):
            fault = _unfit(part, DICOM)
            if fault is not None:
                self._outcome.failed.append(_failed(fault, _Named()))
                continue
            self._store(part)

    def _all_data_sets(self, parts: RelatedParts) -> None:
        from dicom_gateway.inlets import json_objects

        metadata, bulk = _metadata_and_bulk(parts)
        try:
            data_sets = json_objects.data_sets_of(metadata)
        except OncueError as error:
            raise BodyInvalid(str(error)) from error
        for data_set in data_sets:
            named = _Named(data_set.value("00080016"), data_set.value("00080018"))
            try:
                content = json_objects.file_of(data_set, bulk)
            except OncueError as error:
                self._outcome.failed.append(_failed(error, named))
                continue
            self._store(BytesIO(content))

    def _store(self, content: Readable) -> None:
        named = _Named()
        try:
            taken = self._visit.take(content, study_instance_uid=self._study_instance_uid, on_head=named.note)
        except OncueError as error:
            self._outcome.failed.append(_failed(error, named))
            if isinstance(error, _REST_LOST):
                raise
            return
        self._outcome.stored.append(
            StoredOne(taken.sop_class_uid, taken.sop_instance_uid, taken.study_instance_uid, taken.series_instance_uid)
        )


def _metadata_and_bulk(parts: RelatedParts) -> tuple[bytes, dict[str, bytes]]:
    """Read all parts: the one of metadata, and the others by where they say they are."""
    metadata: bytes | None = None
    bulk: dict[str, bytes] = {}
    for part in _few(parts):
        fault = _unfit(part, DICOM_JSON if metadata is None else OCTETS)
        if fault is not None:
            raise fault
        if metadata is None:
            metadata = _small(part)
        else:
            location = part.headers.get("content-location", "")
            if location in bulk:
                raise BodyBroken("two parts of bulk data have the same Content-Location: which is meant cannot be told")
            bulk[location] = part.read()
    if metadata is None:
        raise BodyBroken("the body holds no part")
    return metadata, bulk


def _small(part: RelatedPart) -> bytes:
    """Read a part of metadata, which takes many times its size in memory; BodyTooLarge."""
    content = bytearray()
    while piece := part.read(1 << 16):
        content += piece
        if len(content) > _MOST_JSON_BYTES:
            raise BodyTooLarge(f"the metadata is larger than {_MOST_JSON_BYTES >> 20} MiB: put values into bulk data")
    return bytes(content)


def _few(parts: RelatedParts) -> Iterator[RelatedPart]:
    for number, part in enumerate(parts):
        if number == MOST_PARTS:
            raise BodyTooLarge(f"the body has more than {MOST_PARTS} parts: store fewer objects with one request")
        yield part


def _unfit(part: RelatedPart, expected: str) -> RequestRefused | None:
    """Say why a part is not what it must be; None where it is."""
    name = part.media_type.name
    if name not in ("", expected):
        return MediaTypeUnsupported(f"a part is not {expected}, as the Content-Type of the request has it")
    for header in ("content-encoding", "content-transfer-encoding"):
        if part.headers.get(header, "").lower() not in _AS_IT_IS:
            return MediaTypeUnsupported("a part is encoded: parts are taken as they are, in binary")
    return None


def _failed(error: OncueError, named: _Named) -> FailedOne:
    from dicom_gateway.receiving.receive import status_of
    from dicom_gateway.status import Status

    # Of a request of which a part is no DICOM, or none that can be read, nothing was understood.
    reason = int(Status.CANNOT_UNDERSTAND) if isinstance(error, RequestRefused | BodyBroken) else status_of(error)
    if isinstance(error, BodyTooLarge | ServerEnding):
        reason = int(Status.OUT_OF_RESOURCES)
    return FailedOne(reason, error.code, error.retryable, named.sop_class_uid, named.sop_instance_uid)
