"""The relay: hand committed jobs to the broker, take back those whose worker is gone, notice lost messages.

It holds no state: a second relay, or none for an hour, loses nothing. A message too many ends quietly in the task.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import structlog

from storage import jobs, processes
from storage.database import Database, utc_now
from storage.domain import Lane
from storage.errors import DatabaseUnavailable
from storage.fewshot import fit_requests
from workers.config import WorkerSettings
from workers.errors import BrokerUnavailable
from workers.queue.publisher import FIT_LANE, Publisher

_SLOW_SECONDS = 2.0
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

    def run(self, stop: threading.Event) -> None:
        """Do rounds until told to stop; whatever is down is waited for, ever more patiently."""
        failures, slow_due = 0, 0.0
        while not stop.is_set():
            slow = slow_due <= 0
            fine = (
                all([self._tried(self._beat), self._tried(self.reclaim), self._tried(self.recover)]) if slow else True
            )
            fine = self._tried(self.publish) and fine
            failures = 0 if fine else failures + 1
            pause = min(self._settings.relay_seconds * 2 ** min(failures, 10), _LONGEST_PAUSE_SECONDS)
            slow_due = (_SLOW_SECONDS if slow else slow_due) - pause
            stop.wait(pause)
        self._tried(self._leave)
        self._publisher.close()

    def publish(self) -> int:
        """Send a message for each job and each fit request that is due; return how many.

        The message is sent before the commit: a worker that is faster than the commit waits for the row, and a crash
        in between costs one message too many instead of one too few.
        """
        with self._database.read() as session:
            due = jobs.publishable(session, now=utc_now())
        for job_id, lane in due:
            with self._database.write() as session:
                if jobs.published(session, job_id, now=utc_now()):
                    self._publisher.publish(job_id, lane)
                    log.info("job:published", job=job_id, lane=lane.value)
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
            log.warning("job:lease-expired", job=job_id)
        for request_id in left:
            log.warning("fit_request.lease_expired", request=request_id)
        return len(taken) + len(left)

    def recover(self) -> int:
        """Mark jobs and fit requests for publishing again whose messages the broker lost; return how many.

        Where Redis forgot everything, all of them; where a lane's queue is empty, those that have waited too long.
        """
        forgotten = self._publisher.has_forgotten()
        return sum(self._recover_lane(lane, forgotten=forgotten) for lane in Lane)

    def _recover_lane(self, lane: Lane, *, forgotten: bool) -> int:
        if not forgotten and not self._publisher.is_empty(lane):
            return 0
        older_than = timedelta(seconds=0 if forgotten else self._settings.republish_seconds)
        with self._database.write() as session:
            lost = jobs.republish_lost(session, lane, older_than=older_than, now=utc_now())
            if lane is FIT_LANE:
                lost += fit_requests.republish_lost(session, older_than=older_than, now=utc_now())
        if lost:
            log.warning("job:message-lost", lane=lane.value, jobs=lost, forgotten=forgotten)
        return lost

    def _beat(self) -> None:
        with self._database.write() as session:
            if self._registered:
                processes.beat(session, self._process_id, now=utc_now())
            else:
                processes.start(session, self._process_id, "relay", now=utc_now())
        self._registered = True

    def _leave(self) -> None:
        with self._database.write() as session:
            processes.stop(session, self._process_id, now=utc_now())

    def _tried(self, step: Callable[[], object]) -> bool:
        try:
            step()
        except (BrokerUnavailable, DatabaseUnavailable) as error:
            log.warning("relay:waiting", code=error.code, reason=str(error))
            return False
        return True
