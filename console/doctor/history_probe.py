"""Probe of the history: its guards, its months, and whether oncue itself could undo them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy.orm import Session

from console.doctor.parts import ExaminedPart, PartHealth
from console.history.log_key import key_problem
from console.installation import Installation
from storage import audit
from storage.database import utc_now
from storage.history import guards, partitions, sealing
from storage.roles.login import may_undo_guards

_SUBJECT = "history"
_SEALED_WITHIN = timedelta(minutes=1)


def probe_history(installation: Installation) -> Iterator[ExaminedPart]:
    """Look at the guards of the audit trail and at its partitions."""
    installation.require()
    with installation.database.read() as session:
        missing = guards.missing(session)
        lacking = partitions.lacking(session, now=utc_now())
        strays = partitions.strays(session)
        login = _login(session)
        waiting = sealing.unsealed_since(session)
        late = waiting is not None and waiting < audit.moment(utc_now() - _SEALED_WITHIN)
    if late:
        yield _late(installation, f"events since {waiting} are not sealed")
    if missing:
        yield ExaminedPart(_SUBJECT, PartHealth.BROKEN, f"guards taken off or changed: {'; '.join(missing)}")
    if lacking:
        detail = f"no partition for {', '.join(lacking)}: `oncue db upgrade` makes them"
        yield ExaminedPart(_SUBJECT, PartHealth.REMARK, detail)
    if strays:
        count = f"{strays} or more" if strays == partitions.FEW else str(strays)
        detail = f"{count} events lie in no month's partition: a clock was wrong, or a month was made late"
        yield ExaminedPart(_SUBJECT, PartHealth.REMARK, detail)
    if not (missing or lacking or strays):
        yield ExaminedPart(_SUBJECT, PartHealth.FINE, f"every guard is in place; {login}")


def _late(installation: Installation, what: str) -> ExaminedPart:
    """Say why nothing is sealed: the key, or that no gateway and no relay runs."""
    problem = key_problem(installation)
    if problem is not None:
        return ExaminedPart(_SUBJECT, PartHealth.BROKEN, f"{what}: {problem}")
    return ExaminedPart(_SUBJECT, PartHealth.REMARK, f"{what}: no gateway and no relay is running")


def _login(session: Session) -> str:
    """Say whether oncue itself could take the guards off."""
    if session.get_bind().dialect.name != "postgresql":
        return "whoever can write the file could take them off"
    if may_undo_guards(session):
        return "oncue's own login could take them off: see docs/audit-database.md"
    return "oncue's own login cannot take them off"
