"""The loop that looks at every watched folder of the settings."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

from dicom_gateway.config import GatewaySettings
from dicom_gateway.inlets.inlet import Inlet
from dicom_gateway.inlets.watched_folder import WatchedFolder
from dicom_gateway.loops import Loop
from storage.database import Database
from storage.objects import ObjectStore

_LOOK_SECONDS = 1.0


class FolderWatch:
    """Watches folders with an inlet of its own, which there is only where a folder is watched."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        settings: GatewaySettings,
        *,
        process_id: str,
        clock: Callable[[], datetime],
        on_visit_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._stopping = threading.Event()
        self._inlet = Inlet(database, objects, settings, process_id=process_id, clock=clock, on_visit_end=on_visit_end)
        self._folders = tuple(
            WatchedFolder(folder, self._inlet, settings.aet, is_stopping=self._stopping.is_set)
            for folder in settings.watched_folders
        )
        self._loop = Loop("folders", self._look, seconds=_LOOK_SECONDS)

    def start(self) -> None:
        """Begin to look; StorageError where the inlet cannot be started. Nothing begins where nothing is watched."""
        if self._folders:
            self._inlet.start()
            self._loop.start()

    def stop(self) -> None:
        """End with the file that is being taken, and put what was taken on record."""
        if self._folders:
            self._stopping.set()
            self._loop.stop()
            self._loop.join()
            self._inlet.stop()

    def drain(self, seconds: float) -> bool:
        """Wait until everything that was taken is on record, and say whether it is."""
        return not self._folders or self._inlet.drain(seconds)

    def _look(self) -> float | None:
        has_more = [folder.look() for folder in self._folders]
        return 0.0 if any(has_more) else None
