"""Tokens of the console for tests of what is behind them."""

from __future__ import annotations

from datetime import datetime

from storage import console_tokens
from storage.database import Database, utc_now


def new_token(database: Database, name: str = "anna", *, expires_at: datetime | None = None) -> str:
    """Make a token and return its text."""
    with database.write() as session:
        return console_tokens.make(session, name, actor="cli:test", now=utc_now(), expires_at=expires_at)


def bearer(secret: str) -> dict[str, str]:
    """Return the header that carries a token."""
    return {"Authorization": f"Bearer {secret}"}
