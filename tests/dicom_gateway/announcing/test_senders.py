"""Senders are loaded when the first channel of their kind needs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dicom_gateway.announcing.senders import SENDERS, Senders
from dicom_gateway.config import GatewaySettings
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.announcing.tables import ChannelKind

_ROOT = Path(__file__).resolve().parents[3]
_HEAVY = ("hl7", "fhir", "smtplib", "dicom_gateway.announcing.webhook")


def test_a_gateway_without_channels_loads_no_library_of_any_kind() -> None:
    code = f"import sys, dicom_gateway.gateway; print([name for name in {_HEAVY!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", list(ChannelKind))
def test_there_is_a_sender_of_each_kind_and_it_is_made_once(kind: ChannelKind) -> None:
    pytest.importorskip(f"dicom_gateway.announcing.{SENDERS[kind][0]}")
    senders = Senders(DestinationTls(GatewaySettings()))
    assert senders(kind) is senders(kind)
    assert callable(senders(kind).send)
    assert callable(senders(kind).probe)
