"""Leases: a claim on a row that ends by itself when its owner dies. States stay with the modules that own them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import BindParameter, ColumnElement
from sqlalchemy.orm import InstrumentedAttribute


class Leasable(Protocol):
    """A row that somebody may hold for a while."""

    lease_owner: str | None
    lease_expires_at: datetime | None


def take(row: Leasable, owner: str, *, seconds: float, now: datetime) -> None:
    """Give a row to an owner until ``seconds`` from now."""
    row.lease_owner = owner
    extend(row, seconds=seconds, now=now)


def taken_by(owner: str, *, seconds: float, now: datetime) -> dict[str, object]:
    """Return what ``take`` writes, for an UPDATE of many rows at once."""
    return {"lease_owner": owner, "lease_expires_at": now + timedelta(seconds=seconds)}


def extend(row: Leasable, *, seconds: float, now: datetime) -> None:
    """Push the end of a row's lease out to ``seconds`` from now."""
    row.lease_expires_at = now + timedelta(seconds=seconds)


def end(row: Leasable) -> None:
    """Let go of a row."""
    row.lease_owner, row.lease_expires_at = None, None


def ran_out(
    lease_expires_at: InstrumentedAttribute[datetime | None], *, now: datetime | BindParameter[datetime]
) -> ColumnElement[bool]:
    """Return the condition «the lease has ended», for a query; a row without a lease does not meet it."""
    return lease_expires_at < now
