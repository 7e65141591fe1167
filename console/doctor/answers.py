"""How long peers are waited for in an examination, and what their answer to C-ECHO is in words."""

from __future__ import annotations

from console.doctor.parts import ExaminedPart, PartHealth
from dicom_gateway.destinations import Destination
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.sending.verifying import EchoOutcome

PATIENCE = PeerTimeouts(connect_seconds=5, associate_seconds=5, answer_seconds=5)


def echoed(subject: str, peer: Destination, outcome: EchoOutcome) -> ExaminedPart:
    """Return whether a peer answered, and how fast."""
    if outcome.answered:
        return ExaminedPart(subject, PartHealth.FINE, f"{peer} answered C-ECHO in {1000 * outcome.seconds:.0f} ms")
    return ExaminedPart(subject, PartHealth.BROKEN, f"[{outcome.code}] {outcome.reason}")
