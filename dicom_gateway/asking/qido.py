"""Ask a source by QIDO-RS how many images it holds of a study (PS3.18 10.6)."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlsplit

from dicom_gateway.asking.counts import (
    MOST_SERIES,
    SeriesCount,
    SourceCount,
    checked_number,
    checked_study,
)
from dicom_gateway.errors import (
    SourceAnswerInvalid,
    SourceRefused,
    SourceSilent,
    SourceTooSlow,
    StudyUnknownToSource,
)

_MOST_BYTES = 16 << 20
_CONNECT_SECONDS = 5.0
_STUDY, _SERIES, _MODALITY, _INSTANCES = "0020000D", "0020000E", "00080060", "00201209"
_NOTHING = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND})


def count_by_qido(base: str, study_instance_uid: str, *, seconds: float) -> SourceCount:
    """Return what a DICOMweb service says to hold of a study; ``base`` is its address up to ``/studies``.

    ``seconds`` bound the whole answer. Raises SourceSilent, SourceTooSlow, SourceRefused, SourceAnswerInvalid and
    StudyUnknownToSource. A service that leaves the numbers of instances out has its instances listed.
    """
    deadline = time.monotonic() + seconds
    study = f"{base.rstrip('/')}/studies/{quote(study_instance_uid, safe='')}"
    fields = f"includefield={_MODALITY}&includefield={_INSTANCES}"
    found = _counts(_listed(f"{study}/series?{fields}&limit={MOST_SERIES}", deadline), study_instance_uid)
    if not found:
        raise StudyUnknownToSource("the source holds nothing of the study")
    if all(one.instances is not None for one in found.values()):
        return found
    return _counted(_listed(f"{study}/instances?includefield={_MODALITY}", deadline), study_instance_uid, found)


def _counts(items: Iterator[Mapping[str, Any]], study: str) -> dict[str, SeriesCount]:
    found = {}
    for item in items:
        checked_study(_value(item, _STUDY), study)
        uid = _value(item, _SERIES)
        if not uid:
            raise SourceAnswerInvalid("the source answers with a series that has no UID")
        found[uid] = SeriesCount(_value(item, _MODALITY), checked_number(_value(item, _INSTANCES)))
    return found


def _counted(items: Iterator[Mapping[str, Any]], study: str, series: SourceCount) -> SourceCount:
    numbers = dict.fromkeys(series, 0)
    for item in items:
        checked_study(_value(item, _STUDY), study)
        uid = _value(item, _SERIES)
        numbers[uid] = numbers.get(uid, 0) + 1
    return {
        uid: SeriesCount(one.modality, one.instances if one.instances is not None else numbers[uid])
        for uid, one in series.items()
    }


def _listed(address: str, deadline: float) -> Iterator[Mapping[str, Any]]:
    """Return the items of an answer in the DICOM JSON Model (PS3.18 F.2)."""
    body = _body(address, deadline)
    if not body:
        return
    try:
        items = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise SourceAnswerInvalid("the source does not answer with JSON") from error
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise SourceAnswerInvalid("the source does not answer in the DICOM JSON Model")
    yield from items


def _body(address: str, deadline: float) -> bytes:
    """Return the body of an answer; no redirection is followed, for the address is that of the source."""
    is_late = threading.Event()
    seconds = max(deadline - time.monotonic(), 0.01)
    connection = _connection(address, seconds)

    def end() -> None:
        is_late.set()
        _shut(connection)

    # A source that drips keeps every single wait short; this ends them all.
    limit = threading.Timer(seconds, end)
    limit.daemon = True
    limit.start()
    try:
        body = _exchanged(connection, address)
    except (OSError, HTTPException) as error:
        if is_late.is_set() or isinstance(error, TimeoutError):
            raise SourceTooSlow("the source did not end its answer in time") from error
        raise SourceSilent(f"the source cannot be asked: {error}") from error
    finally:
        limit.cancel()
        connection.close()
    if is_late.is_set():
        raise SourceTooSlow("the source did not end its answer in time")
    return body


def _connection(address: str, seconds: float) -> HTTPConnection:
    parts = urlsplit(address)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=min(_CONNECT_SECONDS, seconds))


def _exchanged(connection: HTTPConnection, address: str) -> bytes:
    parts = urlsplit(address)
    connection.connect()
    connection.sock.settimeout(None)
    connection.request("GET", f"{parts.path}?{parts.query}", headers={"Accept": "application/dicom+json"})
    response = connection.getresponse()
    if response.status in _NOTHING:
        return b""
    if response.status != HTTPStatus.OK:
        raise SourceRefused(f"the source answers with HTTP status {response.status}")
    body = response.read(_MOST_BYTES + 1)
    if len(body) > _MOST_BYTES:
        raise SourceAnswerInvalid(f"the source answers with more than {_MOST_BYTES >> 20} MiB")
    return body


def _shut(connection: HTTPConnection) -> None:
    if connection.sock is not None:
        with contextlib.suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def _value(item: Mapping[str, Any], tag: str) -> str:
    """Return the first value of an attribute as text, empty where there is none."""
    attribute = item.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    if not isinstance(values, list) or not values:
        return ""
    return str(values[0])
