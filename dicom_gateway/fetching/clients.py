"""Which client speaks to a source: by its address and the way in which its images come."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dicom_gateway.asking.web_client import WebClient
from dicom_gateway.destinations import WebAddress, parse_address
from dicom_gateway.fetching.dimse_source import DimseSource
from dicom_gateway.fetching.retrieving import Retrieval
from dicom_gateway.fetching.source_client import SourceClient
from dicom_gateway.fetching.web_source import WebSource
from dicom_gateway.inlets.inlet import Inlet, Visitor
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.fetching.sources import FetchSource, FetchWay

_TITLE_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class SourceClients:
    """Makes clients. ``calling_aet`` is our title, to which C-MOVE sends; ``seconds`` bound each question."""

    calling_aet: str
    seconds: float
    tls: DestinationTls | None
    inlet: Inlet

    def client(self, source: FetchSource) -> SourceClient:
        """Return the client of a source; ConfigurationError where its address is none."""
        address = parse_address(source.address)
        if isinstance(address, WebAddress):
            visitor = Visitor(source.name[:_TITLE_CHARACTERS], self.calling_aet, address.host, source.lane)
            credentials = None if source.credentials is None else Path(source.credentials)
            return WebSource(WebClient(address, credentials, self.tls), self.seconds, self.inlet, visitor)
        visitor = Visitor(address.ae_title, self.calling_aet, address.host, source.lane)
        move_to = self.calling_aet if source.way is FetchWay.MOVE else None
        retrieval = Retrieval(address, self.calling_aet, move_to, self.inlet, visitor, self.tls)
        return DimseSource(address, self.calling_aet, self.seconds, self.tls, retrieval)
