"""Browsers that signed in with a token: what their cookie holds is 256 random bits, of which the SHA-256 is kept.

A session ends with its time, with its token, or when somebody signs out.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from storage import audit, console_tokens
from storage.console_tables import ConsoleSessionRow, ConsoleTokenRow
from storage.console_tokens import ConsoleToken, digest

MOST_OF_ONE_TOKEN = 50
"""Browsers that one token is signed in with at the same time; the oldest give way."""

_RANDOM_BYTES = 32


def begin(session: Session, token: ConsoleToken, *, address: str, lifetime: timedelta, now: datetime) -> str:
    """Sign a browser in and return what its cookie holds; what has run out is cleared away on the way."""
    session.execute(delete(ConsoleSessionRow).where(ConsoleSessionRow.expires_at <= now))
    _make_room(session, token)
    secret = secrets.token_urlsafe(_RANDOM_BYTES)
    session.add(ConsoleSessionRow(digest=digest(secret), token_id=token.id, opened_at=now, expires_at=now + lifetime))
    _record(session, "user:logged-in", token.name, address=address, now=now)
    return secret


def find(session: Session, secret: str, *, now: datetime) -> ConsoleToken | None:
    """Return the token that a cookie's browser signed in with; None where its session or its token is over."""
    query = (
        select(ConsoleTokenRow)
        .join(ConsoleSessionRow, ConsoleSessionRow.token_id == ConsoleTokenRow.id)
        .where(ConsoleSessionRow.digest == digest(secret), ConsoleSessionRow.expires_at > now)
    )
    row = session.scalars(query).one_or_none()
    if row is None:
        return None
    token = console_tokens.token_of(row)
    return token if token.state(now) is console_tokens.TokenState.STANDING else None


def end(session: Session, secret: str, *, address: str, now: datetime) -> None:
    """Sign a browser out; nothing changes where it is not signed in."""
    token = find(session, secret, now=now)
    gone = session.execute(
        delete(ConsoleSessionRow).where(ConsoleSessionRow.digest == digest(secret)).returning(ConsoleSessionRow.digest)
    )
    if gone.first() is not None and token is not None:
        _record(session, "user:logged-out", token.name, address=address, now=now)


def _make_room(session: Session, token: ConsoleToken) -> None:
    oldest = (
        select(ConsoleSessionRow.digest)
        .where(ConsoleSessionRow.token_id == token.id)
        .order_by(ConsoleSessionRow.opened_at.desc(), ConsoleSessionRow.digest)
        .offset(MOST_OF_ONE_TOKEN - 1)
    )
    session.execute(delete(ConsoleSessionRow).where(ConsoleSessionRow.digest.in_(session.scalars(oldest).all())))


def _record(session: Session, tag: str, name: str, *, address: str, now: datetime) -> None:
    audit.record(session, tag, f"token/{name}", actor=f"web/{name}", now=now, details={"address": address})
