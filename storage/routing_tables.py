"""Tables of routes: the files that were in force, what they looked at, and what each said of a study."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Model

_UID = String(64)
_SHA = String(64)


class SeriesRow(Model):
    """What was read of a series when its study closed: everything that routes look at, as JSON."""

    __tablename__ = "series"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True)
    series_instance_uid: Mapped[str] = mapped_column(_UID, primary_key=True)
    facts: Mapped[str] = mapped_column(Text)
    read_at: Mapped[datetime]


class RouteFileRow(Model):
    """A file of routes that was in force once, so that workers and replays read the very same one."""

    __tablename__ = "route_files"

    sha256: Mapped[str] = mapped_column(_SHA, primary_key=True)
    content: Mapped[str] = mapped_column(Text)
    first_used_at: Mapped[datetime]


class RoutingRow(Model):
    """How one study revision was routed: what each route said, and why those that do not apply do not, as JSON."""

    __tablename__ = "routings"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    routes_sha256: Mapped[str] = mapped_column(_SHA)
    applies: Mapped[bool]
    record: Mapped[str] = mapped_column(Text)
    reasons: Mapped[str] = mapped_column(Text)
    routed_at: Mapped[datetime] = mapped_column(index=True)
