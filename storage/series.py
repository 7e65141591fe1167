"""What was read of the series of a study when it closed: kept, so that routes can be asked again without the images."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from storage import deletions
from storage.routes.series_facts import SeriesFacts
from storage.routing_tables import SeriesRow


def save(session: Session, study_id: int, series: Iterable[SeriesFacts], *, now: datetime) -> None:
    """Write the facts of all series of a study in place of earlier ones."""
    session.execute(delete(SeriesRow).where(SeriesRow.study_id == study_id))
    session.add_all(
        SeriesRow(study_id=study_id, series_instance_uid=facts.series_instance_uid, facts=_text(facts), read_at=now)
        for facts in series
    )
    session.flush()


def of_study(session: Session, study_id: int) -> tuple[SeriesFacts, ...]:
    """Return the facts of the series of a study by UID; empty where it has not closed yet."""
    query = select(SeriesRow.facts).where(SeriesRow.study_id == study_id).order_by(SeriesRow.series_instance_uid)
    return tuple(_facts(text) for text in session.scalars(query))


def of_deleted(session: Session, study_id: int) -> dict[str, SeriesFacts]:
    """Return the facts of those series of a study whose images retention deleted, by UID."""
    deleted = deletions.deleted_series(session, study_id)
    return {
        facts.series_instance_uid: facts
        for facts in of_study(session, study_id)
        if facts.series_instance_uid in deleted
    }


def _text(facts: SeriesFacts) -> str:
    return json.dumps(asdict(facts), sort_keys=True, default=sorted)


def _facts(text: str) -> SeriesFacts:
    content = json.loads(text)
    sets = {key: frozenset(content[key]) for key in ("sop_class_uids", "calling_aets", "image_types")}
    return SeriesFacts(**{**content, **sets, "anatomic_codes": tuple(content["anatomic_codes"])})
