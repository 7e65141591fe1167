"""How long nothing may have come of a study until it is taken for complete."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from dicom_gateway.completeness.rules import Rules
from storage import arrival_gaps
from storage.arrival_gaps import Sender
from storage.closing import ArrivingStudy

_MARGIN = 1.5
"""A learned quiet time is so many times the pause that 19 of 20 studies stay within."""

_TRICKLE_MARGIN = 2.0
_KNOWN_FOR = timedelta(seconds=60)


class QuietTime:
    """Tells quiet times; what was learned of a sender is read again after a minute, or when a study has closed."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._learned: dict[Sender, float | None] = {}
        self._read_at: datetime | None = None

    def seconds(self, session: Session, study: ArrivingStudy, *, now: datetime) -> float:
        """Return the quiet time of a study in seconds.

        With every late image in a row it doubles, and from the second one on it is at least twice the longest pause of
        this study, so that images that trickle in are gathered and not analysed one by one.
        """
        base = self._of_senders(session, study.id, now=now) if self._rules.learns else self._rules.quiet_seconds
        late = study.arrival.late_revisions
        if late == 0:
            return base
        grown = base * 2.0 ** min(late, 32)
        if late > 1:
            grown = max(grown, _TRICKLE_MARGIN * arrival_gaps.longest_of(session, study.id))
        return min(grown, max(base, self._rules.late_quiet_most_seconds))

    def forget(self) -> None:
        """Read again what was learned: a study has closed."""
        self._read_at = None

    def _of_senders(self, session: Session, study_id: int, *, now: datetime) -> float:
        """Return the longest of the quiet times of those who sent a study."""
        if self._read_at is None or not timedelta() <= now - self._read_at < _KNOWN_FOR:
            self._learned, self._read_at = {}, now
        senders = arrival_gaps.senders_of(session, study_id)
        return max((self._of_sender(session, sender) for sender in senders), default=self._rules.quiet_seconds)

    def _of_sender(self, session: Session, sender: Sender) -> float:
        if sender not in self._learned:
            self._learned[sender] = arrival_gaps.typical_longest(session, sender)
        pause = self._learned[sender]
        if pause is None:
            return self._rules.quiet_seconds
        return min(max(pause * _MARGIN, self._rules.quiet_least_seconds), self._rules.quiet_most_seconds)
