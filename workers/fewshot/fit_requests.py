"""Carry out what was requested over the API: fit an adapter on cached vectors, or evaluate one. It takes seconds."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from storage.database import Database, utc_now
from storage.errors import LeaseLost, OncueError
from storage.fewshot import fit_requests
from storage.fewshot.fit_requests import FitRequest, HeldRequest, RequestKind
from workers.config import WorkerSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FitRunner:
    """Carries out requests, one at a time, in the name of ``owner``."""

    database: Database
    settings: WorkerSettings
    owner: str

    def run(self, request_id: int) -> bool:
        """Do one request if it is still to be done; a message that comes twice ends quietly the second time.

        Return whether it was claimed. Whatever goes wrong with the request is recorded and stays with it.
        """
        with self.database.write() as session:
            held = fit_requests.claim(session, request_id, owner=self.owner, now=utc_now())
        if held is None:
            log.info("fit_request.not_claimed", request=request_id)
            return False
        try:
            self._work(held)
        except LeaseLost as error:
            log.warning("fit_request.discarded", request=request_id, code=error.code)
        return True

    def _work(self, held: HeldRequest) -> None:
        try:
            adapter_id = self._carry_out(held.request)
        except LeaseLost:
            raise
        except OncueError as error:
            self._fail(held, error.code, str(error), retryable=error.retryable)
        except Exception as error:  # noqa: BLE001 - the edge of a task: a fault of ours must end as a failed request
            self._fail(held, "internal_error", type(error).__name__, retryable=False)
        else:
            with self.database.write() as session:
                fit_requests.done(session, held, adapter_id, now=utc_now())
            log.info("fit_request.done", request=held.request.id, adapter=adapter_id)

    def _carry_out(self, request: FitRequest) -> int:
        # They bring torch: a worker should not have to load it before its first request.
        from workers.fewshot.evaluating import evaluate
        from workers.fewshot.fitting import Wanted, fit, head_name, newest_recipe, recipe_for

        wish = request.wish
        if wish.kind is RequestKind.EVALUATE and wish.adapter_id is not None:
            evaluate(self.database, wish.adapter_id, actor=request.requested_by, now=utc_now())
            return wish.adapter_id
        with self.database.read() as session:
            before = newest_recipe(session, request.task)
        head = head_name(wish.head) if wish.head else None
        recipe = recipe_for(self.settings, Wanted(None, None, head, wish.seed), before=before)
        return fit(self.database, request.task, recipe, actor=request.requested_by, now=utc_now()).id

    def _fail(self, held: HeldRequest, code: str, reason: str, *, retryable: bool) -> None:
        with self.database.write() as session:
            state = fit_requests.fail(session, held, code=code, reason=reason, retryable=retryable, now=utc_now())
        log.warning("fit_request.failed", request=held.request.id, code=code, state=state.value)
