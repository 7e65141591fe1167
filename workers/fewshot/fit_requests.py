"""Carry out what was ordered over the API, beside the jobs: fitting on cached vectors takes seconds."""

from __future__ import annotations

import threading

import structlog

from storage.database import Database, utc_now
from storage.errors import LeaseLost, OncueError
from storage.fewshot import fit_requests
from storage.fewshot.fit_requests import Order, OrderKind
from workers.config import WorkerSettings
from workers.fewshot.evaluating import evaluate
from workers.fewshot.fitting import Wanted, fit, head_name, newest_recipe, recipe_for

_PAUSE_SECONDS = 2.0

log = structlog.get_logger(__name__)


class OrderDesk:
    """Takes orders one at a time in the name of a worker."""

    def __init__(self, database: Database, settings: WorkerSettings, *, owner: str) -> None:
        self._database = database
        self._settings = settings
        self._owner = owner

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop; a database that does not answer is waited for."""
        while not stop.is_set():
            try:
                busy = self.work_once()
            except OncueError as error:
                log.warning("orders:waiting", code=error.code)
                busy = False
            if not busy:
                stop.wait(_PAUSE_SECONDS)

    def work_once(self) -> bool:
        """Do one order, if there is one; whatever goes wrong with it is recorded and stays with it."""
        with self._database.read() as session:
            if not fit_requests.is_due(session, now=utc_now()):
                return False
        with self._database.write() as session:
            order = fit_requests.claim(session, owner=self._owner, now=utc_now())
        if order is None:
            return False
        try:
            adapter_id = self._carried_out(order)
        except LeaseLost:
            raise
        except OncueError as error:
            self._failed(order, error.code, str(error))
        except Exception as error:  # noqa: BLE001 - the edge of a thread: one bad order must not stop the others
            self._failed(order, "internal_error", type(error).__name__)
        else:
            with self._database.write() as session:
                fit_requests.done(session, order.id, adapter_id, owner=self._owner, now=utc_now())
            log.info("order:done", order=order.id, adapter=adapter_id)
        return True

    def _carried_out(self, order: Order) -> int:
        wish = order.wish
        if wish.kind is OrderKind.EVALUATE and wish.adapter_id is not None:
            evaluate(self._database, wish.adapter_id, actor=order.ordered_by, now=utc_now())
            return wish.adapter_id
        with self._database.read() as session:
            before = newest_recipe(session, order.task)
        head = head_name(wish.head) if wish.head else None
        recipe = recipe_for(self._settings, Wanted(None, None, head, wish.seed), before=before)
        return fit(self._database, order.task, recipe, actor=order.ordered_by, now=utc_now()).id

    def _failed(self, order: Order, code: str, reason: str) -> None:
        log.warning("order:failed", order=order.id, code=code)
        with self._database.write() as session:
            fit_requests.fail(session, order.id, code=code, reason=reason, owner=self._owner, now=utc_now())


def serve_orders(database: Database, settings: WorkerSettings, *, owner: str) -> threading.Event:
    """Start the desk in a thread of its own and return what stops it."""
    stop = threading.Event()
    desk = OrderDesk(database, settings, owner=owner)
    threading.Thread(target=desk.run, args=(stop,), name="adapter-orders", daemon=True).start()
    return stop
