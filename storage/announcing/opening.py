"""Which announcements a study calls for: what holds now against what each channel was told, or may have been told.

A channel whose receiver broke off may have been told or not. Both are reckoned with: it is told again where either
would be news to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import changes, study_locks
from storage.announcing import channels, study_facts
from storage.announcing.channels import ChannelEntry
from storage.announcing.study_facts import StudyFact, digest_of
from storage.announcing.tables import AnnouncementLevel, AnnouncementRow, AnnouncementState, ChannelKind
from storage.announcing.transitions import ACTOR, record, step
from storage.domain import Priority

_KEEPS_RESULTS = frozenset({ChannelKind.HL7, ChannelKind.FHIR})
"""Kinds whose receivers keep what they are told in a record: they are told of every later result, and people are not
told twice that a study is urgent."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What a channel was told of a study for certain, and what it may have been told since, oldest first."""

    certain: AnnouncementRow | None
    doubtful: tuple[AnnouncementRow, ...]

    @classmethod
    def of(cls, rows: Sequence[AnnouncementRow]) -> _Known:
        """Read it from the announcements of one study to one channel."""
        told = [row for row in rows if row.reached]
        sent = [index for index, row in enumerate(told) if row.state == AnnouncementState.SENT.value]
        if not sent:
            return cls(None, tuple(told))
        return cls(told[sent[-1]], tuple(told[sent[-1] + 1 :]))

    @property
    def states(self) -> tuple[AnnouncementRow | None, ...]:
        """What the receiver may hold to be so; None where it may know nothing."""
        return (self.certain, *self.doubtful)

    @property
    def last(self) -> AnnouncementRow | None:
        """The newest of what it was told, or may have been."""
        return self.states[-1]


def settle_study(
    session: Session, study_id: int, *, actor: str, now: datetime, only: Collection[str] | None = None
) -> None:
    """Open, keep and supersede announcements of a study, so that each channel is told what holds and nothing else.

    Takes the study. What is being sent at this moment is left alone: this is called again when that has ended, for
    ``only`` the channels concerned, since one that was added after a result is not told of it.
    """
    entries = [entry for entry in channels.entries(session) if only is None or entry.name in only]
    if not entries:
        return
    study = study_locks.take(session, study_id)
    if study is None:
        return
    session.flush()
    results = study_facts.results_of(session, study_id)
    by_channel = _rows(session, study_id)
    for entry in entries:
        rows = by_channel.get(entry.name, ())
        if not any(row.state == AnnouncementState.SENDING.value for row in rows):
            _settle(session, entry, rows, study_facts.fact_for(session, study, results, entry), actor=actor, now=now)


def escalate(session: Session, study_id: int, entry: ChannelEntry, *, now: datetime) -> bool:
    """Tell a channel of an urgent study that nobody opened; False where it knows, or does not want to.

    The caller has taken the study.
    """
    study = study_locks.take(session, study_id)
    if study is None:
        return False
    fact = study_facts.fact_for(session, study, study_facts.results_of(session, study_id), entry)
    rows = _rows(session, study_id).get(entry.name, ())
    known = [row for row in rows if row.fact == fact.digest and row.state != AnnouncementState.SUPERSEDED.value]
    if fact.priority not in entry.priorities or known:
        return False
    last = _Known.of(rows).last
    _open(session, entry, fact, AnnouncementLevel.ESCALATION, last, actor=ACTOR, now=now)
    return True


def holds(session: Session, row: AnnouncementRow) -> bool:
    """Say whether what an announcement tells is still so; False too where its channel is gone."""
    study = study_locks.take(session, row.study_id)
    entry = next((one for one in channels.entries(session) if one.name == row.channel), None)
    if study is None or entry is None:
        return False
    fact = study_facts.fact_for(session, study, study_facts.results_of(session, study.id), entry)
    return fact.digest == row.fact


def _settle(
    session: Session,
    entry: ChannelEntry,
    rows: Sequence[AnnouncementRow],
    fact: StudyFact,
    *,
    actor: str,
    now: datetime,
) -> None:
    pending = [row for row in rows if row.state == AnnouncementState.PENDING.value]
    stays = [row for row in pending if row.fact == fact.digest or _takes_from_another_patient(row, fact)]
    for row in pending:
        if row not in stays:
            step(row, AnnouncementState.SUPERSEDED)
            record(session, row, "superseded", actor=actor, now=now)
    if stays:
        return
    known = _Known.of(rows)
    level = _level(entry, known, fact)
    if level is not None:
        _open(session, entry, fact, level, known.last, actor=actor, now=now)


def _takes_from_another_patient(row: AnnouncementRow, fact: StudyFact) -> bool:
    """Say whether one that waits takes a priority from a patient whom nothing later concerns: it is to leave first."""
    return row.priority is None and row.patient_key != fact.patient_key


def _level(entry: ChannelEntry, known: _Known, fact: StudyFact) -> AnnouncementLevel | None:
    """Return why a channel is to be told of a fact, None where it is not."""
    if not any(_is_news(entry, state, fact) for state in known.states):
        return None
    told = [state.priority for state in known.states if state is not None]
    if entry.escalation_minutes is not None and not any(_is_wanted(entry, priority) for priority in told):
        return None  # it is told once nobody opened the study in time
    is_first = known.certain is None and all(priority == fact.priority for priority in told)
    return AnnouncementLevel.FIRST if is_first else AnnouncementLevel.CHANGE


def _is_news(entry: ChannelEntry, told: AnnouncementRow | None, fact: StudyFact) -> bool:
    wanted = _is_wanted(entry, fact.priority)
    if told is None:
        return wanted
    if told.priority != fact.priority:
        return wanted or _is_wanted(entry, told.priority) or entry.kind in _KEEPS_RESULTS
    return entry.kind in _KEEPS_RESULTS and fact.priority is not None and told.fact != fact.digest


def _is_wanted(entry: ChannelEntry, priority: str | None) -> bool:
    return priority is not None and Priority(priority) in entry.priorities


def _open(
    session: Session,
    entry: ChannelEntry,
    fact: StudyFact,
    level: AnnouncementLevel,
    last: AnnouncementRow | None,
    *,
    actor: str,
    now: datetime,
) -> None:
    """Put a fact on its way to a channel, unless this was done before; one that was superseded goes on its way again.

    What was told last is part of the key: a fact that comes to hold a second time is news again.
    """
    key = digest_of(fact.digest, level, entry.name, last.key if last else None)
    known = session.scalars(select(AnnouncementRow).where(AnnouncementRow.key == key)).one_or_none()
    if known is None:
        row = _row(entry, fact, level, key=key, now=now)
        # A result that is withdrawn may be so because the study is another patient's: it is taken from the former one.
        row.patient_key = last.patient_key if last is not None and fact.priority is None else fact.patient_key
        row.previous = None if last is None or level is AnnouncementLevel.FIRST else last.priority
        session.add(row)
    elif known.state == AnnouncementState.SUPERSEDED.value:
        row = known
        step(row, AnnouncementState.PENDING)
        row.attempts, row.group_key, row.next_attempt_at = 0, None, _due_at(entry, now)
    else:
        return
    session.flush()
    changes.announce(session)
    record(session, row, "opened", actor=actor, now=now)


def _row(entry: ChannelEntry, fact: StudyFact, level: AnnouncementLevel, *, key: str, now: datetime) -> AnnouncementRow:
    return AnnouncementRow(
        key=key,
        fact=fact.digest,
        channel=entry.name,
        study_id=fact.study_id,
        revision=fact.revision,
        job_id=fact.job_id,
        level=level.value,
        priority=fact.priority.value if fact.priority else None,
        opened_at=now,
        state=AnnouncementState.PENDING.value,
        attempts=0,
        next_attempt_at=_due_at(entry, now),
        reached=False,
    )


def _due_at(entry: ChannelEntry, now: datetime) -> datetime:
    return now + timedelta(seconds=entry.group_seconds)


def _rows(session: Session, study_id: int) -> Mapping[str, Sequence[AnnouncementRow]]:
    """Return the announcements of a study by channel, oldest first, and keep claims from taking them meanwhile."""
    query = select(AnnouncementRow).where(AnnouncementRow.study_id == study_id).order_by(AnnouncementRow.id)
    found: dict[str, list[AnnouncementRow]] = {}
    for row in session.scalars(query.with_for_update().execution_options(populate_existing=True)):
        found.setdefault(row.channel, []).append(row)
    return found
