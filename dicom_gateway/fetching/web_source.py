"""A source that is a DICOMweb service: asked by QIDO-RS, its images come by WADO-RS (PS3.18 10.4, 10.6)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlencode

from dicom_gateway.asking.counts import MOST_SERIES, SeriesCount, SourceCount, checked_number, checked_study
from dicom_gateway.destinations import WebAddress
from dicom_gateway.errors import (
    GatewayError,
    PeerDeniedAccess,
    RetrievalRefused,
    SourceAnswerInvalid,
    SourceRefused,
    StudyUnknownToSource,
)
from dicom_gateway.fetching.source_client import Progress
from dicom_gateway.fetching.source_studies import MOST_STUDIES, SourceStudy, checked, each_once
from dicom_gateway.http_exchange import Deadline, HttpAnswer, HttpRequest, StreamedAnswer, exchange, streamed
from dicom_gateway.inlets.inlet import Inlet, Visit, Visitor
from dicom_gateway.inlets.related_parts import MediaType, RelatedParts, boundary_of
from dicom_gateway.sending.credentials import read_credentials
from dicom_gateway.tls.connecting import connected
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.errors import OncueError

_STUDY, _DATE, _MODALITIES, _STATED = "0020000D", "00080020", "00080061", "00201208"
_SERIES, _MODALITY, _INSTANCES = "0020000E", "00080060", "00201209"
_MOST_BYTES = 16 << 20
_CONNECT_SECONDS = 10.0
_STALLED_SECONDS = 120.0
_LONGEST_SECONDS = 2 * 3600.0
_PIECE_BYTES = 256 << 10
_NOTHING = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND})
_DENIED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_WHOLE = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT})
_FILES = 'multipart/related; type="application/dicom"; transfer-syntax=*'

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WebSource:
    """A service at an address; ``seconds`` bound each question. What comes goes into ``inlet``."""

    address: WebAddress
    seconds: float
    credentials: Path | None
    tls: DestinationTls | None
    inlet: Inlet = field(repr=False)
    visitor: Visitor

    def studies(self, keys: Mapping[str, str]) -> list[SourceStudy]:
        """Return the studies that match keys of the STUDY level, each once."""
        fields = [("includefield", tag) for tag in (_DATE, _MODALITIES, _STATED)]
        items = self._listed("/studies", [*keys.items(), *fields, ("limit", str(MOST_STUDIES))])
        if len(items) > MOST_STUDIES:
            raise SourceAnswerInvalid(f"{self.address} lists more than {MOST_STUDIES:,} studies: filter them")
        return each_once(_study(item) for item in items)

    def count(self, study_instance_uid: str) -> SourceCount:
        """Return how many instances it holds of a study, by series."""
        fields = [("includefield", _MODALITY), ("includefield", _INSTANCES), ("limit", str(MOST_SERIES))]
        series = self._listed(f"/studies/{study_instance_uid}/series", fields)
        if not series:
            raise StudyUnknownToSource(f"{self.address} holds nothing of the study")
        found = dict(_series(item, study_instance_uid) for item in series)
        if any(one.instances is None for one in found.values()):
            instances = self._listed(f"/studies/{study_instance_uid}/instances", [])
            series_of = [_value(item, _SERIES) for item in instances]
            found = {uid: SeriesCount(one.modality, series_of.count(uid)) for uid, one in found.items()}
        return found

    def fetch(self, study_instance_uid: str, *, on_progress: Progress) -> None:
        """Take in every instance of a study as the service sends them, one after another."""
        with self._answer(f"/studies/{study_instance_uid}", _FILES) as answer:
            if answer.status not in _WHOLE:
                raise self._refusal(answer.status)
            media_type = MediaType.parse(answer.headers.get("content-type", ""))
            if media_type.name != "multipart/related":
                raise SourceAnswerInvalid(f"{self.address} does not answer with the parts of a study")
            parts = RelatedParts(boundary_of(media_type), lambda: answer.read(_PIECE_BYTES))
            with self.inlet.visit(self.visitor) as visit:
                _take_all(visit, parts, study_instance_uid, on_progress)

    def _listed(self, path: str, parameters: Sequence[tuple[str, str]]) -> list[Item]:
        answer = self._asked(f"{path}?{urlencode(parameters)}" if parameters else path)
        if answer.status in _NOTHING:
            return []
        if answer.status != HTTPStatus.OK:
            raise self._refusal(answer.status)
        try:
            items = json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise SourceAnswerInvalid(f"{self.address} does not answer with JSON") from error
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise SourceAnswerInvalid(f"{self.address} does not answer in the DICOM JSON Model")
        return items

    def _asked(self, path: str) -> HttpAnswer:
        request = self._request(path, "application/dicom+json")
        with contextlib.closing(self._connected()) as connection:
            deadline = Deadline(self.seconds)
            return exchange(connection, self.address, request, deadline=deadline, most_bytes=_MOST_BYTES)

    @contextlib.contextmanager
    def _answer(self, path: str, accept: str) -> Iterator[StreamedAnswer]:
        request = self._request(path, accept)
        with (
            contextlib.closing(self._connected()) as connection,
            streamed(
                connection,
                self.address,
                request,
                deadline=Deadline(_LONGEST_SECONDS),
                stalled_seconds=_STALLED_SECONDS,
            ) as answer,
        ):
            yield answer

    def _connected(self) -> Any:
        return connected(
            self.address, connect_seconds=_CONNECT_SECONDS, handshake_seconds=_CONNECT_SECONDS, tls=self.tls
        )

    def _request(self, path: str, accept: str) -> HttpRequest:
        known = {} if self.credentials is None else {"Authorization": read_credentials(self.credentials).authorization}
        return HttpRequest("GET", f"{self.address.path}{path}", {"Accept": accept, **known})

    def _refusal(self, status: int) -> GatewayError:
        if status in _DENIED:
            return PeerDeniedAccess(f"{self.address} does not let us in (HTTP status {status}): check the credentials")
        if status in _NOTHING:
            return StudyUnknownToSource(f"{self.address} holds nothing of the study")
        kind = RetrievalRefused if status >= HTTPStatus.INTERNAL_SERVER_ERROR else SourceRefused
        return kind(f"{self.address} answers with HTTP status {status}")


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


def _study(item: Item) -> SourceStudy:
    modalities = item.get(_MODALITIES)
    values = modalities.get("Value") if isinstance(modalities, dict) else None
    several = [str(value) for value in values] if isinstance(values, list) else []
    return checked(_value(item, _STUDY), _value(item, _STATED), _value(item, _DATE), several)


def _series(item: Item, study: str) -> tuple[str, SeriesCount]:
    checked_study(_value(item, _STUDY), study)
    uid = _value(item, _SERIES)
    if not uid:
        raise SourceAnswerInvalid("the source answers with a series that has no UID")
    return uid, SeriesCount(_value(item, _MODALITY), checked_number(_value(item, _INSTANCES)))


def _value(item: Item, tag: str) -> str:
    """Return the first value of an attribute as text, empty where there is none."""
    attribute = item.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return str(values[0]) if isinstance(values, list) and values else ""
