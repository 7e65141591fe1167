"""The probe of the console's tokens: whether anybody can change something through it, and for how long still."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from console.doctor.parts import ExaminedPart, PartHealth
from console.installation import Installation
from storage import console_tokens
from storage.console_tokens import ConsoleToken, TokenState
from storage.database import utc_now

_SUBJECT = "tokens"
_SOON = timedelta(days=14)


def probe_tokens(installation: Installation) -> Iterator[ExaminedPart]:
    """Count the tokens that stand, and name each that has expired or soon will."""
    now = utc_now()
    with installation.read() as session:
        tokens = console_tokens.listed(session)
    standing = sum(token.state(now) is TokenState.STANDING for token in tokens)
    if standing:
        yield ExaminedPart(_SUBJECT, PartHealth.FINE, f"{standing} that may change something through the console")
    else:
        nobody = "none: nobody can sign in at the console; make one: `oncue console token --name NAME`"
        yield ExaminedPart(_SUBJECT, PartHealth.REMARK, nobody)
    yield from (ExaminedPart("token", PartHealth.REMARK, text) for one in tokens if (text := _lapsing(one, now)))


def _lapsing(token: ConsoleToken, now: datetime) -> str | None:
    if token.expires_at is None or token.expires_at - now > _SOON:
        return None
    verb = "expired" if token.state(now) is TokenState.EXPIRED else "expires"
    renewal = f"`oncue console token --name {token.name}` makes another then"
    return f"{token.name} {verb} at {token.expires_at:%Y-%m-%d %H:%M} UTC; {renewal}"
