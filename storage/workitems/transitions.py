"""The state machine of a workitem, and what it must hold before it may end (PS3.4 Table CC.1.1-2, CC.2.5.1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from storage.attributes import Attributes, date_time, sequence
from storage.workitems.attributes import Tag, code
from storage.workitems.refusals import Refusal, Remark, WorkitemRefused
from storage.workitems.tables import WorkitemState

Outcome = WorkitemState | Refusal | Remark

_SCHEDULED, _IN_PROGRESS = WorkitemState.SCHEDULED, WorkitemState.IN_PROGRESS
_COMPLETED, _CANCELED = WorkitemState.COMPLETED, WorkitemState.CANCELED

WITH_LOCK: Mapping[tuple[WorkitemState, WorkitemState], Outcome] = {
    (_IN_PROGRESS, _SCHEDULED): _IN_PROGRESS,
    (_IN_PROGRESS, _IN_PROGRESS): Refusal.ALREADY_IN_PROGRESS,
    (_IN_PROGRESS, _COMPLETED): Refusal.MAY_NO_LONGER_BE_UPDATED,
    (_IN_PROGRESS, _CANCELED): Refusal.MAY_NO_LONGER_BE_UPDATED,
    (_COMPLETED, _SCHEDULED): Refusal.NOT_YET_IN_PROGRESS,
    (_COMPLETED, _IN_PROGRESS): _COMPLETED,
    (_COMPLETED, _COMPLETED): Remark.ALREADY_COMPLETED,
    (_COMPLETED, _CANCELED): Refusal.MAY_NO_LONGER_BE_UPDATED,
    (_CANCELED, _SCHEDULED): Refusal.NOT_YET_IN_PROGRESS,
    (_CANCELED, _IN_PROGRESS): _CANCELED,
    (_CANCELED, _COMPLETED): Refusal.MAY_NO_LONGER_BE_UPDATED,
    (_CANCELED, _CANCELED): Remark.ALREADY_CANCELED,
}
"""What comes of asking for a state, in a state, with the correct Transaction UID: the state asked for, or why not."""

CANCEL_REQUESTS: Mapping[WorkitemState, Outcome] = {
    _SCHEDULED: _CANCELED,
    _IN_PROGRESS: Refusal.PERFORMER_CANNOT_BE_CONTACTED,
    _COMPLETED: Refusal.ALREADY_COMPLETED,
    _CANCELED: Remark.ALREADY_CANCELED,
}
"""What comes of a request to cancel by somebody who does not hold the lock. Performers cannot be told of one."""

_MESSAGES: Mapping[Refusal, str] = {
    Refusal.MAY_NO_LONGER_BE_UPDATED: "the workitem has ended and may no longer be updated",
    Refusal.TRANSACTION_UID_NOT_CORRECT: "the correct Transaction UID was not provided",
    Refusal.ALREADY_IN_PROGRESS: "the workitem is already IN PROGRESS",
    Refusal.SCHEDULED_ONLY_BY_CREATION: "a workitem becomes SCHEDULED by its creation alone",
    Refusal.NOT_YET_IN_PROGRESS: "the workitem is not yet IN PROGRESS",
    Refusal.ALREADY_COMPLETED: "the workitem is already COMPLETED",
    Refusal.PERFORMER_CANNOT_BE_CONTACTED: "somebody has it IN PROGRESS and cannot be contacted",
}
_REQUIRED_OF_THE_PERFORMED = (
    Tag.PerformedStationNameCodeSequence,
    Tag.PerformedWorkitemCodeSequence,
    Tag.PerformedProcedureStepStartDateTime,
    Tag.PerformedProcedureStepEndDateTime,
)
_NO_REASON_GIVEN = code("110513", "DCM", "Discontinued for unspecified reason")


def asked(wanted: WorkitemState, current: WorkitemState, *, is_correct: bool) -> WorkitemState | Remark:
    """Return the state that a change leads to, or a remark where it is that already; WorkitemRefused where it must not.

    ``is_correct`` says whether the Transaction UID of the request is the correct one.
    """
    if wanted is WorkitemState.SCHEDULED:
        raise refused(Refusal.SCHEDULED_ONLY_BY_CREATION)
    if not is_correct:
        raise refused(Refusal.TRANSACTION_UID_NOT_CORRECT)
    return _settled(WITH_LOCK[wanted, current])


def cancel_asked(current: WorkitemState) -> WorkitemState | Remark:
    """Return what a request to cancel leads to; WorkitemRefused where it leads to nothing."""
    return _settled(CANCEL_REQUESTS[current])


def refused(refusal: Refusal) -> WorkitemRefused:
    """Return the error of a refusal."""
    return WorkitemRefused(refusal, _MESSAGES[refusal])


def ended(content: Attributes, state: WorkitemState, *, now: datetime) -> Attributes:
    """Return the content of a workitem that may end in a state; WorkitemRefused where it lacks something for that.

    To a canceled one the time, and a reason that says that none was given, are added where they are missing.
    """
    if state is WorkitemState.COMPLETED:
        _require_performed(content)
        return content
    progress = content.items(Tag.ProcedureStepProgressInformationSequence)
    first = progress[0] if progress else Attributes({})
    added = {}
    if not first.value(Tag.ProcedureStepCancellationDateTime):
        added[Tag.ProcedureStepCancellationDateTime.value] = date_time(now)
    if not first.items(Tag.ProcedureStepDiscontinuationReasonCodeSequence):
        added[Tag.ProcedureStepDiscontinuationReasonCodeSequence.value] = sequence(_NO_REASON_GIVEN)
    return content.changed({Tag.ProcedureStepProgressInformationSequence: sequence(first.changed(added).elements)})


def _require_performed(content: Attributes) -> None:
    performed = content.items(Tag.UnifiedProcedureStepPerformedProcedureSequence)
    first = performed[0] if performed else Attributes({})
    missing = [tag.name for tag in _REQUIRED_OF_THE_PERFORMED if not first.values(tag)]
    if Tag.OutputInformationSequence not in first:
        missing.append(Tag.OutputInformationSequence.name)
    if missing:
        # The first one stands in whole in the 64 characters that an answer by DIMSE has.
        raise WorkitemRefused(
            Refusal.FINAL_STATE_REQUIREMENTS_NOT_MET,
            f"missing to be COMPLETED: {', '.join(missing)}",
        )


def _settled(outcome: Outcome) -> WorkitemState | Remark:
    if isinstance(outcome, Refusal):
        raise refused(outcome)
    return outcome
