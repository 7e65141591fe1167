"""The doctor's round: every part is looked at, also when another one is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from console.installation import Installation, open_installation
from storage.errors import ConfigurationError, OncueError


class Verdict(StrEnum):
    """What the doctor says of one part."""

    FINE = "fine"
    REMARK = "remark"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One part, what is said of it, and why."""

    subject: str
    verdict: Verdict
    detail: str


Check = Callable[[Installation], Iterator[Finding]]


def examine(state: Path, *, file: Path | None = None) -> tuple[Finding, ...]:
    """Look at every part of an installation; what cannot be looked at is a finding of its own."""
    from console.diagnosis.computing import check_broker, check_device, check_weights
    from console.diagnosis.network import check_destinations, check_listener, check_ports
    from console.diagnosis.records import check_database, check_disk, check_processes

    try:
        installation = open_installation(state, file=file)
    except ConfigurationError as error:
        return (Finding("settings", Verdict.BROKEN, f"[{error.code}] {error}"),)
    findings = [Finding("settings", Verdict.FINE, str(installation.configuration.file))]
    checks: tuple[tuple[str, Check], ...] = (
        ("disk", check_disk),
        ("database", check_database),
        ("processes", check_processes),
        ("ports", check_ports),
        ("listener", check_listener),
        ("destinations", check_destinations),
        ("broker", check_broker),
        ("weights", check_weights),
        ("device", check_device),
    )
    for subject, check in checks:
        findings.extend(_guarded(subject, check, installation))
    installation.database.dispose()
    return tuple(findings)


def _guarded(subject: str, check: Check, installation: Installation) -> list[Finding]:
    try:
        return list(check(installation))
    except OncueError as error:
        return [Finding(subject, Verdict.BROKEN, f"[{error.code}] {error}")]
    except ImportError as error:
        return [Finding(subject, Verdict.REMARK, f"not looked at: {error.name} is not installed here")]
