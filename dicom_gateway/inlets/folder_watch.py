"""The loop that looks at every watched folder of the settings."""

from __future__ import annotations

import threading

from dicom_gateway.config import GatewaySettings
from dicom_gateway.inlets.inlet import Inlet
from dicom_gateway.inlets.watched_folder import WatchedFolder
from dicom_gateway.loops import Loop

_LOOK_SECONDS = 1.0


class FolderWatch:
    """Watches folders for an inlet that is started before it and stopped behind it; idle where none is watched."""

    def __init__(self, inlet: Inlet, settings: GatewaySettings) -> None:
        self._stopping = threading.Event()
        self._folders = tuple(
            WatchedFolder(folder, inlet, settings.aet, is_stopping=self._stopping.is_set)
            for folder in settings.watched_folders
        )
        self._loop = Loop("folders", self._look, seconds=_LOOK_SECONDS) if self._folders else None

    def start(self) -> None:
        """Begin to look."""
        if self._loop is not None:
            self._loop.start()

    def stop(self) -> None:
        """Ask for the end, behind the file that is being taken; ``join`` waits for it."""
        self._stopping.set()
        if self._loop is not None:
            self._loop.stop()

    def join(self) -> None:
        """Wait until the look in progress is over."""
        if self._loop is not None:
            self._loop.join()

    def _look(self) -> float | None:
        has_more = [folder.look() for folder in self._folders]
        return 0.0 if any(has_more) else None
