"""The Celery application in the process that hosts a worker."""

from __future__ import annotations

import logging

import pytest
from celery.app.log import Logging

from workers.config import WorkerSettings
from workers.queue.app import make_app


def test_events_are_still_logged_once_a_worker_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", logging.INFO)
    handlers = list(root.handlers)
    monkeypatch.setattr(Logging, "_setup", False)  # as in a process in which no worker has begun yet
    make_app(WorkerSettings()).log.setup(logging.WARNING, redirect_stdouts=False)  # as Celery's worker begins
    assert (root.level, root.handlers) == (logging.INFO, handlers)
    assert logging.getLogger("workers.queue.tasks").isEnabledFor(logging.INFO)
    assert not logging.getLogger("celery.worker.strategy").isEnabledFor(logging.INFO)
