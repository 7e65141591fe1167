"""Filters as people type them, made into a question: patient ids to keys, spans to times, study numbers to UIDs."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, tzinfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import patient_keys
from storage.audit import Outcome
from storage.errors import QuestionInvalid, RecordMissing
from storage.history.question import Question
from storage.models import StudyRow

_UID = re.compile(r"\d+(\.\d+)*", re.ASCII)
_SPAN = re.compile(r"(\d{1,6})\s*(s|min|h|d|w)", re.ASCII)
_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DIGEST = re.compile(r"[0-9a-f]{1,64}", re.ASCII)
_NUMBER_DIGITS = 9
_KEY = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Asked:
    """The filters as text; None and empty texts filter nothing. ``patient`` is an id, ``patient_key`` its key."""

    patient: str | None = None
    patient_key: str | None = None
    study: str | None = None
    series: str | None = None
    object: str | None = None
    actor: str | None = None
    action: str | None = None
    outcome: str | None = None
    route: str | None = None
    model: str | None = None
    weights: str | None = None
    since: str | None = None
    until: str | None = None
    text: str | None = None

    @property
    def empty(self) -> tuple[str, ...]:
        """The names of filters that were given without anything in them; forms send those that nobody filled in."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) == "")

    @property
    def says_local_time(self) -> bool:
        """Whether a time is given without a zone."""
        return any(_is_local(text) for text in (self.since, self.until) if text)

    def question(self, session: Session, *, now: datetime, zone: tzinfo | None = None) -> Question:
        """Return the question; QuestionInvalid for what is no UID, time, outcome or digest.

        Times without a zone are those of ``zone``, of this machine's where it is None.
        """
        since, until = (_time(text, now=now, zone=zone) for text in (self.since, self.until))
        if since is not None and until is not None and since >= until:
            raise QuestionInvalid("the time since which is not before the time until which: no event can pass both")
        return Question(
            patient_key=_patient_key(session, self.patient, self.patient_key),
            study=_study(session, self.study),
            series=_uid(self.series, "series"),
            object=self.object or None,
            actor=self.actor or None,
            action=self.action or None,
            outcome=_outcome(self.outcome),
            route=self.route or None,
            model=self.model or None,
            weights=_matching(
                self.weights, _DIGEST, "weights are named by the beginning of their digest, in hex digits"
            ),
            since=since,
            until=until,
            words=self.text or None,
        )


def study_uid(session: Session, study: str) -> str:
    """Return the UID of a study that its number on the pages or its UID names.

    RecordMissing for a number that no study has; QuestionInvalid for what is neither. A UID need not be on record any
    more: its events are.
    """
    if study.isascii() and study.isdigit() and len(study) <= _NUMBER_DIGITS:
        uid = session.scalar(select(StudyRow.study_instance_uid).where(StudyRow.id == int(study)))
        if uid is None:
            raise RecordMissing(f"there is no study {study}; see `oncue studies list`")
        return uid
    return _matching(study, _UID, "a study is named by its number on the pages or its Study Instance UID") or study


def study_name(session: Session, uid: str) -> str:
    """Return our number for a study, or its UID where it is not on record."""
    number = session.scalar(select(StudyRow.id).where(StudyRow.study_instance_uid == uid))
    return uid if number is None else str(number)


def _study(session: Session, study: str | None) -> str | None:
    return study_uid(session, study) if study else None


def _patient_key(session: Session, patient: str | None, key: str | None) -> str | None:
    if patient:
        return patient_keys.key_of(session, patient)
    return _matching(key, _KEY, "a patient key has 32 hex digits")


def _uid(text: str | None, kind: str) -> str | None:
    return _matching(text, _UID, f"a {kind} is named by its UID: digits and dots")


def _outcome(text: str | None) -> str | None:
    if text and text not in set(Outcome):
        raise QuestionInvalid(f"an outcome is one of {', '.join(Outcome)}")
    return text or None


def _matching(text: str | None, form: re.Pattern[str], why: str) -> str | None:
    """Return a text of a form. The message of QuestionInvalid does not repeat it: it may be anything."""
    if text and form.fullmatch(text) is None:
        raise QuestionInvalid(why)
    return text or None


def _time(text: str | None, *, now: datetime, zone: tzinfo | None) -> datetime | None:
    if not text:
        return None
    span = _SPAN.fullmatch(text)
    try:
        if span is not None:
            return now - timedelta(**{_UNITS[span[2]]: int(span[1])})
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.astimezone() if zone is None else moment.replace(tzinfo=zone)
        moment.astimezone(now.tzinfo)  # the first and the last year have no room for every zone
    except (ValueError, OverflowError) as error:
        raise QuestionInvalid(
            "a time is a date (2026-11-28), a date with a time (2026-11-28T08:30, with +01:00 or Z for a zone), "
            "or a span before now: 90s, 30min, 2h, 7d, 4w"
        ) from error
    return moment


def _is_local(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False
