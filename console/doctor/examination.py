"""The doctor's round: every part is looked at, also when another one is broken."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
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


def checks() -> Mapping[str, Check]:
    """Return what can be looked at, by name, in the order of the round."""
    from console.doctor import computing, network, records

    return {
        "disk": records.check_disk,
        "database": records.check_database,
        "gateway": records.check_gateway,
        "relay": records.check_relay,
        "worker": records.check_worker,
        "ports": network.check_ports,
        "listener": network.check_listener,
        "destinations": network.check_destinations,
        "broker": computing.check_broker,
        "weights": computing.check_weights,
        "device": computing.check_device,
    }


def examine(state: Path, *, file: Path | None = None, only: Collection[str] = ()) -> tuple[Finding, ...]:
    """Look at every part of an installation, or at some; what cannot be looked at is a finding of its own."""
    try:
        installation = open_installation(state, file=file)
    except ConfigurationError as error:
        return (Finding("settings", Verdict.BROKEN, f"[{error.code}] {error}"),)
    findings = [] if only else [Finding("settings", Verdict.FINE, str(installation.configuration.file))]
    for name, check in checks().items():
        if not only or name in only:
            findings += _guarded(name, check, installation)
    installation.database.dispose()
    return tuple(findings)


def _guarded(name: str, check: Check, installation: Installation) -> list[Finding]:
    try:
        return list(check(installation))
    except OncueError as error:
        return [Finding(name, Verdict.BROKEN, f"[{error.code}] {error}")]
    except ImportError as error:
        return [Finding(name, Verdict.REMARK, f"not looked at: {error.name} is not installed here")]
