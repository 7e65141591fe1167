"""Studies as routes see them, for tests that record instances without reading any file."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from storage import studies
from storage.routes.file import Routes, load_routes
from storage.routes.series_facts import SeriesFacts
from storage.studies import SeenStudy


def head_series(uid: str, *, frames: int = 20) -> SeriesFacts:
    """Return a series that the shipped route for head MR wants."""
    return SeriesFacts(uid, "MR", body_part_examined="HEAD", series_description="T2 FLAIR", frames=frames)


def seen(*series: SeriesFacts, routes: Routes | None = None) -> SeenStudy:
    """Return what routes are asked about, the shipped ones by default."""
    return SeenStudy(routes or load_routes(), series)


def close_as_head(session: Session, study_id: int, *, quiet_seconds: float, now: datetime) -> int | None:
    """Close a study as if every series of it were a head MR; return its job, or None where it did not close."""
    uids = {instance.series_instance_uid for instance in studies.instances_of(session, study_id)}
    whole = seen(*(head_series(uid) for uid in sorted(uids)))
    opened = studies.close(session, study_id, whole, quiet_seconds=quiet_seconds, now=now)
    return opened[0] if opened else None
