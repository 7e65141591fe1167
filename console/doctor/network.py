"""The doctor's look at the network: our ports, our listener by C-ECHO, and each destination by C-ECHO."""

from __future__ import annotations

from collections.abc import Iterator

from console.doctor.examination import Finding, Verdict
from console.installation import Installation
from console.supervision.lock import is_held
from console.supervision.ports import is_taken, reachable
from console.supervision.site import Endpoints
from dicom_gateway.destinations import Destination
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.sending.sender import EchoOutcome, echo
from storage import processes
from storage.database import utc_now

_PATIENCE = PeerTimeouts(connect_seconds=5, associate_seconds=5, answer_seconds=5)


def check_ports(installation: Installation) -> Iterator[Finding]:
    """Look who holds our ports: we, nobody, or somebody else."""
    runs = is_held(installation.state) or _gateway_is_alive(installation)
    here = _endpoints(installation)
    for name, host, port in (
        ("DICOM port", here.host, here.port),
        ("console port", here.console_host, here.console_port),
    ):
        taken = is_taken(host, port)
        if taken == runs:
            yield Finding(name, Verdict.FINE, f"{host}:{port} is {'ours' if taken else 'free'}")
        elif taken:
            yield Finding(name, Verdict.BROKEN, f"{host}:{port} is held by another program")
        else:
            yield Finding(name, Verdict.REMARK, f"nobody listens on {host}:{port} of this machine")


def check_listener(installation: Installation) -> Iterator[Finding]:
    """Ask our own listener by C-ECHO; one that is not running is a remark."""
    here = _endpoints(installation)
    known = installation.settings.gateway.allowed_aets
    own = Destination(here.aet, reachable(here.host), here.port)
    outcome = echo(own, calling_ae_title=known[0] if known else here.aet, timeouts=_PATIENCE)
    if not outcome.answered and not _gateway_is_alive(installation):
        yield Finding("listener", Verdict.REMARK, f"not running: {outcome.reason}")
        return
    yield _echoed("listener", own, outcome)


def check_destinations(installation: Installation) -> Iterator[Finding]:
    """Ask each destination by C-ECHO."""
    here = _endpoints(installation)
    texts = tuple(dict.fromkeys((*installation.settings.gateway.destinations, *here.destinations)))
    if not texts:
        yield Finding("destinations", Verdict.REMARK, "none: results stay here; set gateway.destinations")
    for text in texts:
        peer = Destination.parse(text)
        yield _echoed("destination", peer, echo(peer, calling_ae_title=here.aet, timeouts=_PATIENCE))


def _echoed(subject: str, peer: Destination, outcome: EchoOutcome) -> Finding:
    if outcome.answered:
        return Finding(subject, Verdict.FINE, f"{peer} answered C-ECHO in {1000 * outcome.seconds:.0f} ms")
    return Finding(subject, Verdict.BROKEN, f"[{outcome.code}] {outcome.reason}")


def _endpoints(installation: Installation) -> Endpoints:
    """Return where a running `oncue up` answers, or where the settings say that it would."""
    noted = Endpoints.read(installation.state) if is_held(installation.state) else None
    return noted or Endpoints.of(installation.settings)


def _gateway_is_alive(installation: Installation) -> bool:
    now = utc_now()
    with installation.read() as session:
        return any(process.is_alive(now) for process in processes.running(session, kind="gateway"))
