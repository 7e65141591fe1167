"""A source that is a DICOMweb service: asked by QIDO-RS, its images come by WADO-RS (PS3.18 10.4, 10.6)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import BinaryIO, cast

from dicom_gateway.asking.counts import SourceCount
from dicom_gateway.asking.qido import count_by_qido
from dicom_gateway.asking.web_client import NOTHING, WebClient, as_a_source
from dicom_gateway.errors import (
    GatewayError,
    RetrievalRefused,
    SourceAnswerInvalid,
    StudyUnknownToSource,
)
from dicom_gateway.fetching.source_client import Progress
from dicom_gateway.fetching.source_studies import MOST_STUDIES, SourceStudy, checked, each_once
from dicom_gateway.http_exchange import Deadline, StreamedAnswer, streamed
from dicom_gateway.inlets.inlet import Inlet, Visit, Visitor
from dicom_gateway.inlets.related_parts import MediaType, RelatedParts, boundary_of
from storage.attributes import Attributes
from storage.errors import OncueError

_STUDY, _DATE, _MODALITIES, _STATED = "0020000D", "00080020", "00080061", "00201208"
_STALLED_SECONDS = 120.0
_LONGEST_SECONDS = 2 * 3600.0
_PIECE_BYTES = 256 << 10
_WHOLE = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT})
_FILES = 'multipart/related; type="application/dicom"; transfer-syntax=*'


@dataclass(frozen=True, slots=True)
class WebSource:
    """A service; ``seconds`` bound each question. What comes goes into ``inlet``."""

    service: WebClient
    seconds: float
    inlet: Inlet = field(repr=False)
    visitor: Visitor

    def studies(self, keys: Mapping[str, str]) -> list[SourceStudy]:
        """Return the studies that match keys of the STUDY level, each once."""
        fields = [("includefield", tag) for tag in (_DATE, _MODALITIES, _STATED)]
        asked = [*keys.items(), *fields, ("limit", str(MOST_STUDIES))]
        answers = self.service.listed("/studies", asked, deadline=Deadline(self.seconds))
        if len(answers) > MOST_STUDIES:
            raise SourceAnswerInvalid(f"{self.service.address} lists more than {MOST_STUDIES:,} studies: filter them")
        return each_once(map(_study, answers))

    def count(self, study_instance_uid: str) -> SourceCount:
        """Return how many instances it holds of a study, by series."""
        return count_by_qido(self.service, study_instance_uid, seconds=self.seconds)

    def fetch(self, study_instance_uid: str, *, on_progress: Progress) -> None:
        """Take in every instance of a study as the service sends them, one after another."""
        with self._answer(f"/studies/{study_instance_uid}") as answer:
            if answer.status not in _WHOLE:
                raise self._refusal(answer.status)
            media_type = MediaType.parse(answer.headers.get("content-type", ""))
            if media_type.name != "multipart/related":
                raise SourceAnswerInvalid(f"{self.service.address} does not answer with the parts of a study")
            parts = RelatedParts(boundary_of(media_type), lambda: answer.read(_PIECE_BYTES))
            with self.inlet.visit(self.visitor) as visit:
                _take_all(visit, parts, study_instance_uid, on_progress)

    @contextlib.contextmanager
    def _answer(self, path: str) -> Iterator[StreamedAnswer]:
        request, deadline = self.service.request(path, _FILES), Deadline(_LONGEST_SECONDS)
        with (
            as_a_source(),
            contextlib.closing(self.service.connected(deadline)) as connection,
            streamed(
                connection, self.service.address, request, deadline=deadline, stalled_seconds=_STALLED_SECONDS
            ) as answer,
        ):
            yield answer

    def _refusal(self, status: int) -> GatewayError:
        if status in NOTHING:
            return StudyUnknownToSource(f"{self.service.address} holds nothing of the study")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return RetrievalRefused(f"{self.service.address} answers with HTTP status {status}")
        return self.service.refusal(status)


def _take_all(visit: Visit, parts: RelatedParts, study_instance_uid: str, on_progress: Progress) -> None:
    """Take each part; one that is none of ours to take, or of another study, is passed over, for the rest may be."""
    ours: OncueError | None = None
    for part in parts:
        on_progress()
        try:
            visit.take(cast("BinaryIO", part), study_instance_uid=study_instance_uid)
        except OncueError as error:
            if error.retryable and ours is None:
                ours = error
    if ours is not None:
        raise ours


def _study(answer: Attributes) -> SourceStudy:
    modalities = map(str, answer.values(_MODALITIES))
    return checked(answer.value(_STUDY), answer.value(_STATED), answer.value(_DATE), modalities)
