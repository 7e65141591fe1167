"""Announcing of one gateway: the announcer, and the loop that has it look for what is due."""

from __future__ import annotations

import threading
from random import SystemRandom

from dicom_gateway.announcing.announcer import Announcer, AnnouncingTerms
from dicom_gateway.announcing.senders import Senders
from dicom_gateway.loops import Loop
from dicom_gateway.premises import Premises


class AnnouncementRounds:
    """Tells channels of urgent studies."""

    def __init__(self, premises: Premises) -> None:
        settings, announce_now = premises.settings, threading.Event()
        self._announcer = Announcer(
            premises.database, premises.objects, _terms(premises), Senders(premises.tls), on_free=announce_now.set
        )
        seconds = settings.announcing_poll_seconds
        self.loop = Loop("announcements", self._announcer.send_due, seconds=seconds, woken=announce_now)

    def close(self) -> None:
        """Begin no more messages."""
        self._announcer.close()

    def join(self, seconds: float) -> None:
        """Wait for messages under way."""
        self._announcer.join(seconds)


def _terms(premises: Premises) -> AnnouncingTerms:
    settings = premises.settings
    return AnnouncingTerms(
        owner=premises.process_id,
        lease_seconds=settings.announcing_lease_seconds,
        seconds=settings.announcing_seconds,
        console_url=settings.announcing_console_url,
        clock=premises.clock,
        draw=SystemRandom().random,
    )
