"""What quiet times learn from: how long senders pause between the images of one study, by modality.

Kept is the longest pause of each study, of the latest of them. A study that a late image reopened is measured again
when it closes, so a quiet time that was too short shows in what it is learned from.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise
from typing import TypeAlias

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from storage.arrival_tables import ArrivalGapRow
from storage.models import InstanceRow

Sender: TypeAlias = tuple[str, str]
"""A calling AE title and a modality."""

FEWEST_STUDIES = 5
"""Fewer studies of a sender say nothing yet."""

_KEPT = 100
_QUANTILE = 0.95
_LONGEST_SECONDS = 900.0
"""What comes later than this belongs to no pause: somebody sent more, or sent it again."""


def measure(session: Session, study_id: int, *, now: datetime) -> None:
    """Write down the longest pauses of a study that has just closed, in place of those of its earlier revisions."""
    session.execute(delete(ArrivalGapRow).where(ArrivalGapRow.study_id == study_id))
    for (calling_aet, modality), seconds in sorted(_longest(_moments(session, study_id)).items()):
        row = ArrivalGapRow(
            study_id=study_id, calling_aet=calling_aet, modality=modality, longest_seconds=seconds, measured_at=now
        )
        session.add(row)
        session.flush()
        _forget_old(session, calling_aet, modality)


def typical_longest(session: Session, sender: Sender) -> float | None:
    """Return the pause in seconds that 19 of 20 studies of a sender stay within; None where too few were seen."""
    calling_aet, modality = sender
    found = session.scalars(
        select(ArrivalGapRow.longest_seconds)
        .where(ArrivalGapRow.calling_aet == calling_aet, ArrivalGapRow.modality == modality)
        .order_by(ArrivalGapRow.id.desc())
        .limit(_KEPT)
    ).all()
    if len(found) < FEWEST_STUDIES:
        return None
    return sorted(found)[math.ceil(_QUANTILE * len(found)) - 1]


def senders_of(session: Session, study_id: int) -> frozenset[Sender]:
    """Return who sent the current images of a study, and of which modality."""
    query = select(InstanceRow.calling_aet, InstanceRow.modality).distinct()
    rows = session.execute(query.where(InstanceRow.study_id == study_id, InstanceRow.current))
    return frozenset((calling_aet, modality) for calling_aet, modality in rows)


def longest_of(session: Session, study_id: int) -> float:
    """Return the longest pause in seconds of a study so far, 0 where there was none."""
    return max(_longest(_moments(session, study_id)).values(), default=0.0)


def _moments(session: Session, study_id: int) -> list[tuple[str, str, datetime]]:
    query = (
        select(InstanceRow.calling_aet, InstanceRow.modality, InstanceRow.received_at)
        .where(InstanceRow.study_id == study_id)
        .order_by(InstanceRow.received_at)
    )
    return [(calling_aet, modality, moment) for calling_aet, modality, moment in session.execute(query)]


def _longest(moments: Iterable[tuple[str, str, datetime]]) -> dict[Sender, float]:
    """Return the longest pause of each sender; a pause is counted for the modality that was sent before it."""
    by_title: dict[str, list[tuple[str, datetime]]] = defaultdict(list)
    longest: dict[Sender, float] = {}
    for calling_aet, modality, moment in moments:
        by_title[calling_aet].append((modality, moment))
        longest.setdefault((calling_aet, modality), 0.0)
    for calling_aet, sent in by_title.items():
        for (modality, before), (_, after) in pairwise(sent):
            seconds = (after - before).total_seconds()
            if seconds <= _LONGEST_SECONDS:
                longest[calling_aet, modality] = max(longest[calling_aet, modality], seconds)
    return longest


def _forget_old(session: Session, calling_aet: str, modality: str) -> None:
    of_sender = (ArrivalGapRow.calling_aet == calling_aet, ArrivalGapRow.modality == modality)
    newest = select(ArrivalGapRow.id).where(*of_sender).order_by(ArrivalGapRow.id.desc())
    oldest_kept = session.scalar(newest.offset(_KEPT - 1).limit(1))
    if oldest_kept is not None:
        session.execute(delete(ArrivalGapRow).where(*of_sender, ArrivalGapRow.id < oldest_kept))
