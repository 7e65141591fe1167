"""Probes of the network: our ports, and our listener by C-ECHO."""

from __future__ import annotations

from collections.abc import Iterator

from console.doctor.answers import PATIENCE, echoed
from console.doctor.parts import ExaminedPart, PartHealth
from console.doctor.process_probes import count_alive, current_endpoints
from console.installation import Installation
from console.supervision.lock import is_held
from console.supervision.ports import is_taken, reachable
from dicom_gateway.destinations import Destination
from dicom_gateway.errors import PeerRejectedObject
from dicom_gateway.sending.verifying import echo


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
    outcome = echo(own, calling_ae_title=here.aet, timeouts=PATIENCE)
    if not outcome.answered and not count_alive(installation, "gateway"):
        yield ExaminedPart("listener", PartHealth.REMARK, f"not running: {outcome.reason}")
        return
    if outcome.code == PeerRejectedObject.code and not installation.settings.gateway.admit_loopback:
        yield ExaminedPart("listener", PartHealth.FINE, f"{own} answers; without an entry this machine is turned away")
        return
    yield echoed("listener", own, outcome)
