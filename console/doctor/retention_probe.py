"""Probe of retention: how fast the disk fills, when it will be full, and what the rules would free."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from console.doctor.parts import ExaminedPart, PartHealth
from console.installation import Installation
from storage.database import utc_now
from storage.retention import forecasts, plans, turns
from storage.retention.forecasts import Growth

_SUBJECT = "retention"
_SOON = timedelta(days=14)
_MEGABYTE, _GIGABYTE = 1_000_000, 1_000_000_000
_LOOKED_AT = 20_000
_ROUNDS_MISSED = 3


def probe_retention(installation: Installation) -> Iterator[ExaminedPart]:
    """Look at the growth of the object store, and at whether the rules are carried out."""
    installation.require()
    now = utc_now()
    with installation.database.read() as session:
        growth = forecasts.growth(session, now=now)
        allowed = _allowed(session, installation, now)
        last = turns.last_round(session)
    usage = shutil.disk_usage(installation.objects.root)
    free = max(usage.free - installation.settings.storage.reserve_megabytes * _MEGABYTE, 0)
    full_at = growth.full_at(free, now=now)
    is_soon = full_at is not None and full_at - now < _SOON
    forecast = f"{_rates(growth)}; {_until_full(growth, full_at, now)}; {allowed}"
    yield ExaminedPart(_SUBJECT, PartHealth.REMARK if is_soon else PartHealth.FINE, forecast)
    late = _late(installation, last, now)
    if late is not None:
        yield ExaminedPart(_SUBJECT, PartHealth.REMARK, late)


def _rates(growth: Growth) -> str:
    parts = {"received": growth.received, "written": growth.written, "deleted": growth.deleted}
    rates = ", ".join(f"{_size(size)} {name}" for name, size in parts.items())
    return f"over the last {growth.days:.1f} days {rates} a day"


def _until_full(growth: Growth, full_at: datetime | None, now: datetime) -> str:
    if full_at is None:
        return "the disk does not fill at that rate" if growth.net <= 0 else "the disk is not full for fifty years"
    days = (full_at - now) / timedelta(days=1)
    return f"at that rate the disk is full down to its reserve on {full_at:%Y-%m-%d}, in {days:.1f} days"


def _allowed(session: Session, installation: Installation, now: datetime) -> str:
    """Say what the rules would free now; of a large archive the oldest studies alone are looked at."""
    rules = installation.settings.retention.rules
    if not rules:
        return "there are no rules of retention, and nothing is ever deleted (docs/retention.md)"
    lines = plans.plan(session, installation.objects, rules, now=now, most=_LOOKED_AT)
    size, kept = sum(line.size_bytes for line in lines), sum(each.studies for line in lines for each in line.kept)
    more = "at least " if any(line.is_cut_off for line in lines) else ""
    off = "" if installation.settings.retention.enabled else "; retention.enabled is not set"
    held = f", and {kept} times a study is kept though it is old enough" if kept else ""
    return f"the rules would free {more}{_size(size)} now{held} (`oncue retention plan`){off}"


def _late(installation: Installation, last: datetime | None, now: datetime) -> str | None:
    settings = installation.settings.retention
    if not settings.enabled:
        return None
    if last is not None and now - last < timedelta(seconds=settings.every_seconds * _ROUNDS_MISSED):
        return None
    since = f"since {last:%Y-%m-%d %H:%M} UTC" if last is not None else "yet"
    return f"no round has ended {since}: no gateway runs, or it has no rules (`oncue config`)"


def _size(size: float) -> str:
    return f"{size / _GIGABYTE:,.1f} GB" if size >= _GIGABYTE else f"{size / _MEGABYTE:,.1f} MB"
