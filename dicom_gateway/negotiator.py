"""Find out what each destination takes, before anything is written for it: beside all other work, and once a day.

Each destination is asked in a thread of its own, outside any transaction: one that hangs holds up nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import structlog

from dicom_gateway.receivers import of_entry
from dicom_gateway.sending.negotiation import Question
from storage import destinations, form_refusals, negotiations
from storage.database import Database
from storage.destinations import DestinationEntry
from storage.errors import OncueError
from storage.negotiations import Negotiation

_AT_ONCE = 16

logger = structlog.get_logger(__name__)


class Negotiator:
    """Asks destinations what they take, and keeps what they say."""

    def __init__(self, database: Database, question: Question, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._question = question
        self._clock = clock
        self._asking: dict[str, float] = {}
        """When each question began, by the name of its destination."""
        self._answered = threading.Condition()

    def ask_due(self) -> None:
        """Begin to ask every destination that was not asked for a day, or did not answer a minute ago."""
        with self._database.read() as session:
            entries = destinations.entries(session)
            known = negotiations.all_known(session)
        now = self._clock()
        for entry in entries:
            if not entry.paused and known.get(entry.name, Negotiation(entry.name)).is_due(now):
                self._begin(entry)

    def known(self, entries: Sequence[DestinationEntry], *, wait_seconds: float) -> Mapping[str, Negotiation]:
        """Return what is known of some destinations; those that were never asked are asked first.

        They are waited for all together, and no longer than ``wait_seconds`` after each was asked: who has not answered
        by then is left out, and holds up no later call.
        """
        found = self._read(entries)
        new = [entry for entry in entries if entry.name not in found and not entry.paused]
        if not new:
            return found
        for entry in new:
            self._begin(entry)
        names = {entry.name for entry in new}
        with self._answered:
            while began := [moment for name, moment in self._asking.items() if name in names]:
                left = max(began) + wait_seconds - time.monotonic()
                if left <= 0:
                    break
                self._answered.wait(left)
        return self._read(entries)

    def _read(self, entries: Sequence[DestinationEntry]) -> Mapping[str, Negotiation]:
        names = {entry.name for entry in entries}
        with self._database.read() as session:
            known = negotiations.all_known(session)
        return {name: one for name, one in known.items() if name in names}

    def _begin(self, entry: DestinationEntry) -> None:
        with self._answered:
            if entry.name in self._asking or len(self._asking) >= _AT_ONCE:
                return
            self._asking[entry.name] = time.monotonic()
        # A daemon: a peer that hangs must not keep this process from ending.
        threading.Thread(target=self._ask, args=(entry,), name="negotiation", daemon=True).start()

    def _ask(self, entry: DestinationEntry) -> None:
        try:
            self._settle(entry)
        except OncueError as error:
            logger.warning("negotiation.not_recorded", destination=entry.name, code=error.code)
        except Exception:  # edge: it is asked again in the next round
            logger.exception("negotiation.failed", destination=entry.name, code="unexpected_error")
        finally:
            with self._answered:
                del self._asking[entry.name]
                self._answered.notify_all()

    def _settle(self, entry: DestinationEntry) -> None:
        try:
            receiver = of_entry(entry)
            taken = self._question.ask(receiver.address, credentials=receiver.credentials)
        except OncueError as error:
            self._unanswered(entry, error)
            return
        with self._database.write() as session:
            if not _stands(destinations.entries(session), entry):
                return
            negotiations.answered(session, entry.name, taken, now=self._clock())
            reopened = form_refusals.replan_untaken_forms(session, entry.name, now=self._clock())
        logger.info("negotiation.answered", destination=entry.name, reopened=len(reopened))

    def _unanswered(self, entry: DestinationEntry, error: OncueError) -> None:
        with self._database.write() as session:
            if not _stands(destinations.entries(session), entry):
                return
            is_news = negotiations.find(session, entry.name).code != error.code
            negotiations.unanswered(session, entry.name, code=error.code, now=self._clock())
        if is_news:
            logger.warning("negotiation.unanswered", destination=entry.name, code=error.code, reason=str(error))


def _stands(entries: Sequence[DestinationEntry], asked: DestinationEntry) -> bool:
    """Whether an entry is still there with the address that was asked."""
    return any((entry.name, entry.address) == (asked.name, asked.address) for entry in entries)
