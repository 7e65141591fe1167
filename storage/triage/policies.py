"""The policies of a site on record: the one that decides, those on trial beside it, and those that did before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import structlog
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from storage import audit, new_rows
from storage.database import Database
from storage.errors import IllegalTransition, PolicyInvalid, RecordExists, RecordMissing
from storage.triage.policy import Policy
from storage.triage.policy_file import load_policy, read_recorded
from storage.triage.tables import PolicyState, TriagePolicyRow

logger = structlog.get_logger(__name__)

LONGEST_NAME = 96
LONGEST_REASON = 500
_LEAST_DIGITS = 6
_IN_USE = (PolicyState.LIVE.value, PolicyState.SHADOW.value)
_TRANSITIONS: Mapping[PolicyState, frozenset[PolicyState]] = {
    PolicyState.CONFIGURED: frozenset({PolicyState.LIVE, PolicyState.SHADOW, PolicyState.RETIRED}),
    PolicyState.LIVE: frozenset({PolicyState.SHADOW, PolicyState.RETIRED}),
    PolicyState.SHADOW: frozenset({PolicyState.LIVE, PolicyState.RETIRED}),
    PolicyState.RETIRED: frozenset({PolicyState.LIVE, PolicyState.SHADOW, PolicyState.CONFIGURED}),
}
"""What may become of a policy. None leaves LIVE for CONFIGURED: the file of the settings decides only by itself."""
_TAGS: Mapping[PolicyState, str] = {
    PolicyState.CONFIGURED: "triage:configured",
    PolicyState.LIVE: "triage:promoted",
    PolicyState.SHADOW: "triage:shadowed",
    PolicyState.RETIRED: "triage:retired",
}
_NO_LONGER_CONFIGURED = "the settings name another file"


@dataclass(frozen=True, slots=True)
class PoliciesInForce:
    """The policy that decides, and those that are tried beside it, by name."""

    live: Policy
    shadows: tuple[Policy, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordedPolicy:
    """One policy's file with its state, and who changed that last, when and why."""

    name: str
    sha256: str
    content: str
    state: PolicyState
    reason: str
    changed_by: str
    added_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """Who changes what is in force, when, and why: each change is on record with its reason."""

    by: str
    reason: str
    now: datetime

    def __post_init__(self) -> None:
        """Refuse a change that nobody answers for."""
        if not self.by.strip() or not self.reason.strip():
            raise PolicyInvalid("say who changes the triage policy and why: --by NAME --reason WORDS")
        for what, text, most in (("a name", self.by, LONGEST_NAME), ("a reason", self.reason, LONGEST_REASON)):
            if len(text) > most or not text.isprintable():
                raise PolicyInvalid(f"{what} has {most} characters at most, and stands on one line")


def in_force(session: Session, configured: Policy | None = None) -> PoliciesInForce:
    """Return the policy that decides now and those on trial; PolicyInvalid where the one that decides cannot be read.

    With none promoted, the ``configured`` one decides: by default the one that a worker put on record last, or that
    ships.
    """
    rows = {row.sha256: row for row in session.scalars(_of_states(*_IN_USE))}
    live = next((row for row in rows.values() if row.state == PolicyState.LIVE.value), None)
    shadows = (row for row in rows.values() if row.state == PolicyState.SHADOW.value)
    tried = tuple(policy for row in shadows if (policy := _tried(row.sha256, row.name, row.content)) is not None)
    decides = _read(live) if live else configured or _configured(session)
    return PoliciesInForce(decides, tuple(policy for policy in tried if policy.sha256 != decides.sha256))


def is_known(session: Session, configured: Policy) -> bool:
    """Say whether the policy of the settings is on record as in use, or one that was promoted decides in its place."""
    query = select(TriagePolicyRow.sha256).where(
        (TriagePolicyRow.state == PolicyState.LIVE.value)
        | ((TriagePolicyRow.sha256 == configured.sha256) & (TriagePolicyRow.state != PolicyState.RETIRED.value))
    )
    return session.scalars(query.limit(1)).first() is not None


def keep_configured(session: Session, policy: Policy, *, actor: str, now: datetime, starts: bool = False) -> None:
    """Put the policy of the settings on record, where it decides.

    A worker that ``starts`` with a new one retires what the settings named before; later ones stand beside each other,
    so that machines with different files do not retire each other's at every job.
    """
    _take_turn(session)
    if is_known(session, policy):
        return
    if starts:
        for row in session.scalars(_of_states(PolicyState.CONFIGURED.value).with_for_update()):
            _set(session, row, PolicyState.RETIRED, Change(actor, _NO_LONGER_CONFIGURED, now))
    row = _kept(session, policy, actor=actor, now=now)
    _set(session, row, PolicyState.CONFIGURED, Change(actor, "the file of the settings", now))


def put_on_record(database: Database, policy: Policy, *, actor: str, now: datetime, starts: bool = False) -> None:
    """Put the policy of the settings on record unless it is, or another decides in its place; mostly a reading."""
    with database.read() as session:
        known = is_known(session, policy)
    if not known:
        with database.write() as session:
            keep_configured(session, policy, actor=actor, now=now, starts=starts)


def try_beside(session: Session, policy: Policy, change: Change) -> RecordedPolicy:
    """Have a policy decide beside the one that holds, on record alone.

    RecordExists where another one in use has its name, IllegalTransition where it decides or is tried already.
    """
    _take_turn(session)
    _require_name(session, policy)
    row = _kept(session, policy, actor=change.by, now=change.now)
    row.name = policy.name
    _set(session, row, PolicyState.SHADOW, change)
    return _recorded(row)


def promote(session: Session, policy: Policy, change: Change, *, keep_as_shadow: bool = False) -> RecordedPolicy:
    """Have a policy decide from the next job on; the one that did is retired, or tried beside it.

    That of the settings stays ``configured``, so that it decides again while none is live, unless it is tried beside.
    RecordExists where another one in use has its name, IllegalTransition where it decides already. Of two promotions at
    once the later one finds the earlier one's policy deciding.
    """
    _take_turn(session)
    former = session.scalars(_of_states(PolicyState.LIVE.value).with_for_update()).one_or_none()
    kept = _deciding(session, former) if keep_as_shadow else ()
    _require_name(session, policy, beside=None if keep_as_shadow or former is None else former.sha256, kept=kept)
    row = _kept(session, policy, actor=change.by, now=change.now)
    _require_way(row, PolicyState.LIVE)
    for one in kept:
        if one is not row:
            _require_name(session, _read(one))
            _set(session, one, PolicyState.SHADOW, change)
    if former is not None and not keep_as_shadow:
        _set(session, former, PolicyState.RETIRED, change)
    row.name = policy.name
    _set(session, row, PolicyState.LIVE, change, former=former)
    return _recorded(row)


def retire(session: Session, sha256: str, change: Change) -> RecordedPolicy:
    """Have a policy neither decide nor be tried; with none that was promoted, the file of the settings decides.

    RecordMissing; IllegalTransition where it is not in use, or is what the settings name.
    """
    _take_turn(session)
    row = session.get(TriagePolicyRow, sha256, with_for_update=True)
    if row is None:
        raise RecordMissing(f"there is no policy {sha256[:12]} on record")
    if row.state not in _IN_USE:
        raise IllegalTransition(f"policy {row.name} is {row.state}: there is nothing to retire")
    _set(session, row, PolicyState.RETIRED, change)
    return _recorded(row)


def find(session: Session, text: str) -> RecordedPolicy:
    """Return the policy with this name or digest, or the beginning of one; RecordMissing.

    Of several with one name the one in use is meant, else the one that was changed last.
    """
    asked = text.strip()
    by_digest = TriagePolicyRow.sha256.startswith(asked.lower(), autoescape=True)
    rows = [
        *session.scalars(select(TriagePolicyRow).where(TriagePolicyRow.name == asked)),
        *(session.scalars(select(TriagePolicyRow).where(by_digest)) if len(asked) >= _LEAST_DIGITS else ()),
    ]
    if not rows:
        raise RecordMissing(f"there is no policy {asked!r} on record; `oncue triage list` shows those that there are")
    return _recorded(max(rows, key=lambda row: (row.state in _IN_USE, row.changed_at)))


def listed(session: Session) -> tuple[RecordedPolicy, ...]:
    """Return every policy on record: the live one, those on trial, that of the settings, then the retired ones."""
    order = (PolicyState.LIVE, PolicyState.SHADOW, PolicyState.CONFIGURED, PolicyState.RETIRED)
    found = map(_recorded, session.scalars(select(TriagePolicyRow).order_by(TriagePolicyRow.name)))
    return tuple(sorted(found, key=lambda one: (order.index(one.state), one.name, one.sha256)))


def name_of(session: Session, sha256: str) -> str:
    """Return what the policy of a digest is called, empty where it is not on record."""
    return session.scalar(select(TriagePolicyRow.name).where(TriagePolicyRow.sha256 == sha256)) or ""


def read(recorded: RecordedPolicy) -> Policy:
    """Return a policy on record as one that decides; PolicyInvalid where this version cannot read it."""
    return _parsed(recorded.sha256, recorded.name, recorded.content)


def _read(row: TriagePolicyRow) -> Policy:
    return _parsed(row.sha256, row.name, row.content)


def _configured(session: Session) -> Policy:
    query = _of_states(PolicyState.CONFIGURED.value).order_by(TriagePolicyRow.changed_at.desc()).limit(1)
    row = session.scalars(query).first()
    return _read(row) if row else load_policy()


@lru_cache(maxsize=32)
def _parsed(sha256: str, name: str, content: str) -> Policy:
    policy = read_recorded(content.encode(), name=f"policy {name}", called=name)
    if policy.sha256 != sha256:
        raise PolicyInvalid(f"policy {name} on record is not the text with the digest {sha256[:12]}: promote it anew")
    return policy


@lru_cache(maxsize=32)
def _tried(sha256: str, name: str, content: str) -> Policy | None:
    """Return a policy on trial; None for one of another version that cannot be read: that is no reason to fail jobs."""
    try:
        return _parsed(sha256, name, content)
    except PolicyInvalid as error:
        logger.warning("triage.shadow_unreadable", code=error.code, policy=sha256[:12], reason=str(error))
        return None


def _of_states(*states: str) -> Select[TriagePolicyRow]:
    return select(TriagePolicyRow).where(TriagePolicyRow.state.in_(states)).order_by(TriagePolicyRow.name)


def _deciding(session: Session, live: TriagePolicyRow | None) -> Sequence[TriagePolicyRow]:
    """Return the policies that decide now: the live one, else what the machines' settings name."""
    if live is not None:
        return (live,)
    return session.scalars(_of_states(PolicyState.CONFIGURED.value).with_for_update()).all()


def _take_turn(session: Session) -> None:
    """Wait until nobody else changes what is in force: where none is live there is no row to lock."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("triage policies", 0))))


def _require_name(
    session: Session, policy: Policy, *, beside: str | None = None, kept: Sequence[TriagePolicyRow] = ()
) -> None:
    """Raise RecordExists where another policy in use, or one that is ``kept`` so, is called the same.

    ``beside`` is the digest of one that gives way.
    """
    for row in (*session.scalars(_of_states(*_IN_USE)), *kept):
        if row.name == policy.name and row.sha256 not in (policy.sha256, beside):
            raise RecordExists(
                f"policy {row.name} is {row.state} with other rules: give this one another name (--name)"
            )


def _kept(session: Session, policy: Policy, *, actor: str, now: datetime) -> TriagePolicyRow:
    """Return the row of a policy, put on record as retired where it is not there yet."""
    values = {
        "sha256": policy.sha256,
        "name": policy.name,
        "content": policy.content,
        "state": PolicyState.RETIRED.value,
        "reason": "",
        "changed_by": actor,
        "added_at": now,
        "changed_at": now,
    }
    new_rows.add_if_new(session, TriagePolicyRow, values)
    return session.get_one(TriagePolicyRow, policy.sha256, with_for_update=True, populate_existing=True)


def _require_way(row: TriagePolicyRow, state: PolicyState) -> None:
    if state not in _TRANSITIONS[PolicyState(row.state)]:
        raise IllegalTransition(f"policy {row.name} is {row.state} already")


def _set(
    session: Session,
    row: TriagePolicyRow,
    state: PolicyState,
    change: Change,
    *,
    former: TriagePolicyRow | None = None,
) -> None:
    _require_way(row, state)
    before = {"before": row.state} if row.reason else {}  # one that nobody put in force yet was nothing before
    row.state, row.reason, row.changed_by, row.changed_at = state.value, change.reason, change.by, change.now
    session.flush()  # before another one is live: the database allows one at a time
    audit.record(
        session,
        _TAGS[state],
        f"policy/{row.sha256[:12]}",
        actor=change.by,
        now=change.now,
        details={
            "name": row.name,
            "policy": row.sha256,
            "reason": change.reason,
            **before,
            **({"former": former.sha256, "former_name": former.name} if former is not None else {}),
        },
    )


def _recorded(row: TriagePolicyRow) -> RecordedPolicy:
    return RecordedPolicy(
        name=row.name,
        sha256=row.sha256,
        content=row.content,
        state=PolicyState(row.state),
        reason=row.reason,
        changed_by=row.changed_by,
        added_at=row.added_at,
        changed_at=row.changed_at,
    )
