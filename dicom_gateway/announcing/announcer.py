"""Bring announcements to their channels: one message at a time for each, channels beside one another.

A message has a thread while it is on its way, so that a receiver that hangs holds up no other.
"""

from __future__ import annotations

import functools
import itertools
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import structlog

from dicom_gateway.announcing import facts
from dicom_gateway.announcing.announcement import Announcement, Answer, Channel, Sender, Verdict
from dicom_gateway.announcing.options import kept_options
from dicom_gateway.announcing.patient import PatientSource, patient_source, read_patient
from dicom_gateway.announcing.secrets import read_secret
from dicom_gateway.sending.batch_threads import BatchThreads
from storage.announcing import announcements, channels, claims, escalating, escalations
from storage.announcing.announcements import Failure
from storage.announcing.channels import ChannelEntry
from storage.announcing.claims import Claim
from storage.announcing.tables import ChannelKind
from storage.backoff import Draw
from storage.database import Database
from storage.errors import OncueError
from storage.objects import ObjectStore

_MOST_AT_ONCE = 16
_RENEWALS_PER_LEASE = 3
_UNEXPECTED = "unexpected_error"
_LONGEST_REASON = 500
_FRAMES_TOLD = 8

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AnnouncingTerms:
    """How announcements are sent: under whose name, how long a receiver is waited for, by which clock.

    ``lease_seconds`` is after how much silence another process takes over. ``console_url`` is where the console's pages
    are, None where messages are to hold no link.
    """

    owner: str
    lease_seconds: float
    seconds: float
    console_url: str | None
    clock: Callable[[], datetime]
    draw: Draw


@dataclass(frozen=True, slots=True)
class _Message:
    """A claim with all that is to be said, and where the patients are found that may be named."""

    claim: Claim
    said: tuple[Announcement, ...]
    patients: tuple[PatientSource, ...]


class Announcer:
    """Opens escalations that are due, and sends what waits. ``on_free`` is called when a channel is free again."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        terms: AnnouncingTerms,
        sender_of: Callable[[ChannelKind], Sender],
        *,
        on_free: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._objects = objects
        self._terms = terms
        self._sender_of = sender_of
        self._on_free = on_free
        self._numbers = itertools.count(1)
        self._threads = BatchThreads("announcement")
        self._under_way: dict[str, str] = {}
        self._one_ended = threading.Condition()
        self._closed = False

    def send_due(self) -> float | None:
        """Begin the messages that are due; return in how many seconds there is something to do that nobody tells of."""
        if self._closed:
            return None
        if not self._prepare():
            return None
        with self._database.read() as session:
            now = self._terms.clock()
            waiting = claims.waiting(session, now=now)
            escalation = escalations.due_at(session, now=now)
        for one in waiting:
            if one.due_at <= now:
                self._begin(one.name)
        with self._one_ended:
            busy = frozenset(self._under_way)
        moments = [one.due_at for one in waiting if one.name not in busy]
        pauses = [(moment - now).total_seconds() for moment in (*moments, *([escalation] if escalation else []))]
        pauses += [self._terms.lease_seconds / _RENEWALS_PER_LEASE] if busy else []
        # What is due and was not begun waits for a thread or another process: not to be asked for again at once.
        return min((max(pause, 1.0) for pause in pauses), default=None)

    def close(self) -> None:
        """Begin no more messages; those under way go on."""
        with self._one_ended:
            self._closed = True
            self._threads.close()

    def join(self, seconds: float) -> None:
        """Wait for messages under way; what a receiver holds on to is sent again once the lease has run out."""
        with self._one_ended:
            self._one_ended.wait_for(lambda: not self._under_way, seconds)

    def _prepare(self) -> bool:
        """Renew leases, take over what others lost, and open escalations; False where there are no channels."""
        with self._database.read() as session:
            now = self._terms.clock()
            if not channels.entries(session):
                return False
            has_lost, escalation = claims.has_lost(session, now=now), escalations.due_at(session, now=now)
        with self._one_ended:
            owners = tuple(self._under_way.values())
        if owners or has_lost:
            with self._database.write() as session:
                claims.renew(session, owners, lease_seconds=self._terms.lease_seconds, now=self._terms.clock())
                claims.release_lost(session, now=self._terms.clock())
        if escalation is not None and escalation <= now:
            self._escalate()
        return True

    def _escalate(self) -> None:
        looked_at = 1
        while looked_at:
            with self._database.write() as session:
                looked_at = escalating.open_due(session, now=self._terms.clock())

    def _begin(self, name: str) -> None:
        with self._one_ended:
            if self._closed or name in self._under_way or len(self._under_way) >= _MOST_AT_ONCE:
                return
            owner = f"{self._terms.owner}/{next(self._numbers)}"
            self._under_way[name] = owner
            self._threads.run(functools.partial(self._serve, name, owner))

    def _serve(self, name: str, owner: str) -> None:
        """Send one message of a channel, and have the next one looked for."""
        message = None
        try:
            message = self._claim(name, owner)
            if message is not None:
                self._settle(message.claim, self._send(message))
        except OncueError as error:
            logger.warning("announcement.not_recorded", channel=name, code=error.code)
        except Exception:  # edge: the lease brings the message back
            logger.exception("announcement.failed", channel=name, code=_UNEXPECTED)
        finally:
            with self._one_ended:
                del self._under_way[name]
                self._one_ended.notify_all()
            if message is not None:
                self._on_free()

    def _claim(self, name: str, owner: str) -> _Message | None:
        with self._database.write() as session:
            claim = claims.claim(
                session, name, owner=owner, lease_seconds=self._terms.lease_seconds, now=self._terms.clock()
            )
            if claim is None:
                return None
            url = self._terms.console_url
            said = tuple(facts.announcement(session, one, console_url=url) for one in claim.announcements)
            named = claim.announcements if claim.channel.patient_data else ()
            return _Message(claim, said, tuple(patient_source(session, one) for one in named))

    def _send(self, message: _Message) -> Answer:
        """Send a message; whatever goes wrong is an answer."""
        entry = message.claim.channel
        try:
            channel = ready_channel(entry, seconds=self._terms.seconds)
            said = self._with_patients(message)
        except OncueError as error:
            return Answer(Verdict.FAILED, error.code, str(error), reached=False)
        try:
            return self._sender_of(entry.kind).send(channel, said, message.claim.group_key)
        except OncueError as error:
            return Answer(Verdict.FAILED, error.code, str(error))
        except Exception as error:  # noqa: BLE001 - edge: a message that breaks a library must not stop the others
            if _is_first_attempt(message.claim):
                logger.warning("announcement.failed", channel=entry.name, code=_UNEXPECTED, **_place_of(error))
            return Answer(Verdict.FAILED, _UNEXPECTED, type(error).__name__)

    def _with_patients(self, message: _Message) -> Sequence[Announcement]:
        if not message.patients:
            return message.said
        concerned = [read_patient(source, self._objects) for source in message.patients]
        return [
            replace(one, patient=found.patient, accession_number=found.accession_number)
            for one, found in zip(message.said, concerned, strict=True)
        ]

    def _settle(self, claim: Claim, answer: Answer) -> None:
        now = self._terms.clock()
        code, reason = answer.code or answer.verdict.value, answer.reason[:_LONGEST_REASON]
        failure = Failure(code, reason, answer.reached, answer.retry_after)
        with self._database.write() as session:
            if answer.verdict is Verdict.TAKEN:
                announcements.sent(session, claim, remark=reason or None, now=now)
            elif answer.verdict is Verdict.REFUSED:
                announcements.refused(session, claim, failure, now=now)
            else:
                announcements.failed(session, claim, failure, draw=self._terms.draw, now=now)
        self._log(claim, answer)

    def _log(self, claim: Claim, answer: Answer) -> None:
        """Tell the log of what is new: a receiver that is down for a week fails once."""
        about = {"channel": claim.channel.name, "announcements": len(claim.announcements)}
        if answer.verdict is Verdict.TAKEN:
            logger.info("announcement.sent", **about)
        elif answer.verdict is Verdict.REFUSED:
            logger.warning("announcement.refused", code=answer.code, reason=answer.reason[:_LONGEST_REASON], **about)
        elif _is_first_attempt(claim) and answer.code != _UNEXPECTED:
            logger.warning("announcement.postponed", code=answer.code, reason=answer.reason[:_LONGEST_REASON], **about)


def _is_first_attempt(claim: Claim) -> bool:
    return all(one.attempts == 0 for one in claim.announcements)


def _place_of(error: Exception) -> dict[str, str]:
    """Return what broke, and where in which file; a library's words may repeat the patient that it was given."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_TOLD:]
    return {
        "error": type(error).__name__,
        "place": " > ".join(f"{Path(one.filename).name}:{one.lineno}" for one in frames),
    }


def ready_channel(entry: ChannelEntry, *, seconds: float) -> Channel:
    """Return a channel with its options and its secret; FileUnusable where that cannot be read."""
    return Channel(
        name=entry.name,
        kind=entry.kind,
        address=entry.address,
        patient_data=entry.patient_data,
        private_network=entry.private_network,
        options=kept_options(entry.kind, entry.options),
        secret=None if entry.credentials is None else read_secret(Path(entry.credentials)),
        seconds=seconds,
    )
