"""The doctor's examination: every part is looked at, also when another one is broken."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from console.doctor import (
    audit_probe,
    certificates_probe,
    channels_probe,
    computing_probes,
    destinations_probe,
    fetching_probe,
    history_probe,
    models_probe,
    network_probes,
    peers_probe,
    process_probes,
    retention_probe,
    routes_probe,
    storage_probes,
    tokens_probe,
    triage_probe,
    urgent_probe,
)
from console.doctor.parts import ExaminedPart, PartHealth, Probe
from console.installation import Installation, open_installation
from storage.errors import ConfigurationError, OncueError

PROBES: Mapping[str, Probe] = {
    "disk": storage_probes.probe_disk,
    "database": storage_probes.probe_database,
    "incoming": storage_probes.probe_incoming,
    "history": history_probe.probe_history,
    "gateway": process_probes.probe_gateway,
    "relay": process_probes.probe_relay,
    "worker": process_probes.probe_worker,
    "retention": retention_probe.probe_retention,
    "routes": routes_probe.probe_routes,
    "triage": triage_probe.probe_triage,
    "ports": network_probes.probe_ports,
    "tokens": tokens_probe.probe_tokens,
    "listener": network_probes.probe_listener,
    "certificates": certificates_probe.probe_certificates,
    "peers": peers_probe.probe_peers,
    "destinations": destinations_probe.probe_destinations,
    "channels": channels_probe.probe_channels,
    "fetching": fetching_probe.probe_fetching,
    "syslog": audit_probe.probe_syslog,
    "broker": computing_probes.probe_broker,
    "urgent": urgent_probe.probe_urgent,
    "weights": computing_probes.probe_weights,
    "models": models_probe.probe_models,
    "device": computing_probes.probe_device,
}
"""What can be looked at, by name, in the order of an examination."""


def examine(state: Path, *, file: Path | None = None, only: Collection[str] = ()) -> tuple[ExaminedPart, ...]:
    """Look at every part of an installation, or at those named; a part that cannot be looked at is listed too."""
    try:
        installation = open_installation(state, file=file)
    except ConfigurationError as error:
        return (ExaminedPart("settings", PartHealth.BROKEN, f"[{error.code}] {error}"),)
    parts = [] if only else [_settings(installation.configuration.file)]
    for name, probe in PROBES.items():
        if not only or name in only:
            parts += (_said_once(part, parts) for part in _guarded(name, probe, installation))
    installation.database.dispose()
    return tuple(parts)


def _settings(file: Path) -> ExaminedPart:
    found = str(file) if file.is_file() else f"defaults and environment alone; there is no {file}"
    return ExaminedPart("settings", PartHealth.FINE, found)


def _said_once(part: ExaminedPart, before: Sequence[ExaminedPart]) -> ExaminedPart:
    """Point to the part that has the same fault, instead of saying it again: a missing database stops many probes."""
    first = next((other for other in before if other.detail == part.detail), None)
    if part.verdict is not PartHealth.BROKEN or first is None:
        return part
    return ExaminedPart(part.subject, PartHealth.REMARK, f"not looked at: see {first.subject}")


def _guarded(name: str, probe: Probe, installation: Installation) -> list[ExaminedPart]:
    """Return what a probe found, and after it the error that ended it."""
    found: list[ExaminedPart] = []
    try:
        found.extend(probe(installation))
    except OncueError as error:
        found.append(ExaminedPart(name, PartHealth.BROKEN, f"[{error.code}] {error}"))
    except ImportError as error:
        found.append(ExaminedPart(name, PartHealth.REMARK, f"not looked at: {error.name} is not installed here"))
    return found
