"""The heartbeat of a running job: it pushes the lease out until the work ends or somebody else has taken over."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import structlog

from storage import jobs
from storage.database import Database, utc_now
from storage.errors import DatabaseUnavailable, LeaseLost

_BEATS_PER_LEASE = 4

log = structlog.get_logger(__name__)


class Heartbeat:
    """Extends one claim from a thread while the block runs. ``check`` raises LeaseLost once the claim is gone."""

    def __init__(self, database: Database, held: jobs.Claim, *, lease_seconds: float) -> None:
        self._database = database
        self._held = held
        self._lease_seconds = lease_seconds
        self._done = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat-{held.job_id}", daemon=True)

    def __enter__(self) -> Self:
        """Start beating."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop beating; the claim itself is ended by whoever writes the result."""
        self._done.set()
        self._thread.join()

    def check(self) -> None:
        """Raise LeaseLost where another worker holds the job by now: going on would be wasted."""
        if self._lost.is_set():
            raise LeaseLost(f"job {self._held.job_id} was taken over; this result is discarded")

    def _run(self) -> None:
        while not self._done.wait(self._lease_seconds / _BEATS_PER_LEASE):
            try:
                with self._database.write() as session:
                    jobs.extend_lease(session, self._held, lease_seconds=self._lease_seconds, now=utc_now())
            except LeaseLost:
                self._lost.set()
                return
            except DatabaseUnavailable as error:
                # The lease may outlast the outage; the token decides at the end either way.
                log.warning("job.lease_not_extended", job=self._held.job_id, code=error.code)
            except Exception:  # edge of the thread: an unforeseen fault in one beat must not end the others
                log.exception("job.lease_not_extended", job=self._held.job_id, code="unexpected_error")
