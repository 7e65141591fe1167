"""Telling the history to the syslog server that an installation's settings name."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from console.history.export import audit_source
from console.installation import Installation
from dicom_gateway.audit_messages.forwarding import Forwarder, forwarding_loop
from dicom_gateway.audit_messages.syslog_server import SyslogServer


@contextmanager
def forwarding_thread(installation: Installation) -> Iterator[None]:
    """Have audit messages sent while the block runs, where ``audit.syslog`` names a server.

    ConfigurationError where the server's address or a certificate cannot be used.
    """
    settings = installation.settings
    server = SyslogServer.of(settings.audit)
    if server is None:
        yield
        return
    owner = f"forwarder-{socket.gethostname()[:32]}-{uuid.uuid4().hex[:12]}"
    forwarder = Forwarder(installation.database, server, audit_source(settings), owner=owner)
    forwarder.begin()
    loop = forwarding_loop(forwarder)
    loop.start()
    try:
        yield
    finally:
        loop.stop()
        loop.join()
