"""Destinations on record that want to be told of studies that were not analysed."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from storage.delivery_tables import DestinationRow


def add_told(session: Session, name: str, *, now: datetime, unanalysed: str = "sr", **columns: object) -> None:
    """Record a destination; ``columns`` override what an entry has by default."""
    values: dict[str, object] = {
        "address": "PACS@127.0.0.1:104",
        "forms": "SEG,SR",
        "keeps_segmentations": True,
        "shows_priority": False,
        "rejection_notes": False,
        "proof": "none",
        "associations": 1,
        "paused": False,
        "added_by": "test",
        "added_at": now,
        "changed_at": now,
        **columns,
    }
    session.add(DestinationRow(name=name, unanalysed=unanalysed, **values))
