"""The probe of the syslog server: whether it answers, and how far behind it is."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

from console.doctor.parts import ExaminedPart, PartHealth
from console.installation import Installation
from dicom_gateway.audit_messages.sending import reach
from dicom_gateway.audit_messages.syslog_server import SyslogServer, Transport
from storage import audit_forwards

_SUBJECT = "syslog"


def probe_syslog(installation: Installation) -> Iterator[ExaminedPart]:
    """Connect to the server that audit messages go to, and count what it lacks; say nothing where none is set."""
    server = SyslogServer.of(installation.settings.audit)
    if server is None:
        return
    yield _behind(installation, server)
    started = perf_counter()
    reach(server)
    if server.transport is Transport.UDP:
        detail = f"{server} is sent to without an answer, and what gets lost on the way is not noticed; use tls://"
        yield ExaminedPart(_SUBJECT, PartHealth.REMARK, detail)
        return
    milliseconds = 1000 * (perf_counter() - started)
    unguarded = "" if server.transport is Transport.TLS else ", without TLS: anybody on the way can read and change it"
    yield ExaminedPart(_SUBJECT, PartHealth.FINE, f"{server} answered in {milliseconds:.0f} ms{unguarded}")


def _behind(installation: Installation, server: SyslogServer) -> ExaminedPart:
    with installation.read() as session:
        backlog = audit_forwards.backlog(session, str(server))
    if backlog is None:
        return ExaminedPart(_SUBJECT, PartHealth.REMARK, f"nothing was sent to {server} yet: start the gateway")
    if backlog.attempts:
        detail = (
            f"{backlog.events} events wait for {server}, {backlog.attempts} attempts failed: "
            f"[{backlog.code}] {backlog.reason}"
        )
        return ExaminedPart(_SUBJECT, PartHealth.REMARK, detail)
    return ExaminedPart(_SUBJECT, PartHealth.FINE, f"{backlog.events} sealed events wait to be sent to {server}")
