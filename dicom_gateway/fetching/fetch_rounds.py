"""Fetching of one gateway: the fetcher, and the loop that has it look for what is due."""

from __future__ import annotations

import threading
from random import SystemRandom

from dicom_gateway.fetching.clients import SourceClients
from dicom_gateway.fetching.fetcher import Fetcher, FetchTerms
from dicom_gateway.inlets.inlet import Inlet
from dicom_gateway.loops import Loop
from dicom_gateway.premises import Premises

_LIST_SECONDS = 30.0
_SLOWEST_SECONDS = 5.0


class FetchRounds:
    """Fetches studies from sources; what these give over HTTP comes in through an inlet."""

    def __init__(self, premises: Premises, inlet: Inlet) -> None:
        settings, fetch_now = premises.settings, threading.Event()
        clients = SourceClients(settings.aet, max(settings.source_seconds, _LIST_SECONDS), premises.tls, inlet)
        terms = FetchTerms(premises.process_id, premises.clock, SystemRandom().random)
        self._fetcher = Fetcher(premises.database, clients.client, terms, on_free=fetch_now.set)
        self.loop = Loop("fetching", self._fetcher.run_due, seconds=_SLOWEST_SECONDS, woken=fetch_now)

    def close(self) -> None:
        """Begin nothing more, and give up what is under way."""
        self._fetcher.close()

    def join(self, seconds: float) -> None:
        """Wait for what is under way."""
        self._fetcher.join(seconds)
