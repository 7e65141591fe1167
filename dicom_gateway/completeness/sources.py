"""Where studies come from, and how many images these sources hold of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

import structlog
from sqlalchemy.orm import Session

from dicom_gateway.asking.counts import SourceCount, images
from dicom_gateway.asking.find import count_by_find
from dicom_gateway.asking.qido import count_by_qido
from dicom_gateway.asking.web_client import WebClient
from dicom_gateway.destinations import WebAddress, parse_address
from dicom_gateway.errors import SourceSilent, StudyUnknownToSource
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage import arrival_gaps
from storage.errors import OncueError
from storage.study_arrivals import SourceAnswer

_LEFT_ALONE_SECONDS = 30.0

logger = structlog.get_logger(__name__)

QueryAddress: TypeAlias = Callable[[Session, str], str | None]
"""Returns where the peer of a calling AE title answers queries, None where that is not known.

That is ``AET@HOST:PORT`` or ``tls://AET@HOST:PORT``, or the ``https://`` or ``http://`` address of its QIDO-RS service.
"""


def no_address(session: Session, calling_aet: str) -> None:
    """Know of no source that could be asked."""
    del session, calling_aet


class Sources:
    """Asks sources for their counts; one that does not answer is left alone for half a minute."""

    def __init__(
        self, query_address: QueryAddress, *, calling_aet: str, seconds: float, tls: DestinationTls | None = None
    ) -> None:
        """``seconds`` bound one question to one source."""
        self._query_address = query_address
        self._calling_aet = calling_aet
        self._seconds = seconds
        self._tls = tls
        self._silent_until: dict[str, float] = {}
        self._told: dict[str, str] = {}

    def addresses(self, session: Session, study_id: int) -> tuple[str, ...]:
        """Return where the senders of a study answer queries."""
        if self._query_address is no_address:
            return ()
        titles = sorted({calling_aet for calling_aet, _ in arrival_gaps.senders_of(session, study_id)})
        found = (self._query_address(session, title) for title in titles)
        return tuple(dict.fromkeys(address for address in found if address))

    def answer(self, addresses: Sequence[str], study_instance_uid: str, *, own: frozenset[str]) -> SourceAnswer:
        """Ask all sources of a study; ``own`` are the series that oncue wrote. Never raises: the code says what failed.

        Where one of several does not answer, the others' number stands, with that code beside it.
        """
        counts: list[SourceCount] = []
        code: str | None = None
        for address in addresses:
            try:
                counts.append(self._count(address, study_instance_uid))
            except OncueError as error:
                code = error.code
        return SourceAnswer(images(counts, without=own) if counts else None, code)

    def _count(self, address: str, study_instance_uid: str) -> SourceCount:
        if time.monotonic() < self._silent_until.get(address, 0.0):
            raise SourceSilent(f"{address} did not answer lately")
        try:
            counted = self._asked(address, study_instance_uid)
        except StudyUnknownToSource:
            raise
        except OncueError as error:
            if isinstance(error, SourceSilent):
                self._silent_until[address] = time.monotonic() + _LEFT_ALONE_SECONDS
            self._tell(address, error)
            raise
        self._told.pop(address, None)
        return counted

    def _tell(self, address: str, error: OncueError) -> None:
        """Log why a source does not count its images, once until it does so again or fails otherwise."""
        if self._told.get(address) != error.code:
            self._told[address] = error.code
            logger.warning("source.not_counted", source=address, code=error.code, reason=str(error))

    def _asked(self, address: str, study_instance_uid: str) -> SourceCount:
        source = parse_address(address)
        if isinstance(source, WebAddress):
            return count_by_qido(WebClient(source, tls=self._tls), study_instance_uid, seconds=self._seconds)
        return count_by_find(
            source, study_instance_uid, calling_aet=self._calling_aet, seconds=self._seconds, tls=self._tls
        )
