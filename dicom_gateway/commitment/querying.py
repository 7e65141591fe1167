"""Which objects a destination that knows no commitment has, by C-FIND or QIDO-RS (PS3.4 C.4.1, PS3.18 10.6).

Asked is for the instances of each series. Whatever else a destination answers is nothing, and an answer ends within
one time limit and a number of instances, whatever it does.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dicom_gateway.asking.counts import MOST_IMAGES, checked_study
from dicom_gateway.asking.finder import open_finder, query, readable
from dicom_gateway.destinations import Destination, WebAddress
from dicom_gateway.errors import (
    PeerDeniedAccess,
    PeerUnreachable,
    SourceAnswerInvalid,
    SourceRefused,
)
from dicom_gateway.http_exchange import Deadline, HttpRequest, exchange
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.sending.credentials import read_credentials
from dicom_gateway.tls.connecting import connected
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.attributes import Attributes
from storage.commitment.proofs import AskedObject
from storage.errors import DataSetInvalid

_STUDY, _INSTANCE = "0020000D", "00080018"
_MOST_BYTES = 16 << 20
_NOTHING = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND})
_CLOSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_GONE = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})


@dataclass(frozen=True, slots=True)
class HoldingsQuery:
    """How destinations are asked what they have; ``seconds`` bound everything that is asked at once."""

    aet: str
    timeouts: PeerTimeouts
    seconds: float
    tls: DestinationTls | None = None

    def kept(
        self, address: Destination | WebAddress, objects: Sequence[AskedObject], *, credentials: Path | None
    ) -> frozenset[str]:
        """Return the SOP Instance UIDs of those objects that a destination has.

        Raises PeerUnreachable, PeerUntrusted, PeerDeniedAccess, PeerRejectedObject, PeerAnswerInvalid, SourceRefused,
        SourceTooSlow and SourceAnswerInvalid.
        """
        wanted = {one.sop_instance_uid for one in objects}
        series = dict.fromkeys((one.study_instance_uid, one.series_instance_uid) for one in objects)
        if isinstance(address, WebAddress):
            found = self._by_qido(address, list(series), credentials)
        else:
            found = self._by_find(address, list(series))
        return frozenset(wanted & found)

    def _by_find(self, peer: Destination, series: Sequence[tuple[str, str]]) -> set[str]:
        found: set[str] = set()
        with open_finder(peer, calling_aet=self.aet, seconds=self.seconds, tls=self.tls) as finder:
            for study, one in series:
                keys = {"StudyInstanceUID": study, "SeriesInstanceUID": one}
                for answer in finder.answers(query("IMAGE", "SOPInstanceUID", **keys), most=MOST_IMAGES):
                    with readable():
                        about, instance = answer.get("StudyInstanceUID", ""), answer.get("SOPInstanceUID", "")
                    checked_study(str(about), study)
                    found.add(str(instance))
        return found

    def _by_qido(self, service: WebAddress, series: Sequence[tuple[str, str]], credentials: Path | None) -> set[str]:
        headers = {"Accept": "application/dicom+json"}
        if credentials is not None:
            headers["Authorization"] = read_credentials(credentials).authorization
        found: set[str] = set()
        deadline = Deadline(self.seconds)
        for study, one in series:
            path = f"{service.path}/studies/{quote(study, safe='')}/series/{quote(one, safe='')}/instances"
            request = HttpRequest("GET", f"{path}?includefield={_INSTANCE}&limit={MOST_IMAGES}", headers)
            found.update(_listed(service, self._body(service, request, deadline), study))
        return found

    def _body(self, service: WebAddress, request: HttpRequest, deadline: Deadline) -> bytes:
        seconds = self.timeouts.associate_seconds
        connection = connected(
            service, connect_seconds=self.timeouts.connect_seconds, handshake_seconds=seconds, tls=self.tls
        )
        with contextlib.closing(connection):
            answer = exchange(connection, service, request, deadline=deadline, most_bytes=_MOST_BYTES)
        if answer.status in _NOTHING:
            return b""
        if answer.status in _CLOSED:
            raise PeerDeniedAccess(f"{service} answers HTTP {answer.status}: it wants other credentials")
        if answer.status in _GONE:
            raise PeerUnreachable(f"{service} answers HTTP {answer.status}: the service behind it does not run")
        if answer.status != HTTPStatus.OK:
            raise SourceRefused(f"{service} answers HTTP {answer.status} where it is asked for instances")
        return answer.body


def _listed(service: WebAddress, body: bytes, study: str) -> Iterator[str]:
    """Yield the instances of an answer in the DICOM JSON Model (PS3.18 F.2)."""
    if not body:
        return
    try:
        items: Any = json.loads(body)
        answers = [Attributes.of_json(item) for item in items if isinstance(items, list)]
    except (ValueError, RecursionError, TypeError, DataSetInvalid) as error:
        raise SourceAnswerInvalid(f"{service} does not answer in the DICOM JSON Model") from error
    for answer in answers:
        checked_study(answer.value(_STUDY), study)
        yield answer.value(_INSTANCE)
