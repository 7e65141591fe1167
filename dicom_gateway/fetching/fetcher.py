"""The loop that asks sources for studies, waits until they grow no more, and has them come."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from dicom_gateway.errors import FetchInterrupted, GatewayError, StudyUnknownToSource
from dicom_gateway.fetching import priors
from dicom_gateway.fetching.source_client import SourceClient
from storage.backoff import Draw
from storage.database import Database
from storage.errors import ConfigurationError, LeaseLost, OncueError, StorageError
from storage.fetching import arrivals, claims, sources, studies
from storage.fetching.sources import FetchSource, RecordedSource
from storage.fetching.studies import FetchedStudy, OfferedStudy
from storage.fetching.transitions import ACTOR

LEASE_SECONDS = 300.0
_ASKING_SECONDS = 120.0
"""How long nobody else asks a source that is being asked."""
_AT_ONCE = 50
_REGISTERED_SECONDS = 20.0
_LOOK_SECONDS = 0.25

Clients = Callable[[FetchSource], SourceClient]

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FetchTerms:
    """Who fetches, and by which clock."""

    owner: str
    clock: Callable[[], datetime]
    draw: Draw
    lease_seconds: float = LEASE_SECONDS


class Fetcher:
    """Fetches from each source in a thread of its own; ``on_free`` is called when one of them has ended."""

    def __init__(
        self, database: Database, clients: Clients, terms: FetchTerms, *, on_free: Callable[[], None] = lambda: None
    ) -> None:
        self._database = database
        self._clients = clients
        self._terms = terms
        self._on_free = on_free
        self._stopping = threading.Event()
        self._threads: dict[str, threading.Thread] = {}

    def run_due(self) -> float | None:
        """Have every source asked and fetched from where something is due, each beside the others."""
        with self._database.read() as session:
            known, is_under_way = sources.listed(session), claims.is_under_way(session)
        if is_under_way:
            self._take_over()
        self._threads = {name: thread for name, thread in self._threads.items() if thread.is_alive()}
        for source in known:
            if not source.entry.paused and source.entry.name not in self._threads:
                self._begin(source)
        return None

    def _take_over(self) -> None:
        with self._database.write() as session:
            lost = claims.release_lost(session, now=self._terms.clock())
        if lost:
            logger.warning("fetching.taken_over", code="fetcher_lost", studies=lost)

    def close(self) -> None:
        """Begin nothing more, and give up what is under way at its next sign of life."""
        self._stopping.set()

    def join(self, seconds: float) -> None:
        """Wait for what is under way."""
        for thread in self._threads.values():
            thread.join(seconds)

    def _begin(self, source: RecordedSource) -> None:
        if not self._has_work(source):
            return
        thread = threading.Thread(target=self._work, args=(source,), name=f"fetch-{source.entry.name}", daemon=True)
        self._threads[source.entry.name] = thread
        thread.start()

    def _has_work(self, source: RecordedSource) -> bool:
        now, entry = self._terms.clock(), source.entry
        if source.next_ask_at is not None and source.next_ask_at <= now:
            return True
        with self._database.read() as session:
            if source.failures and source.next_ask_at is not None:
                return False
            if entry.priors is not None and arrivals.arrived_after(session, source.priors_after):
                return True
            is_free = claims.free_at(session, entry, now=now) <= now
            return bool(studies.settling(session, entry.name, now=now, limit=1)) or (
                is_free and claims.has_due(session, entry.name, now=now)
            )

    def _work(self, source: RecordedSource) -> None:
        """Ask one source what is due to be asked, then fetch what is due to come."""
        try:
            client = self._clients(source.entry)
            self._ask(source, client)
            self._look_for_priors(source, client)
            self._settle(source.entry, client)
            while not self._stopping.is_set() and self._fetch_next(source.entry, client):
                pass
        except (GatewayError, ConfigurationError) as error:
            self._left_alone(source.entry, error)
        except StorageError as error:
            logger.warning("fetching.failed", code=error.code, source=source.entry.name)
        except Exception:  # edge: a fault with one source must not end the others
            logger.exception("fetching.failed", code="unexpected_error", source=source.entry.name)
        finally:
            self._on_free()

    def _ask(self, source: RecordedSource, client: SourceClient) -> None:
        entry, now = source.entry, self._terms.clock()
        with self._database.write() as session:
            turn = sources.take_turn(session, entry.name, now=now, hold_seconds=_ASKING_SECONDS)
        if turn is None:
            return
        found = client.studies(entry.wanted.at(now))
        offers = [OfferedStudy(one.study_instance_uid, one.stated) for one in found]
        with self._database.write() as session:
            new = studies.note_offers(session, entry.name, offers, now=self._terms.clock())
            sources.answered(session, entry.name, turn=turn, now=self._terms.clock())
        logger.info("fetching.asked", source=entry.name, studies=len(offers), new=new)

    def _look_for_priors(self, source: RecordedSource, client: SourceClient) -> None:
        most = source.entry.priors
        if most is None:
            return
        with self._database.read() as session:
            found = arrivals.arrived_after(session, source.priors_after)
            wanted = {study.id for study in found if arrivals.wants_priors(session, study)}
        for study in found:
            earlier = []
            if study.id in wanted:
                arrived = priors.Arrived(study.study_instance_uid, study.study_date, study.modalities)
                earlier = priors.chosen(client.studies({"PatientID": study.patient_id}), arrived, most=most)
            with self._database.write() as session:
                for one in earlier:
                    if not studies.here(session, one.study_instance_uid):
                        uid, name, now = one.study_instance_uid, source.entry.name, self._terms.clock()
                        studies.want(session, name, uid, actor=ACTOR, now=now, is_prior=True)
                sources.priors_asked(session, source.entry.name, study.id)

    def _settle(self, entry: FetchSource, client: SourceClient) -> None:
        """Have each waiting study counted: it is due once its count stood still."""
        with self._database.read() as session:
            waiting = studies.settling(session, entry.name, now=self._terms.clock(), limit=_AT_ONCE)
        for study in waiting:
            if self._stopping.is_set():
                return
            try:
                number = self._counted(study, client)
            except StudyUnknownToSource as error:
                with self._database.write() as session:
                    now = self._terms.clock()
                    studies.not_counted(session, study.id, error.code, str(error), draw=self._terms.draw, now=now)
                continue
            with self._database.write() as session:
                if number is None:
                    studies.only_ours(session, study.id, now=self._terms.clock())
                    continue
                seconds = 0.0 if study.asked_by != ACTOR else entry.settle_seconds
                studies.counted(session, study.id, number, settle_seconds=seconds, now=self._terms.clock())

    def _counted(self, study: FetchedStudy, client: SourceClient) -> int | None:
        """Return how many instances are not ours, None where every series is."""
        with self._database.read() as session:
            own = studies.own_series(session, study.study_instance_uid)
        count = client.count(study.study_instance_uid)
        others = [one.instances or 0 for uid, one in count.items() if uid not in own]
        return sum(others) if others else None

    def _fetch_next(self, entry: FetchSource, client: SourceClient) -> bool:
        """Fetch the next study that is due; say whether there was one."""
        owner, lease = self._terms.owner, self._terms.lease_seconds
        with self._database.write() as session:
            study = claims.claim(session, entry, owner=owner, lease_seconds=lease, now=self._terms.clock())
        if study is None:
            return False
        try:
            if not self._is_here(study):
                client.fetch(study.study_instance_uid, on_progress=_Heartbeat(self, study))
            self._conclude(study)
        except LeaseLost as error:
            logger.warning("fetching.lost", code=error.code, source=entry.name)
        except OncueError as error:
            self._failed(study, error.code, str(error))
            logger.warning("fetching.failed", code=error.code, source=entry.name, attempt=study.attempts)
        return True

    def _conclude(self, study: FetchedStudy) -> None:
        """Say that a study is here, or how much of it is missing, once what came is on record."""
        deadline = _REGISTERED_SECONDS
        while not self._is_here(study) and deadline > 0 and not self._stopping.wait(_LOOK_SECONDS):
            deadline -= _LOOK_SECONDS
        with self._database.write() as session:
            here, owner, now = studies.here(session, study.study_instance_uid), self._terms.owner, self._terms.clock()
            if study.instances is None or here >= study.instances:
                claims.came(session, study.id, owner, here=here, now=now)
                return
            reason = f"{here} of {study.instances} instances came; what came is kept, the rest is asked for again"
            claims.failed(session, study.id, owner, "fetched_in_part", reason, draw=self._terms.draw, now=now)

    def _is_here(self, study: FetchedStudy) -> bool:
        with self._database.read() as session:
            here = studies.here(session, study.study_instance_uid)
        return study.instances is not None and here >= study.instances > 0

    def _failed(self, study: FetchedStudy, code: str, reason: str) -> None:
        with self._database.write() as session:
            now = self._terms.clock()
            claims.failed(session, study.id, self._terms.owner, code, reason, draw=self._terms.draw, now=now)

    def _left_alone(self, entry: FetchSource, error: OncueError) -> None:
        logger.warning("fetching.source_silent", code=error.code, source=entry.name, reason=str(error))
        with self._database.write() as session:
            now = self._terms.clock()
            sources.silent(session, entry.name, error.code, str(error), draw=self._terms.draw, now=now)

    def beat(self, study: FetchedStudy, last: datetime) -> datetime:
        """Hold a study's lease while it comes; FetchInterrupted where this gateway ends."""
        now = self._terms.clock()
        if self._stopping.is_set():
            raise FetchInterrupted("the gateway stops; the study is fetched again later")
        if (now - last).total_seconds() < self._terms.lease_seconds / 10:
            return last
        with self._database.write() as session:
            owner, lease = self._terms.owner, self._terms.lease_seconds
            claims.renew(session, study.id, owner, lease_seconds=lease, now=now)
        return now


class _Heartbeat:
    """Called whenever something came of a study: renews its lease now and then."""

    def __init__(self, fetcher: Fetcher, study: FetchedStudy) -> None:
        self._fetcher = fetcher
        self._study = study
        self._last = study.counted_at

    def __call__(self) -> None:
        self._last = self._fetcher.beat(self._study, self._last)
