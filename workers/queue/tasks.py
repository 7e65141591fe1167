"""The task behind a message: claim the job, do the work under a lease, write the result or the reason it failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import structlog
from celery import Celery

from storage import analyses, arrays, job_lists, job_messages, jobs, processes
from storage.database import utc_now
from storage.domain import Analysis, Lane
from storage.errors import LeaseLost, OncueError, RecordMissing, StorageError
from storage.processes import Served
from workers.device_turns import DeviceTurns, Turn
from workers.errors import NoAnalyser, OutOfDeviceMemory, TaskNotPromoted, WeightsMismatch
from workers.pipeline import analyse
from workers.queue.app import ANALYSE, FIT
from workers.queue.company import BetterElsewhere, Company
from workers.queue.heartbeat import Heartbeat
from workers.queue.signs_of_life import SignsOfLife
from workers.resources import PipelineResources
from workers.stopwatch import Stopwatch

if TYPE_CHECKING:
    from workers.fewshot.fit_requests import FitRunner

INTERNAL_ERROR = "internal_error"
MODEL_GONE = "model-removed"
"""Why a job was handed back whose model left the record meanwhile."""

log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """What became of one message."""

    NOT_CLAIMED = "not-claimed"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    POSTPONED = "postponed"
    DISCARDED = "discarded"
    HANDED_BACK = "handed-back"


@dataclass(frozen=True, slots=True)
class JobRunner:
    """Works on jobs in the name of ``owner``; several threads may run one each, and take turns at the device."""

    resources: PipelineResources
    owner: str
    lease_seconds: float
    signs: SignsOfLife | None = None
    turns: DeviceTurns = field(default_factory=DeviceTurns)

    def run(self, job_id: int) -> Outcome:
        """Do one job if it is still to be done: a message that comes twice ends quietly the second time."""
        company = Company(self.resources.database, self.owner, self.turns)
        if not company.is_open(job_id) or not self._has_analyser(job_id):
            log.info("job.not_claimed", job=job_id)
            return Outcome.NOT_CLAIMED
        company.wait_until_wanted(job_id)
        alone = company.must_be_alone(job_id)
        with self.in_turn(job_id, alone=alone) as turn:
            outcome = self._claim_and_work(job_id, turn, company)
        if outcome is Outcome.HANDED_BACK:
            # Not before an idle worker has taken it, or this one would get its message again.
            company.wait_until_wanted(job_id)
        return outcome

    def _claim_and_work(self, job_id: int, turn: Turn, company: Company) -> Outcome:
        with self.resources.database.write() as session:
            held = jobs.claim(session, job_id, owner=self.owner, lease_seconds=self.lease_seconds, now=utc_now())
        if held is None:
            log.info("job.not_claimed", job=job_id)
            return Outcome.NOT_CLAIMED
        log.info("job.claimed", job=job_id, attempt=held.attempt)
        turn.rank = tuple(Lane).index(held.lane)
        return self._work(held, turn, company)

    def _has_analyser(self, job_id: int) -> bool:
        """Say whether this worker can do a job; the message of one that it cannot do is handed back."""
        with self.resources.database.read() as session:
            try:
                job = job_lists.find(session, job_id)
            except RecordMissing:
                return True
        serves = self.resources.serves
        if job.analyser in serves:
            return True
        with self.resources.database.write() as session:
            job_messages.hand_back(session, job_id, actor=self.owner, now=utc_now())
            # A model may be gone since the last beat: until the next one, its jobs would be sent here again and again.
            served = [Served(job.pool, name) for name in serves]
            processes.beat(session, self.owner, now=utc_now(), serves=served)
        log.warning("job.handed_back", job=job_id, analyser=job.analyser)
        return False

    def _work(self, held: jobs.Claim, turn: Turn, company: Company) -> Outcome:
        watch = Stopwatch()
        try:
            with Heartbeat(self.resources.database, held, lease_seconds=self.lease_seconds) as heartbeat:
                turn.on_wait = _each(heartbeat.check, lambda: company.look_around(held.job_id))
                analysis = analyse(self.resources, held, check=heartbeat.check, watch=watch, turn=turn)
                heartbeat.check()
                self._commit(held, analysis, watch)
        except LeaseLost as error:
            log.warning("job.discarded", job=held.job_id, code=error.code)
            return Outcome.DISCARDED
        except TaskNotPromoted as error:
            return self._postpone(held, error)
        except BetterElsewhere as better:
            return self._hand_back(held, better.reason.value)
        except OncueError as error:
            return self._end(held, error)
        except Exception as error:  # noqa: BLE001 - the process edge: a fault of ours must end as a failed attempt
            return self._fail_unexpected(held, error)
        log.info("job.succeeded", job=held.job_id, seconds=round(sum(t.seconds for t in watch.timings), 2))
        return Outcome.SUCCEEDED

    def _commit(self, held: jobs.Claim, analysis: Analysis, watch: Stopwatch) -> None:
        """Write the result; the stage «commit» is the grid's way to disk, for the row cannot hold its own time."""
        with watch.stage("commit"):
            grid_digest = arrays.save_grid(self.resources.objects, analysis.frames, analysis.label_map)
        timed = replace(analysis, timings=watch.timings)
        with self.resources.database.write() as session:
            analyses.save(session, held, timed, grid_digest=grid_digest, now=utc_now())

    def _end(self, held: jobs.Claim, error: OncueError) -> Outcome:
        if isinstance(error, NoAnalyser | WeightsMismatch) and self._is_model_gone(held):
            return self._hand_back(held, MODEL_GONE)
        return self._fail(held, error.code, str(error), retryable=error.retryable)

    def _is_model_gone(self, held: jobs.Claim) -> bool:
        """Say whether a job's model was removed while the job was in hand: then it waits, as those do in the queue."""
        try:
            with self.resources.database.read() as session:
                return job_lists.find(session, held.job_id).analyser not in self.resources.serves
        except StorageError:
            return False

    def _hand_back(self, held: jobs.Claim, reason: str) -> Outcome:
        try:
            with self.resources.database.write() as session:
                jobs.hand_back(session, held, reason=reason, now=utc_now())
        except StorageError as error:
            # Taken over, or no database: the lease runs out and the relay takes the job back.
            log.warning("job.not_handed_back", job=held.job_id, code=error.code)
            return Outcome.DISCARDED
        log.info("job.handed_back", job=held.job_id, reason=reason)
        return Outcome.HANDED_BACK

    def _fail_unexpected(self, held: jobs.Claim, error: Exception) -> Outcome:
        if _is_out_of_memory(error):
            known = OutOfDeviceMemory("the device or the machine ran out of memory on this study")
            return self._fail(held, known.code, str(known), retryable=known.retryable)
        # The message of an unforeseen error may quote what it choked on, patient data too: its class alone is kept.
        log.error("job.internal_error", job=held.job_id, error=type(error).__name__, where=_origin(error))
        reason = f"{type(error).__name__} in {_origin(error)}; this is a fault of oncue: report it with this line"
        return self._fail(held, INTERNAL_ERROR, reason, retryable=True)

    def _postpone(self, held: jobs.Claim, error: TaskNotPromoted) -> Outcome:
        """Put a job back whose task nobody has promoted; the relay sends it again after the next promotion."""
        try:
            with self.resources.database.write() as session:
                jobs.postpone(session, held, code=error.code, reason=str(error), now=utc_now())
        except StorageError as lost:
            log.warning("job.not_postponed", job=held.job_id, code=lost.code)
            return Outcome.DISCARDED
        log.info("job.postponed", job=held.job_id, code=error.code, reason=str(error))
        return Outcome.POSTPONED

    def _fail(self, held: jobs.Claim, code: str, reason: str, *, retryable: bool) -> Outcome:
        if code == OutOfDeviceMemory.code:
            self.resources.models.release_idle()
        try:
            with self.resources.database.write() as session:
                state = jobs.fail(session, held, code=code, reason=reason, retryable=retryable, now=utc_now())
        except StorageError as error:
            # Taken over, or no database: the lease runs out and the relay takes the job back.
            log.warning("job.failure_not_recorded", job=held.job_id, code=error.code, wanted=code)
            return Outcome.DISCARDED
        log.warning("job.attempt_failed", job=held.job_id, code=code, reason=reason, state=state.value)
        return Outcome.FAILED

    @contextmanager
    def in_turn(self, job_id: int | None, *, alone: bool = False) -> Iterator[Turn]:
        """Let a job, or a fit request (None), in, and show the supervisor how far it is while the block runs."""
        signs = nullcontext() if self.signs is None else self.signs.at_work(job_id)
        least = len(Lane)
        with signs as place, self.turns.enter(least, alone=alone, on_step=place.mark if place else None) as turn:
            yield turn


def register_tasks(app: Celery, runner: JobRunner, fitter: FitRunner) -> None:
    """Give the application its two tasks: analyse a study, carry out a fit request."""

    @app.task(name=ANALYSE, shared=False)  # type: ignore[untyped-decorator]  # Celery carries no types
    def analyse_job(job_id: int) -> None:
        try:
            runner.run(int(job_id))
        except OncueError as error:
            # Before the claim nothing is owed: the job is still queued, and the relay sends its message again.
            log.warning("job.not_started", job=job_id, code=error.code, reason=str(error))

    @app.task(name=FIT, shared=False)  # type: ignore[untyped-decorator]  # as above
    def carry_out_fit(request_id: int) -> None:
        try:
            with runner.in_turn(None) as turn:
                # Before the request is claimed: nothing extends its lease.
                turn.take()
                fitter.run(int(request_id))
        except OncueError as error:
            # The request is still waiting, or its lease runs out: the relay sends its message again.
            log.warning("fit_request.not_carried_out", request=request_id, code=error.code, reason=str(error))


def _each(*calls: Callable[[], None]) -> Callable[[], None]:
    """Return a call of each, in order."""

    def all_of_them() -> None:
        for call in calls:
            call()

    return all_of_them


def _is_out_of_memory(error: Exception) -> bool:
    # By name and text, so that this module needs no torch: its CPU allocator raises a bare RuntimeError.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def _origin(error: Exception) -> str:
    """Return file and line where an error was raised, without the text that it carries."""
    trace = error.__traceback__
    if trace is None:
        return "an unknown place"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
