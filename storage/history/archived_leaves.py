"""Leaves whose events are in archives: the log proves them by the hashes that it keeps of them."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.history import archive_proof, retention
from storage.history.leaves import EVENTS
from storage.history.retention import ArchivedMonth


class ArchivedLeaves:
    """Which leaves the months that left the database took with them."""

    def __init__(self, months: Sequence[ArchivedMonth]) -> None:
        """Take the months as ``retention.archived`` returns them."""
        self._months = months
        self._runs = sorted(run for month in months for run in month.leaves)
        self.names = frozenset(month.month for month in months)

    def covers(self, leaf: int) -> bool:
        """Say whether a leaf's event is in an archive."""
        place = bisect_right(self._runs, leaf, key=lambda run: run[0]) - 1
        return place >= 0 and leaf <= self._runs[place][1]

    def problems(self, session: Session) -> Iterator[str]:
        """Yield which months the log itself does not tell of: an event that is gone could be called archived."""
        for month in self._months:
            told = select(EVENTS.c.details).where(
                EVENTS.c.subject == f"archive/{month.month}", EVENTS.c.tag == "audit:archived"
            )
            details = session.scalars(told).all()
            if not any(_tells(one, month) for one in details) and not self._told_in_an_archive(month):
                yield f"{month.month} is called archived, and no event of the log tells of that archive"

    def _told_in_an_archive(self, month: ArchivedMonth) -> bool:
        return month.archived_in in self.names and month.archived_in != month.month


def archived_leaves(session: Session) -> ArchivedLeaves:
    """Return the leaves that the database's archived months took with them."""
    return ArchivedLeaves(retention.archived(session))


def _tells(details: str, month: ArchivedMonth) -> bool:
    said = json.loads(details)
    return (said.get("sha256"), said.get("leaves")) == (month.sha256, archive_proof.runs_text(month.leaves))
