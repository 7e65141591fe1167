"""Announcements of one group for receivers whose form has no groups: one message after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dicom_gateway.announcing.announcement import TAKEN, Announcement, Answer, Verdict


def told_one_by_one(announcements: Sequence[Announcement], tell: Callable[[Announcement], Answer]) -> Answer:
    """Tell announcements in their order, and return what is to be said of all of them together.

    The first that fails ends it: all are to be sent again then, so a repeat must change nothing of what was taken. A
    refusal does not keep the others back, and is what is answered at the end.
    """
    worst = TAKEN
    for announcement in announcements:
        answer = tell(announcement)
        if answer.verdict is Verdict.FAILED:
            return answer
        worst = answer if worst.verdict is Verdict.TAKEN else worst
    return worst
