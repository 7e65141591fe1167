"""The inlet of a console: there from the first request to store until the server ends."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from typing import TYPE_CHECKING

from dicom_gateway.config import GatewaySettings
from storage.database import Database, utc_now
from storage.objects import ObjectStore

if TYPE_CHECKING:
    from dicom_gateway.inlets.inlet import Inlet


class StoreInlet:
    """Starts an inlet when it is first asked for. Threads share it."""

    def __init__(self, database: Database, objects: ObjectStore, settings: GatewaySettings) -> None:
        self.settings = settings
        self._database = database
        self._objects = objects
        self._lock = threading.Lock()
        self._inlet: Inlet | None = None
        self._ends_at: float | None = None

    def ready(self) -> Inlet:
        """Return the inlet; StorageError where it cannot be started now."""
        # What takes in DICOM takes a second to load: only who stores waits for it.
        from dicom_gateway.inlets.inlet import Inlet

        with self._lock:
            if self._inlet is None:
                process_id = f"console-{socket.gethostname()[:32]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
                inlet = Inlet(self._database, self._objects, self.settings, process_id=process_id, clock=utc_now)
                inlet.start()
                self._inlet = inlet
            return self._inlet

    def stop_soon(self) -> None:
        """Let requests that are at work go on for ``gateway.drain_seconds`` and no longer."""
        self._ends_at = time.monotonic() + self.settings.drain_seconds

    def is_ending(self) -> bool:
        """Say whether requests that are still at work have had their time."""
        return self._ends_at is not None and time.monotonic() >= self._ends_at

    def stop(self) -> None:
        """Put what was taken on record and end the inlet, if there is one."""
        with self._lock:
            inlet, self._inlet = self._inlet, None
        if inlet is not None:
            inlet.stop()
