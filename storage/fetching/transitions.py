"""The steps that a study on its way from a source may take, and the event that tells of each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy.orm import Session

from storage import audit
from storage.errors import IllegalTransition
from storage.fetching.tables import FetchedStudyRow
from storage.states import FetchState

ACTOR = "fetching"
_WAITS = frozenset({FetchState.SETTLING, FetchState.DUE})
ALLOWED: Mapping[FetchState, frozenset[FetchState]] = {
    FetchState.SETTLING: frozenset({FetchState.DUE, FetchState.FETCHED, FetchState.FAILED}),
    FetchState.DUE: frozenset({FetchState.FETCHING, FetchState.SETTLING, FetchState.FETCHED}),
    FetchState.FETCHING: frozenset({FetchState.FETCHED, FetchState.DUE, FetchState.FAILED}),
    FetchState.FETCHED: _WAITS,
    FetchState.FAILED: _WAITS,
}
"""FETCHED is left where the source says to hold more, or a person wants it again; FAILED for the same reasons."""


def step(
    session: Session,
    row: FetchedStudyRow,
    state: FetchState,
    *,
    now: datetime,
    actor: str = ACTOR,
    details: Mapping[str, audit.Detail] | None = None,
) -> None:
    """Take a step and write its event; IllegalTransition where the table does not hold it."""
    if state not in ALLOWED[FetchState(row.state)]:
        raise IllegalTransition(f"the study cannot go from {row.state} to {state} on its way from {row.source}")
    row.state = state.value
    tell(session, row, f"fetch:{row.state}", now=now, actor=actor, details=details)


def tell(
    session: Session,
    row: FetchedStudyRow,
    tag: str,
    *,
    now: datetime,
    actor: str = ACTOR,
    details: Mapping[str, audit.Detail] | None = None,
) -> None:
    """Write an event of a study on its way, with where it comes from and how much of it there is."""
    study = audit.ConcernedStudy(row.study_instance_uid, None)
    context = {"source": row.source, "instances": row.instances, "prior": row.is_prior, **(details or {})}
    subject = f"study/{row.study_instance_uid}"
    audit.record(session, tag, subject, actor=actor, now=now, details=context, study=study)
