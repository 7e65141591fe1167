"""What the routes of a study came to, short enough for one cell of a table."""

from __future__ import annotations

from console.result_words import why_not_sent
from storage.held_results import RouteResult
from storage.states import JobState, StudyState
from storage.worklist import StudyEntry


def in_one_cell(entry: StudyEntry) -> str | None:
    """Return one line a route, with what it found or how far it is; None where nothing is known of any."""
    if entry.state is StudyState.NOT_APPLICABLE:
        return "no route was asked: it came as a prior" if entry.unasked else "no route wants it"
    return "\n".join(_line(one) for one in entry.analyses) or None


def _line(one: RouteResult) -> str:
    size = f"{one.volume_ml:.3g} ml" if one.volume_ml else ""
    found = (
        [one.finding or "lesions not looked for", one.label, size, one.priority, why_not_sent(one.withheld)]
        if one.result_job_id is not None
        else []
    )
    waits = "" if one.state is JobState.SUCCEEDED else one.state
    words = (*found, waits, one.code if one.state is not JobState.SUCCEEDED else "")
    return f"{one.route}: {', '.join(word for word in words if word)}"
