"""Studies as routes see them, for tests that record instances without reading any file."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from storage import closing, studies, study_locks
from storage.closing import Decision, Reason, SeenStudy
from storage.routes.file import Routes, load_routes
from storage.routes.series_facts import SeriesFacts


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
    opened = close_quiet(session, study_id, whole, quiet_seconds=quiet_seconds, now=now)
    return opened[0] if opened else None


def quiet_studies(session: Session, *, quiet_seconds: float, now: datetime) -> tuple[int, ...]:
    """Return the open studies that nothing came of for so long and that nobody is sending, the oldest first."""
    latest = now - timedelta(seconds=quiet_seconds)
    return tuple(
        study.id
        for study in closing.arriving(session, now=now)
        if study.last_instance_at <= latest and not study.being_sent
    )


def close_quiet(
    session: Session, study_id: int, whole: SeenStudy, *, quiet_seconds: float, now: datetime
) -> tuple[int, ...] | None:
    """Close a study that is quiet, and return its jobs; None where it is not. It is taken before it is looked at."""
    study_locks.take(session, study_id)
    study = next((one for one in closing.arriving(session, now=now) if one.id == study_id), None)
    if study is None or study.last_instance_at > now - timedelta(seconds=quiet_seconds):
        return None
    decision = Decision(Reason.QUIET, study.last_instance_at, {"quiet_seconds": quiet_seconds})
    return closing.close(session, study_id, whole, decision=decision, now=now)
