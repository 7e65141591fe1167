"""The gateway's part in retention: one round after another, each small enough to hold nothing up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog

from storage.database import Database
from storage.deletion_errors import RetentionBusy
from storage.errors import LeaseLost
from storage.objects import ObjectStore
from storage.retention.rounds import Retention
from storage.retention.rules import RetentionSettings

_ACTOR = "retention"
_PAUSE_SECONDS = 1.0

logger = structlog.get_logger(__name__)


class RetentionRounds:
    """Deletes by the rules where that is enabled; files of earlier deletions that a crash left go in any case."""

    def __init__(
        self,
        settings: RetentionSettings,
        database: Database,
        objects: ObjectStore,
        *,
        owner: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._most_files = settings.files_per_round
        rules = settings.rules if settings.enabled else ()
        self._retention = Retention(database, objects, rules, owner=owner, actor=_ACTOR, clock=clock)

    def run(self) -> float | None:
        """Do one round; return after how many seconds the next one is due where this one left work."""
        try:
            done = self._retention.run(most_files=self._most_files)
        except (RetentionBusy, LeaseLost):
            return None  # another gateway is at it
        if done.studies or done.freed.files:
            logger.info(
                "retention.deleted",
                studies=done.studies,
                files=done.freed.files,
                megabytes=done.freed.size_bytes // 1_000_000,
            )
        return _PAUSE_SECONDS if done.more else None
