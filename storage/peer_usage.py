"""What each peer used in an hour of the clock: counts of all gateways together, which outlive them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from storage.peer_tables import PeerUsageRow

_KEPT = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Usage:
    """Associations opened, images taken, and bytes of images."""

    associations: int = 0
    images: int = 0
    size_bytes: int = 0

    def plus(self, other: Usage) -> Usage:
        """Return both together."""
        return Usage(
            self.associations + other.associations, self.images + other.images, self.size_bytes + other.size_bytes
        )

    def minus(self, other: Usage) -> Usage:
        """Return what is left of this one without the other."""
        return self.plus(Usage(-other.associations, -other.images, -other.size_bytes))


def hour_of(moment: datetime) -> datetime:
    """Return when the hour of the clock began that a time lies in."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def add(session: Session, used: Mapping[tuple[datetime, str], Usage], *, now: datetime) -> None:
    """Add to what peers used, by hour and name, and forget hours that are long over. No event: it only counts."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    for (hour, name), usage in sorted(used.items(), key=lambda item: item[0]):
        statement = insert(PeerUsageRow).values(
            hour=hour, name=name, associations=usage.associations, images=usage.images, size_bytes=usage.size_bytes
        )
        more = statement.excluded
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["hour", "name"],
                set_={
                    "associations": PeerUsageRow.associations + more.associations,
                    "images": PeerUsageRow.images + more.images,
                    "size_bytes": PeerUsageRow.size_bytes + more.size_bytes,
                },
            )
        )
    session.execute(delete(PeerUsageRow).where(PeerUsageRow.hour < hour_of(now) - _KEPT))


def of_hour(session: Session, hour: datetime) -> dict[str, Usage]:
    """Return what each peer used in the hour that began then, by name."""
    rows = session.scalars(select(PeerUsageRow).where(PeerUsageRow.hour == hour))
    return {row.name: Usage(row.associations, row.images, row.size_bytes) for row in rows}
