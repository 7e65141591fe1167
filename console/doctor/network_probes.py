"""Probes of the network: our ports, our listener by C-ECHO, and each destination by C-ECHO."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.uid import UID, Comprehensive3DSRStorage, KeyObjectSelectionDocumentStorage, SegmentationStorage

from console.doctor.parts import ExaminedPart, PartHealth
from console.doctor.process_probes import count_alive, current_endpoints
from console.installation import Installation
from console.supervision.lock import is_held
from console.supervision.ports import is_taken, reachable
from dicom_gateway.destinations import Destination
from dicom_gateway.errors import PeerRejectedObject
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.sending.sender import EchoOutcome, echo
from dicom_gateway.tls.destination_handshake import DestinationTls

_RESULTS = (SegmentationStorage, Comprehensive3DSRStorage)
_REJECTION = KeyObjectSelectionDocumentStorage
_PATIENCE = PeerTimeouts(connect_seconds=5, associate_seconds=5, answer_seconds=5)


def probe_ports(installation: Installation) -> Iterator[ExaminedPart]:
    """Look who holds our ports: we, nobody, or somebody else."""
    runs = is_held(installation.state) or count_alive(installation, "gateway") > 0
    here = current_endpoints(installation)
    further = installation.settings.gateway.listeners
    for name, host, port in (
        ("DICOM port", here.host, here.port),
        *(("DICOM port", listener.host, listener.port) for listener in further if listener.port),
        ("console port", here.console_host, here.console_port),
    ):
        taken = is_taken(host, port)
        if taken == runs:
            yield ExaminedPart(name, PartHealth.FINE, f"{host}:{port} is {'ours' if taken else 'free'}")
        elif taken:
            yield ExaminedPart(name, PartHealth.BROKEN, f"{host}:{port} is held by another program")
        else:
            yield ExaminedPart(name, PartHealth.REMARK, f"nobody listens on {host}:{port} of this machine")


def probe_listener(installation: Installation) -> Iterator[ExaminedPart]:
    """Ask our own listener by C-ECHO; one that is not running is a remark."""
    here = current_endpoints(installation)
    own = Destination(here.aet, reachable(here.host), here.port)
    outcome = echo(own, calling_ae_title=here.aet, timeouts=_PATIENCE)
    if not outcome.answered and not count_alive(installation, "gateway"):
        yield ExaminedPart("listener", PartHealth.REMARK, f"not running: {outcome.reason}")
        return
    if outcome.code == PeerRejectedObject.code and not installation.settings.gateway.admit_loopback:
        yield ExaminedPart("listener", PartHealth.FINE, f"{own} answers; without an entry this machine is turned away")
        return
    yield _echoed("listener", own, outcome)


def probe_destinations(installation: Installation) -> Iterator[ExaminedPart]:
    """Ask each destination by C-ECHO, and whether it takes the SOP classes of what it is sent."""
    here = current_endpoints(installation)
    gateway = installation.settings.gateway
    tls = DestinationTls(gateway)
    texts = tuple(dict.fromkeys((*gateway.destinations, *here.destinations)))
    if not texts:
        yield ExaminedPart("destinations", PartHealth.REMARK, "none: results stay here; set gateway.destinations")
    for text in texts:
        peer = Destination.parse(text)
        sent = (*_RESULTS, _REJECTION) if text in gateway.reject_superseded else _RESULTS
        outcome = echo(peer, calling_ae_title=here.aet, timeouts=_PATIENCE, tls=tls, sop_classes=sent)
        if outcome.answered and outcome.untaken:
            names = ", ".join(UID(uid).name for uid in outcome.untaken)
            reason = (
                f"{peer} answers C-ECHO but refuses {names}; allow us to store it there, or results will be refused"
            )
            yield ExaminedPart("destination", PartHealth.BROKEN, f"[{PeerRejectedObject.code}] {reason}")
        else:
            yield _echoed("destination", peer, outcome)


def _echoed(subject: str, peer: Destination, outcome: EchoOutcome) -> ExaminedPart:
    if outcome.answered:
        return ExaminedPart(subject, PartHealth.FINE, f"{peer} answered C-ECHO in {1000 * outcome.seconds:.0f} ms")
    return ExaminedPart(subject, PartHealth.BROKEN, f"[{outcome.code}] {outcome.reason}")
