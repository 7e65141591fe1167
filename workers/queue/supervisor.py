"""The parent process of a worker: it keeps one child at work and replaces it when it dies, hangs or falls silent.

It never imports a model: what the child loads, and whatever kills the child, stays in the child.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import structlog

from storage import audit, jobs, processes
from storage.database import utc_now
from storage.errors import DatabaseUnavailable, OncueError
from storage.fewshot import fit_requests
from workers.device_turns import Step
from workers.queue.child import WorkerPlace, consume
from workers.queue.signs_of_life import Occupant, SignsOfLife

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.context import SpawnProcess

_TICK_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30.0
_HOST_LENGTH = 24

log = structlog.get_logger(__name__)


class Fault(StrEnum):
    """Why a child is replaced although it is alive."""

    OVERDUE = "time_limit"
    SILENT = "not_polling"
    NOT_READY = "not_ready"


@dataclass(frozen=True, slots=True)
class WorkerChild:
    """One child process. ``owner`` is the name under which it holds leases, new for each child."""

    process: SpawnProcess
    owner: str
    signs: SignsOfLife
    refusals: Connection
    started: float


class Supervisor:
    """Runs one worker. ``broker_answers`` says whether the broker is up: a child is not to blame while it is down."""

    def __init__(self, place: WorkerPlace, *, broker_answers: Callable[[], bool]) -> None:
        self._place = place
        self._settings = place.workers
        self._database = place.open_database()
        self._broker_answers = broker_answers
        self._broker_seen_down = 0.0
        self._pending_release: list[tuple[str, frozenset[int]]] = []

    def run(self, stop: threading.Event) -> None:
        """Keep a child at work until ``stop`` is set, then let it finish its job within the grace period.

        A coded error that keeps the child from starting is raised where trying again cannot help, for example
        WeightsMismatch; jobs stay queued.
        """
        failures = 0
        while not stop.is_set():
            child = self._start()
            try:
                was_ready = self._watch(child, stop)
            finally:
                self._stop(child, graceful=stop.is_set())
            self._release()
            if not stop.is_set():
                refusal = _refusal(child)
                if refusal is not None:
                    self._note_refusal(child, refusal)
                    if not refusal.retryable:
                        raise refusal
                failures = 0 if was_ready else failures + 1
                stop.wait(min(2.0**failures - 1, _LONGEST_BACKOFF_SECONDS))
        self._database.dispose()

    def _start(self) -> WorkerChild:
        # Spawn, not fork: a forked child would inherit the parent's connections, and CUDA does not survive a fork.
        context = multiprocessing.get_context("spawn")
        owner = f"{socket.gethostname()[:_HOST_LENGTH]}-{uuid.uuid4().hex[:12]}"
        signs = SignsOfLife()
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=consume, args=(self._place, owner, signs, sender), name="oncue-worker")
        with _passive_threads():
            process.start()
        sender.close()
        log.info("worker.started", owner=owner, pid=process.pid)
        return WorkerChild(process, owner, signs, receiver, time.monotonic())

    def _watch(self, child: WorkerChild, stop: threading.Event) -> bool:
        """Watch a child until it ends, must be replaced or ``stop`` is set; return whether it ever was ready."""
        while not stop.is_set() and child.process.is_alive():
            fault = self._fault(child)
            if fault is not None:
                log.warning("worker.replaced", owner=child.owner, code=fault.value)
                break
            self._release()
            # Wakes up at once when the child ends; ``stop`` is seen within a tick.
            child.process.join(_TICK_SECONDS)
        return child.signs.is_ready

    def _fault(self, child: WorkerChild) -> Fault | None:
        now = time.monotonic()
        if not child.signs.is_ready:
            return Fault.NOT_READY if now - child.started > self._settings.load_seconds else None
        if child.signs.is_busy:
            return Fault.OVERDUE if any(map(self._is_overdue, child.signs.occupants)) else None
        if now - max(child.signs.last_sign, self._broker_seen_down) <= self._settings.silence_seconds:
            return None
        if not self._broker_answers():
            self._broker_seen_down = time.monotonic()
            return None
        return Fault.SILENT

    def _is_overdue(self, occupant: Occupant) -> bool:
        settings = self._settings
        limit = settings.fit_limit_seconds if occupant.job is None else settings.time_limit_seconds
        return occupant.seconds > limit

    def _stop(self, child: WorkerChild, *, graceful: bool) -> None:
        """End a child; a graceful end lets it finish its job within the grace period."""
        if graceful and child.process.is_alive():
            child.process.terminate()
            child.process.join(self._settings.grace_seconds)
        if child.process.is_alive():
            log.warning("worker.killed", owner=child.owner, graceful=graceful)
            child.process.kill()
        child.process.join()
        log.info("worker.ended", owner=child.owner, exit_code=child.process.exitcode)
        self._pending_release.append((child.owner, self._innocent(child)))

    def _innocent(self, child: WorkerChild) -> frozenset[int]:
        """Return the jobs that a dead child held and did not die of.

        Where one was overdue, the others; else those that waited, and so did nothing.
        """
        held = child.signs.occupants
        overdue = [one for one in held if self._is_overdue(one)]
        return frozenset(
            one.job
            for one in held
            if one.job is not None and (one not in overdue if overdue else one.step is Step.WAITING)
        )

    def _release(self) -> None:
        """Give back the jobs of dead children at once; while the database is down they are kept in mind."""
        while self._pending_release:
            owner, innocent = self._pending_release[0]
            try:
                with self._database.write() as session:
                    released = jobs.release_owner(session, owner, innocent=innocent, now=utc_now())
                    fit_requests.release_owner(session, owner, now=utc_now())
                    processes.stop(session, owner, now=utc_now())
            except DatabaseUnavailable as error:
                log.warning("worker.jobs_not_released", owner=owner, code=error.code)
                return
            self._pending_release.pop(0)
            for job_id in released:
                log.warning("job.released", job=job_id, owner=owner)

    def _note_refusal(self, child: WorkerChild, refusal: OncueError) -> None:
        """Log why a child refused to start, and record it where trying again cannot help."""
        log.warning("worker.refused", owner=child.owner, code=refusal.code, reason=str(refusal))
        if refusal.retryable:
            return
        try:
            with self._database.write() as session:
                audit.record(
                    session,
                    "process:refused",
                    f"process/{child.owner}",
                    actor=child.owner,
                    now=utc_now(),
                    details={"kind": "worker", "code": refusal.code, "reason": str(refusal)},
                )
        except DatabaseUnavailable as error:
            log.warning("worker.refusal_not_recorded", code=error.code)


def _refusal(child: WorkerChild) -> OncueError | None:
    try:
        error = child.refusals.recv() if child.refusals.poll() else None
    except (EOFError, OSError):
        return None
    return error if isinstance(error, OncueError) else None


@contextmanager
def _passive_threads() -> Iterator[None]:
    """Have the child's compute threads sleep while they wait: OpenMP reads this once, when it is loaded."""
    before = os.environ.get("OMP_WAIT_POLICY")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_WAIT_POLICY"]
