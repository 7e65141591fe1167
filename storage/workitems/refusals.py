"""Why something is not done with a workitem, and what is remarked of what was done: the statuses of PS3.4 CC.2."""

from __future__ import annotations

from enum import IntEnum

from storage.errors import StorageError


class Refusal(IntEnum):
    """Failures (PS3.4 Tables CC.2.1-2, CC.2.2-2, CC.2.5-4 and CC.2.6-1, PS3.7 Annex C)."""

    INVALID_ATTRIBUTE_VALUE = 0x0106
    DUPLICATE_SOP_INSTANCE = 0x0111
    MISSING_ATTRIBUTE = 0x0120
    MISSING_ATTRIBUTE_VALUE = 0x0121
    RESOURCE_LIMITATION = 0x0213
    MAY_NO_LONGER_BE_UPDATED = 0xC300
    TRANSACTION_UID_NOT_CORRECT = 0xC301
    ALREADY_IN_PROGRESS = 0xC302
    SCHEDULED_ONLY_BY_CREATION = 0xC303
    FINAL_STATE_REQUIREMENTS_NOT_MET = 0xC304
    NO_SUCH_WORKITEM = 0xC307
    NOT_CREATED_AS_SCHEDULED = 0xC309
    NOT_YET_IN_PROGRESS = 0xC310
    ALREADY_COMPLETED = 0xC311
    PERFORMER_CANNOT_BE_CONTACTED = 0xC312


class Remark(IntEnum):
    """Warnings: nothing is wrong, and the peer may want to know (PS3.4 Tables CC.2.1-2 and CC.2.2-2)."""

    ALREADY_CANCELED = 0xB304
    ALREADY_COMPLETED = 0xB306


class WorkitemRefused(StorageError):
    """A request about a workitem breaks a rule of PS3.4 CC.2; its code names it: `workitem_no_such_workitem`."""

    code = "workitem_refused"

    def __init__(self, refusal: Refusal, message: str) -> None:
        super().__init__(message)
        self.refusal = refusal
        self.code = f"workitem_{refusal.name.lower()}"
