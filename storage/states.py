"""Where studies, jobs, reports, deliveries, notices, commitments and fetched studies may stand."""

from __future__ import annotations

from enum import StrEnum


class StudyState(StrEnum):
    """Where a study stands: still arriving, wanted by no route, or as the newest jobs of its routes.

    HELD and SET_ASIDE: something of it was still missing at its deadline, and a person is to say what becomes of it. A
    held one is analysed when the rest comes, too; one that was set aside is not, unless a late image reopens it.
    """

    RECEIVING = "receiving"
    NOT_APPLICABLE = "not_applicable"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    HELD = "held"
    SET_ASIDE = "set_aside"


class JobState(StrEnum):
    """Where one route's analysis of one study revision stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class ReportState(StrEnum):
    """Whether the DICOM objects of a succeeded job have been written.

    WITHHELD: the route does not send it. SUPERSEDED: a later result came first.
    """

    PENDING = "pending"
    WRITTEN = "written"
    FAILED = "failed"
    WITHHELD = "withheld"
    SUPERSEDED = "superseded"


class DeliveryState(StrEnum):
    """Where one object on its way to one destination stands.

    SUPERSEDED: a later result came first. CALLED_OFF: a person ended it, or it goes there in another form.
    """

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    REFUSED = "refused"
    SUPERSEDED = "superseded"
    CALLED_OFF = "called_off"


class RejectionState(StrEnum):
    """Whether the receivers of a superseded result have been told. NEEDLESS: nobody had got it, or wants to know."""

    PENDING = "pending"
    WRITTEN = "written"
    NEEDLESS = "needless"
    FAILED = "failed"


class NoticeState(StrEnum):
    """Whether destinations have been told of a study that was not analysed.

    NEEDLESS: none of them wants to know any more. SUPERSEDED: it is analysed after all, or for another reason not.
    """

    PENDING = "pending"
    WRITTEN = "written"
    NEEDLESS = "needless"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class CommitmentState(StrEnum):
    """Where a peer's request that we vouch for instances stands. FAILED: the peer never took our report."""

    ASKED = "asked"
    JUDGED = "judged"
    REPORTED = "reported"
    FAILED = "failed"


class ProofState(StrEnum):
    """Whether a destination vouches for an object that it took.

    PENDING: it is to be asked. ASKED: its report is due. FAILED: it does not have it, or never said; a person is told.
    """

    PENDING = "pending"
    ASKED = "asked"
    COMMITTED = "committed"
    FAILED = "failed"


class FetchState(StrEnum):
    """Where a study that is to be fetched stands. SETTLING: its count may still grow at its source."""

    SETTLING = "settling"
    DUE = "due"
    FETCHING = "fetching"
    FETCHED = "fetched"
    FAILED = "failed"
