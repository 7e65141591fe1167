"""A folder that others copy files into: what lies still is taken in, and moved aside where it is no image."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import structlog

from dicom_gateway.config import TakenFiles, WatchedFolderSettings
from dicom_gateway.inlets.folder_files import DONE, REJECTED, FolderFile, FolderTree, Sight
from dicom_gateway.inlets.inlet import Inlet, Visit, Visitor
from storage.errors import OncueError

_MOST_AT_ONCE = 500
"""Files of one visit; then other folders have their turn, and studies may become complete."""
_AGAIN_SECONDS = 30.0
"""How long a folder is left alone after the disk or the database did not take its files."""
_ADDRESS = "folder"

logger = structlog.get_logger(__name__)


class Finding(Enum):
    """What came of one file."""

    TAKEN = "taken"
    REJECTED = "rejected"
    LEFT = "left"
    POSTPONED = "postponed"


@dataclass(slots=True)
class _Seen:
    """A file as it lay there, since when, and whether it is done with and could not be moved away."""

    sight: Sight
    since: float
    is_done_with: bool = False


class WatchedFolder:
    """Looks at one folder, again and again; one thread uses it. ``monotonic`` is a clock in seconds."""

    def __init__(
        self,
        settings: WatchedFolderSettings,
        inlet: Inlet,
        called_aet: str,
        *,
        is_stopping: Callable[[], bool] = lambda: False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._inlet = inlet
        self._visitor = Visitor(settings.aet, called_aet, _ADDRESS, settings.lane)
        self._is_stopping = is_stopping
        self._monotonic = monotonic
        self._seen: dict[tuple[str, ...], _Seen] = {}
        self._is_missing = False
        self._unreadable: set[str] = set()
        self._not_before = float("-inf")

    def look(self) -> bool:
        """Take in what lies still, and say whether more is ready. A folder that is missing is none of our faults."""
        if self._monotonic() < self._not_before:
            return False
        try:
            tree = FolderTree(self._settings.path)
        except OSError as error:
            self._note_missing(error)
            return False
        self._is_missing = False
        try:
            ready = self._ready(tree)
            return self._take_some(tree, ready)
        finally:
            tree.close()

    def _ready(self, tree: FolderTree) -> list[FolderFile]:
        """Return what has lain still for long enough, and forget what is not there any more."""
        now, before, ready = self._monotonic(), self._seen, []
        self._seen = {}
        for file in tree.files():
            seen = before.get(file.parts)
            if seen is None or seen.sight != file.sight:
                seen = _Seen(file.sight, now)
            self._seen[file.parts] = seen
            if not seen.is_done_with and now - seen.since >= self._settings.still_seconds:
                ready.append(file)
        self._note_unreadable(tree.unreadable)
        return sorted(ready, key=lambda file: file.parts)

    def _take_some(self, tree: FolderTree, ready: list[FolderFile]) -> bool:
        if not ready:
            return False
        counts = dict.fromkeys(Finding, 0)
        with self._inlet.visit(self._visitor) as visit:
            for file in itertools.islice(ready, _MOST_AT_ONCE):
                if self._is_stopping():
                    break
                finding = self._handle(tree, visit, file)
                counts[finding] += 1
                if finding is Finding.POSTPONED:
                    self._not_before = self._monotonic() + _AGAIN_SECONDS
                    break
        if counts[Finding.LEFT] < sum(counts.values()):
            said = {finding.value: count for finding, count in counts.items()}
            logger.info("folder.looked", path=str(self._settings.path), **said)
        return len(ready) > _MOST_AT_ONCE and not counts[Finding.POSTPONED]

    def _handle(self, tree: FolderTree, visit: Visit, file: FolderFile) -> Finding:
        """Take one file in and move it out of the way; what the disk or the database cannot do now waits."""
        try:
            finding, reason = _taken(tree, visit, file)
            if finding is Finding.TAKEN or finding is Finding.REJECTED:
                self._seen[file.parts].is_done_with = True
                self._clear_away(tree, file, reason)
        except FileNotFoundError:
            return Finding.LEFT
        except OSError as error:
            # One file that cannot be read or moved keeps nobody else's; it is tried again when it has changed.
            self._seen[file.parts].is_done_with = True
            logger.warning(
                "folder.file_stuck", code="disk_failure", path=str(self._settings.path), reason=error.strerror
            )
            return Finding.LEFT
        return finding

    def _clear_away(self, tree: FolderTree, file: FolderFile, reason: str) -> None:
        if reason:
            tree.move(file, REJECTED, reason=reason)
        elif self._settings.taken is TakenFiles.DELETE:
            tree.delete(file)
        else:
            tree.move(file, DONE)

    def _note_unreadable(self, reasons: set[str]) -> None:
        """Say once why folders below this one cannot be read; their names may be those of patients."""
        for reason in sorted(reasons - self._unreadable):
            logger.warning(
                "folder.part_unreadable", code="folder_unusable", path=str(self._settings.path), reason=reason
            )
        self._unreadable = reasons

    def _note_missing(self, error: OSError) -> None:
        self._seen.clear()
        if not self._is_missing:
            self._is_missing = True
            logger.warning(
                "folder.missing", code="folder_unusable", path=str(self._settings.path), reason=error.strerror
            )


def _taken(tree: FolderTree, visit: Visit, file: FolderFile) -> tuple[Finding, str]:
    """Take a file in; what came of it, and why where it is rejected."""
    stream = tree.open(file)
    if stream is None:
        return Finding.LEFT, ""
    with stream:
        try:
            visit.take(stream)
        except OncueError as error:
            if error.retryable:
                return Finding.POSTPONED, ""
            return Finding.REJECTED, f"[{error.code}] {error}"
    return Finding.TAKEN, ""


def rejected_files(folder: Path) -> int:
    """Return how many files of a watched folder were rejected and lie there still; OSError."""
    return sum(1 for name in _names_below(folder / REJECTED) if not name.endswith(".reason.txt"))


def _names_below(folder: Path) -> Iterator[str]:
    for _, _, names in os.walk(folder):
        yield from names
