"""Probe of the watched folders: whether they are there and can be used, and what was rejected."""

from __future__ import annotations

import os
from collections.abc import Iterator

from console.doctor.parts import ExaminedPart, PartHealth
from console.installation import Installation
from dicom_gateway.config import WatchedFolderSettings


def probe_folders(installation: Installation) -> Iterator[ExaminedPart]:
    """Look at every watched folder as the user who asks may use it."""
    for folder in installation.settings.gateway.watched_folders:
        yield ExaminedPart("watched folder", *_state(folder))


def _state(folder: WatchedFolderSettings) -> tuple[PartHealth, str]:
    from dicom_gateway.inlets.watched_folder import rejected_files

    path = folder.path
    if not path.is_dir():
        return (
            PartHealth.BROKEN,
            f"[folder_unusable] {path} is no folder, so nothing is taken from it: make or mount it",
        )
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return PartHealth.BROKEN, f"[folder_unusable] {path} cannot be read and written: let oncue's user do both"
    rejected = rejected_files(path)
    if rejected:
        return PartHealth.REMARK, f"{rejected} files in {path / 'rejected'} were not taken: their .reason.txt says why"
    return PartHealth.FINE, f"{path} is watched, as {folder.aet}"
