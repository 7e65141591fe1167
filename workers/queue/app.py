"""The Celery application. Celery only wakes workers and balances load: the database holds the truth about jobs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import Celery
from celery.signals import setup_logging

from storage.domain import Lane
from workers.config import WorkerSettings
from workers.queue.guarded_redis import TASKS_OPTION, TRANSPORT
from workers.queue.lane_order import WEIGHTS, LaneOrder
from workers.queue.signs_of_life import PLACES

ANALYSE = "oncue.analyse"
FIT = "oncue.fit"
"""Names of the tasks on the wire: stated, so that modules may be renamed while messages are under way."""
DEFAULT_POOL = "default"
_GUARDED = ("redis://", "rediss://")


def queue_name(lane: Lane, pool: str = DEFAULT_POOL) -> str:
    """Return the queue of a lane: the lane's name, with that of the pool before it where that is not the default."""
    return lane.value if pool == DEFAULT_POOL else f"{pool}.{lane.value}"


def make_app(settings: WorkerSettings, *, on_poll: Callable[[], None] | None = None) -> Celery:
    """Build the application; no connection is made yet. ``on_poll`` is told each time the queues are polled."""
    # Who answers this signal keeps Celery from raising the root logger's level, which would silence our own events.
    setup_logging.connect(_leave_logging)
    broker = settings.broker_url.get_secret_value()
    app = Celery("oncue", broker=broker, set_as_current=False)
    if broker.startswith(_GUARDED):
        app.conf.broker_transport = TRANSPORT
    app.conf.update(
        # A message is a job number. JSON alone, so that no message can ever make a worker run code (pickle can).
        task_serializer="json",
        accept_content=["json"],
        # Acknowledge after the work, so that a worker's death leaves the message with the broker ...
        task_acks_late=True,
        # ... and put it back when a pool process dies. Its loops are ended by the job's own attempt counter.
        task_reject_on_worker_lost=True,
        # As many messages as are worked on: one that only waits inside a worker cannot be taken by an idle one.
        worker_prefetch_multiplier=1,
        # Results live in the database; a second truth in Redis would only disagree with it.
        task_ignore_result=True,
        # Threads: models on a GPU do not survive a fork. One reads or draws while the other has the device.
        worker_pool="threads" if settings.prefetch else "solo",
        worker_concurrency=PLACES if settings.prefetch else 1,
        # One queue for each lane: priorities inside one Redis list are approximate and let STAT work wait.
        task_queues={name: {"routing_key": name} for name in (queue_name(lane, settings.pool) for lane in Lane)},
        task_default_queue=queue_name(Lane.ROUTINE, settings.pool),
        task_create_missing_queues=False,
        worker_redirect_stdouts=False,
        # Redis may start later than a worker, and may restart under it: keep trying for ever.
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # The lease decides what happens to a job whose worker lost Redis, not Celery.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # Nobody sends remote commands, so there is one way less into a worker.
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        broker_transport_options=_transport_options(settings, on_poll),
    )
    return app


def _leave_logging(**_: object) -> None:
    """Leave logging as the hosting process has set it up; of Celery's own events only warnings count."""
    for name in ("celery", "kombu"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _transport_options(settings: WorkerSettings, on_poll: Callable[[], None] | None) -> dict[str, Any]:
    return {
        # What else lies in the lists is dropped: see guarded_redis.
        TASKS_OPTION: (ANALYSE, FIT),
        # Longer than the time limit: a job still at work must not be delivered a second time (harmless but wasted).
        "visibility_timeout": settings.visibility_seconds,
        # A message is restored after the visibility timeout at the earliest; the relay is faster to notice a lost one.
        "unacked_restore_interval": 30,
        "unacked_restore_throttle": 1,
        # The lanes' order at each poll, so that none starves.
        "queue_order_strategy": partial(LaneOrder, WEIGHTS, on_poll=on_poll),
        # One Redis list for each lane instead of four priorities nobody uses.
        "priority_steps": [0],
        # How long one BRPOP waits, despite the name: a message ends the wait at once, and each wait is a sign of life.
        "polling_interval": settings.poll_seconds,
        # A half-open connection (Redis restarted behind a firewall) is noticed instead of waited on for ever.
        "health_check_interval": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
    }
