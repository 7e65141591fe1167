"""What is stored becomes searchable: headers of new objects are read soon after they came, one study after another.

Studies that came before are read when there is nothing newer, an upgraded installation's for one. Several gateways may
do so at once: who keeps what was read takes the study, and finds what another one kept.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from dicom_gateway.queries import headers
from dicom_gateway.queries.headers import OF_DOCUMENT, OF_SERIES, OF_STUDY
from storage.attributes import Attributes
from storage.database import Database
from storage.errors import OncueError
from storage.holdings import headers as kept_headers
from storage.holdings.headers import ReadHeaders, Unread, UnreadObject
from storage.objects import ObjectStore
from storage.sop_kinds import ImageKind, kind_of

_STUDIES_AT_ONCE = 20
_OBJECTS_AT_ONCE = 250
_BUSY_SECONDS = 0.5
_BREATH_SECONDS = 0.1
"""Between rounds of a long catching up, so that it does not take the processor from what comes in."""
_LARGEST_DOCUMENT_BYTES = 4 << 20
_MANY_WAITING = 64

logger = structlog.get_logger(__name__)


class Indexing:
    """Reads headers that are due. ``waiting`` says how many images wait for their rows: while many do, it pauses."""

    def __init__(self, database: Database, objects: ObjectStore, *, waiting: Callable[[], int]) -> None:
        self._database = database
        self._objects = objects
        self._waiting = waiting
        self._left_alone: set[int] = set()
        self._stopped = False

    def stop(self) -> None:
        """End a round between two batches."""
        self._stopped = True

    def read_due(self) -> float | None:
        """Read what is due, the newest studies first; return in how many seconds more is, None for nothing."""
        with self._database.read() as session:
            limit = _STUDIES_AT_ONCE + len(self._left_alone)
            due = kept_headers.due_studies(session, limit=limit)
        is_more = len(due) == limit
        for study_id in [study_id for study_id in due if study_id not in self._left_alone][:_STUDIES_AT_ONCE]:
            if self._stopped or self._waiting() > _MANY_WAITING:
                return _BUSY_SECONDS
            is_more |= self._read(study_id)
        return _BREATH_SECONDS if is_more else None

    def _read(self, study_id: int) -> bool:
        """Read a study, or the first of very many objects, and say whether more of them may be left.

        One that cannot be kept waits for the next process.
        """
        try:
            return self._read_some(study_id)
        except OncueError as error:
            if error.retryable:
                raise
            self._left_alone.add(study_id)
            logger.warning("holdings.left_alone", code=error.code, study_id=study_id)
            return False

    def _read_some(self, study_id: int) -> bool:
        with self._database.read() as session:
            unread = kept_headers.unread(session, study_id, limit=_OBJECTS_AT_ONCE)
        read = None if unread.speaker is None else self._headers(unread, unread.speaker)
        with self._database.write() as session:
            kept_headers.keep(session, study_id, read)
        return len(unread.objects) == _OBJECTS_AT_ONCE

    def _headers(self, unread: Unread, speaker: UnreadObject) -> ReadHeaders:
        last_of_series = {one.series_instance_uid: one for one in unread.objects}
        return ReadHeaders(
            speaker=speaker,
            study=headers.read_header_of(self._path(speaker), OF_STUDY),
            series={uid: headers.read_header_of(self._path(one), OF_SERIES) for uid, one in last_of_series.items()},
            objects={one: self._object(one) for one in unread.objects},
        )

    def _object(self, one: UnreadObject) -> Attributes:
        is_document = kind_of(one.sop_class_uid) is ImageKind.NOT_AN_IMAGE
        if is_document and self._objects.size(one.digest) <= _LARGEST_DOCUMENT_BYTES:
            return headers.read_header_of(self._path(one), OF_DOCUMENT)
        return headers.read_image(self._path(one), one.transfer_syntax_uid)

    def _path(self, one: UnreadObject) -> Path:
        return self._objects.path(one.digest)
