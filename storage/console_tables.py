"""Tables of who may change something through the console: tokens, and the browsers that signed in with one."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Model

_SHA = String(64)


class ConsoleTokenRow(Model):
    """One token: the SHA-256 of its text, and whose it is. Rows stay when it is revoked, for the name stands in events.

    ``used_at`` is kept to some minutes. ``revoked_at`` is None while the token stands; until then its name is taken.
    """

    __tablename__ = "console_tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(32))
    digest: Mapped[str] = mapped_column(_SHA, unique=True)
    made_by: Mapped[str] = mapped_column(String(96))
    made_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "ix_console_tokens_standing",
            "name",
            unique=True,
            sqlite_where=text("revoked_at IS NULL"),
            postgresql_where=text("revoked_at IS NULL"),
        ),
    )


class ConsoleSessionRow(Model):
    """One browser that signed in: the SHA-256 of what its cookie holds."""

    __tablename__ = "console_sessions"

    digest: Mapped[str] = mapped_column(_SHA, primary_key=True)
    token_id: Mapped[int] = mapped_column(ForeignKey("console_tokens.id"), index=True)
    opened_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
