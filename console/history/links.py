"""Addresses of the audit page: the filters that hold, with one more, one less, or another place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from urllib.parse import urlencode

from console.history.api import AuditQuery
from storage.history.question import Order


@dataclass(frozen=True, slots=True)
class AuditLinks:
    """The addresses that a page of the history leads to."""

    query: AuditQuery

    def onwards(self, cursor: str) -> str:
        """Return the address of the next page in the same order."""
        return self._address(after=cursor)

    def turned(self) -> str:
        """Return the address of the same question in the other order."""
        other = Order.OLDEST if self.query.order is Order.NEWEST else Order.NEWEST
        return self._address(after=None, order=other)

    def with_filter(self, name: str, value: str) -> str:
        """Return the address of the same question with one filter more."""
        return self._address(after=None, **{name: value})

    def on_day(self, day: str) -> str:
        """Return the address of the same question on one day (UTC)."""
        following = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
        return self._address(after=None, since=day, until=following)

    def _address(self, **changed: str | Order | None) -> str:
        asked = self.query.model_dump(exclude={"facets"}, exclude_defaults=True, mode="json") | changed
        kept = {name: value for name, value in asked.items() if value not in (None, "", Order.NEWEST)}
        return f"/audit?{urlencode(kept)}" if kept else "/audit"
