"""The relay: hand committed jobs to the broker, take back those whose worker is gone, notice lost messages.

It holds no state: a second relay, or none for an hour, loses nothing. A message too many ends quietly in the task.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import structlog

from storage import job_messages, jobs, processes
from storage.changes import Changes
from storage.database import Database, utc_now
from storage.domain import Lane
from storage.errors import DatabaseUnavailable
from storage.fewshot import fit_requests
from workers.config import WorkerSettings
from workers.errors import BrokerUnavailable
from workers.queue.app import DEFAULT_POOL
from workers.queue.publisher import FIT_LANE, Publisher

_CHORES_SECONDS = 5.0
_EARLY_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 15.0

log = structlog.get_logger(__name__)


class Relay:
    """One relay process; ``run`` goes on until ``stop`` is set."""

    def __init__(self, database: Database, publisher: Publisher, settings: WorkerSettings, *, process_id: str) -> None:
        self._database = database
        self._publisher = publisher
        self._settings = settings
        self._process_id = process_id
        self._registered = False
        self._beat_due = 0.0

    def run(self, stop: threading.Event) -> None:
        """Do rounds until told to stop: at each commit, and now and then in full; what is down is waited for."""
        changes = Changes(self._database, poll_seconds=self._settings.relay_seconds)
        failures, chores_due = 0, 0.0
        while not stop.is_set():
            steps: tuple[Callable[[], object], ...] = (self.publish,)
            if time.monotonic() >= chores_due:
                chores_due = time.monotonic() + _CHORES_SECONDS
                steps = (self._beat, self.reclaim, self.recover, self.publish)
            if self._all_done(steps):
                failures = 0
                changes.wait(stop, chores_due - time.monotonic())
            else:
                failures += 1
                stop.wait(min(self._settings.relay_seconds * 2 ** min(failures, 10), _LONGEST_PAUSE_SECONDS))
        changes.close()
        self._all_done((self._leave,))
        self._publisher.close()

    def publish(self) -> int:
        """Send a message for each job and each fit request that is due; return how many.

        The message is sent before the commit: a worker that is faster than the commit waits for the row, and a crash
        in between costs one message too many instead of one too few.
        """
        with self._database.read() as session:
            now = utc_now()
            due = job_messages.publishable(session, served=processes.served(session, now=now), now=now)
        for job in due:
            with self._database.write() as session:
                if job_messages.published(session, job.id, now=utc_now()):
                    self._publisher.publish(job.id, job.lane, pool=job.pool)
                    log.info("job.published", job=job.id, lane=job.lane.value, pool=job.pool)
        return len(due) + self._publish_fits()

    def _publish_fits(self) -> int:
        with self._database.read() as session:
            due = fit_requests.publishable(session)
        for request_id in due:
            with self._database.write() as session:
                if fit_requests.published(session, request_id, now=utc_now()):
                    self._publisher.publish_fit(request_id)
                    log.info("fit_request.published", request=request_id)
        return len(due)

    def reclaim(self) -> int:
        """Take back jobs and fit requests whose lease ran out; return how many."""
        with self._database.write() as session:
            taken = jobs.reclaim_expired(session, now=utc_now())
            left = fit_requests.reclaim_expired(session, now=utc_now())
        for job_id in taken:
            log.warning("job.lease_expired", job=job_id)
        for request_id in left:
            log.warning("fit_request.lease_expired", request=request_id)
        return len(taken) + len(left)

    def recover(self) -> int:
        """Mark jobs and fit requests for publishing again whose messages the broker lost; return how many.

        Where Redis forgot everything, all of them; where a lane's queue is empty, those that have waited too long.
        """
        forgotten = self._publisher.has_forgotten()
        with self._database.read() as session:
            lanes = set(job_messages.lanes_with_messages(session))
            lanes |= {(DEFAULT_POOL, FIT_LANE)} if fit_requests.has_messages(session) else set()
        marked = sum(self._recover_lane(pool, lane, forgotten=forgotten) for pool, lane in sorted(lanes))
        if forgotten:
            # Only now: a crash between two lanes would leave the second one's messages lost and nobody to notice.
            self._publisher.remember()
        return marked

    def _recover_lane(self, pool: str, lane: Lane, *, forgotten: bool) -> int:
        if not forgotten and not self._publisher.is_empty(lane, pool=pool):
            return 0
        older_than = timedelta(seconds=0 if forgotten else self._settings.republish_seconds)
        with self._database.write() as session:
            lost = job_messages.republish_lost(session, pool, lane, older_than=older_than, now=utc_now())
            if (pool, lane) == (DEFAULT_POOL, FIT_LANE):
                lost += fit_requests.republish_lost(session, older_than=older_than, now=utc_now())
        if lost:
            log.warning("job.message_lost", pool=pool, lane=lane.value, messages=lost, forgotten=forgotten)
        return lost

    def _beat(self) -> None:
        """Say that the relay is at work, as often as others do: each commit has every process look for work."""
        if time.monotonic() < self._beat_due:
            return
        with self._database.write() as session:
            if self._registered:
                processes.beat(session, self._process_id, now=utc_now())
            else:
                processes.start(session, self._process_id, "relay", now=utc_now())
        self._registered = True
        self._beat_due = time.monotonic() + processes.BEAT_SECONDS - _EARLY_SECONDS

    def _leave(self) -> None:
        with self._database.write() as session:
            processes.stop(session, self._process_id, now=utc_now())

    def _all_done(self, steps: tuple[Callable[[], object], ...]) -> bool:
        """Do every step, also those behind one that has to wait; return whether none had to."""
        done = 0
        for step in steps:
            try:
                step()
            except (BrokerUnavailable, DatabaseUnavailable) as error:
                log.warning("relay.waiting", code=error.code, reason=str(error))
            else:
                done += 1
        return done == len(steps)
