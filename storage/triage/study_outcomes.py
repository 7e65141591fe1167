"""What two sets of decisions come to for each study: which priority it has when, and on which days it alarmed.

Kept as columns of numbers, some sixty bytes for each study, so that long histories fit into memory.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from storage.domain import Priority
from storage.triage.kept_decisions import KeptDecision, Verdict
from storage.triage.queue_model import UNDECIDED, Told

_NO_DAY = 0
_SAYS_NOTHING = len(Priority)
"""Added to the rank of a result without findings: it comes behind those that say something, as in the lists."""
_UNTOLD = 2 * len(Priority)


@dataclass(slots=True)
class Side:
    """Study by study, what one set of decisions says: the leading result's place and time, and days with an alarm."""

    place: array[int] = field(default_factory=lambda: array("b"))
    at: array[float] = field(default_factory=lambda: array("d"))
    last_alarm: array[int] = field(default_factory=lambda: array("l"))
    alarms: Counter[date] = field(default_factory=Counter)

    def begin(self) -> None:
        """Add a study of which nothing is known yet."""
        self.place.append(_UNTOLD)
        self.at.append(math.inf)
        self.last_alarm.append(_NO_DAY)

    def note(self, study: int, kept: KeptDecision, verdict: Verdict, *, says_something: bool) -> None:
        """Note what was said of one result of a study."""
        if verdict.priority in (Priority.STAT, Priority.HIGH) and not kept.is_withheld:
            self._alarm(study, kept.analysed_at)
        place = verdict.priority.rank + (0 if says_something else _SAYS_NOTHING)
        if kept.counts and place < self.place[study]:
            self.place[study], self.at[study] = place, kept.analysed_at.timestamp()

    def told(self) -> Told:
        """Return when which priority became known of each study."""
        ranks = [UNDECIDED if place == _UNTOLD else place % _SAYS_NOTHING for place in self.place]
        return Told(self.at, ranks)

    def _alarm(self, study: int, moment: datetime) -> None:
        day = moment.astimezone(UTC).date()
        if self.last_alarm[study] != day.toordinal():  # a study alarms once a day, however many routes say so
            self.last_alarm[study] = day.toordinal()
            self.alarms[day] += 1


@dataclass(slots=True)
class StudyOutcomes:
    """Every study of a replay: when it came, whether something was found, and what both sides say of it."""

    before: Side = field(default_factory=Side)
    after: Side = field(default_factory=Side)
    arrived: array[float] = field(default_factory=lambda: array("d"))
    positive: array[int] = field(default_factory=lambda: array("b"))
    _index: dict[int, int] = field(default_factory=dict)

    def study(self, kept: KeptDecision) -> int:
        """Return the place of a decision's study, which begins with its first one."""
        known = self._index.get(kept.study_id)
        if known is not None:
            self.arrived[known] = min(self.arrived[known], kept.arrived_at.timestamp())
            return known
        self._index[kept.study_id] = study = len(self.arrived)
        self.arrived.append(kept.arrived_at.timestamp())
        self.positive.append(False)
        self.before.begin()
        self.after.begin()
        return study
