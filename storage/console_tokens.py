"""Tokens that let a person or a program change something through the console.

A token is 256 random bits, so a plain SHA-256 is kept of it: there is nothing that a slow hash would guard against. Its
text is shown once and is nowhere afterwards.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from storage import audit
from storage.access_errors import TokenExpired, TokenNameInvalid, TokenRevoked, TokenUnknown
from storage.console_tables import ConsoleSessionRow, ConsoleTokenRow
from storage.errors import RecordExists, RecordMissing
from storage.new_rows import add_if_new

LONGEST_NAME = 32

_PREFIX = "oncue_"
_RANDOM_BYTES = 32
_NAME = re.compile(rf"[A-Za-z][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}", re.ASCII)
_USE_IS_KEPT_TO = timedelta(minutes=5)


class TokenState(StrEnum):
    """Whether a token is taken, and if not, why."""

    STANDING = "standing"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class ConsoleToken:
    """What is on record of a token; ``used_at`` is the last time that it was presented, to some minutes."""

    id: int
    name: str
    made_by: str
    made_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None

    def state(self, now: datetime) -> TokenState:
        """Say whether it is taken."""
        if self.revoked_at is not None:
            return TokenState.REVOKED
        return TokenState.EXPIRED if self.expires_at is not None and self.expires_at <= now else TokenState.STANDING


def digest(secret: str) -> str:
    """Return what is kept of a token or of a cookie: its SHA-256 in hex digits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def make(session: Session, name: str, *, actor: str, now: datetime, expires_at: datetime | None = None) -> str:
    """Make a token and return its text, which nobody can tell again.

    A name is taken until its token is revoked: RecordExists; one that has expired makes way. TokenNameInvalid for a
    name that could be taken for an address, or that cannot stand in an event.
    """
    if _NAME.fullmatch(name) is None:
        raise TokenNameInvalid(
            f"a token's name begins with a letter, and has letters, digits, '.', '_' and '-', {LONGEST_NAME} at most"
        )
    _retire_expired(session, name, actor=actor, now=now)
    secret = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    values = {
        "name": name, "digest": digest(secret), "made_by": actor, "made_at": now, "expires_at": expires_at,
        "used_at": None, "revoked_at": None,
    }  # fmt: skip # reads by its lines
    if not add_if_new(session, ConsoleTokenRow, values):
        raise RecordExists(f"there is a token {name} already: `oncue console revoke {name}`, or give another --name")
    until = None if expires_at is None else audit.moment(expires_at)
    audit.record(session, "token:made", _subject(name), actor=actor, now=now, details={"expires_at": until})
    return secret


def revoke(session: Session, name: str, *, actor: str, now: datetime) -> ConsoleToken:
    """Take a token back, with every browser that signed in with it; RecordMissing where none of that name stands."""
    row = _standing(session, name)
    if row is None:
        raise RecordMissing(f"there is no token {name}; `oncue console tokens` shows those that there are")
    _revoke(session, row, actor=actor, now=now)
    return token_of(row)


def check(session: Session, secret: str, *, now: datetime) -> ConsoleToken:
    """Return the token that a text is. Raises TokenUnknown, TokenExpired or TokenRevoked."""
    wanted = digest(secret)
    row = session.scalars(select(ConsoleTokenRow).where(ConsoleTokenRow.digest == wanted)).one_or_none()
    # The index is asked for a hash, whose time tells nothing of the token; what it found is compared in constant time.
    if row is None or not hmac.compare_digest(row.digest, wanted):
        raise TokenUnknown("this is no token of this installation; `oncue console token` makes one")
    token = token_of(row)
    require_standing(token, now=now)
    return token


def require_standing(token: ConsoleToken, *, now: datetime) -> None:
    """Raise TokenRevoked or TokenExpired where a token is not taken any more."""
    state = token.state(now)
    if state is TokenState.REVOKED:
        raise TokenRevoked(f"the token {token.name} was revoked; `oncue console token` makes another", token.name)
    if state is TokenState.EXPIRED:
        raise TokenExpired(f"the token {token.name} has expired; `oncue console token` makes another", token.name)


def is_use_due(token: ConsoleToken, *, now: datetime) -> bool:
    """Say whether the time of its last use is so old that it is to be written anew."""
    return token.used_at is None or now - token.used_at >= _USE_IS_KEPT_TO


def note_use(session: Session, token: ConsoleToken, *, now: datetime) -> None:
    """Keep that a token was presented; an earlier time never replaces a later one."""
    older = or_(ConsoleTokenRow.used_at.is_(None), ConsoleTokenRow.used_at < now)
    session.execute(update(ConsoleTokenRow).where(ConsoleTokenRow.id == token.id, older).values(used_at=now))


def listed(session: Session, *, revoked: bool = False) -> tuple[ConsoleToken, ...]:
    """Return the tokens by name, then by age; those that were revoked only where they are asked for."""
    query = select(ConsoleTokenRow).order_by(ConsoleTokenRow.name, ConsoleTokenRow.id)
    if not revoked:
        query = query.where(ConsoleTokenRow.revoked_at.is_(None))
    return tuple(map(token_of, session.scalars(query)))


def was_any_made(session: Session) -> bool:
    """Say whether this installation ever had a token."""
    return bool(session.scalar(select(func.count()).select_from(ConsoleTokenRow)))


def _retire_expired(session: Session, name: str, *, actor: str, now: datetime) -> None:
    row = _standing(session, name)
    if row is not None and token_of(row).state(now) is TokenState.EXPIRED:
        _revoke(session, row, actor=actor, now=now)


def _revoke(session: Session, row: ConsoleTokenRow, *, actor: str, now: datetime) -> None:
    row.revoked_at = now
    session.flush()
    session.execute(delete(ConsoleSessionRow).where(ConsoleSessionRow.token_id == row.id))
    audit.record(session, "token:revoked", _subject(row.name), actor=actor, now=now)


def _standing(session: Session, name: str) -> ConsoleTokenRow | None:
    query = select(ConsoleTokenRow).where(ConsoleTokenRow.name == name, ConsoleTokenRow.revoked_at.is_(None))
    return session.scalars(query.with_for_update()).one_or_none()


def _subject(name: str) -> str:
    return f"token/{name}"


def token_of(row: ConsoleTokenRow) -> ConsoleToken:
    """Return what a row holds."""
    return ConsoleToken(**{name: getattr(row, name) for name in ConsoleToken.__slots__})
