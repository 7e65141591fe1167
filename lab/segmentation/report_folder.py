"""The folder that an evaluation leaves: ``report.json`` and ``report.html``."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from lab.segmentation import page
from storage.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from lab.segmentation.evaluation import SegmentationEvaluation

JSON_NAME = "report.json"
HTML_NAME = "report.html"


def prepare(folder: Path) -> None:
    """Make the folder before hours have gone into what it receives; raises ConfigurationError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"the report folder {folder.name} cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise ConfigurationError(f"the report folder {folder.name} cannot be written")


def write(evaluation: SegmentationEvaluation, folder: Path) -> None:
    """Write both files; raises ConfigurationError where the folder cannot be written."""
    content = json.dumps(evaluation.report.to_full_json(), indent=1, ensure_ascii=False)
    try:
        (folder / JSON_NAME).write_text(content + "\n", encoding="utf-8")
        (folder / HTML_NAME).write_text(page.render(evaluation), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"the report folder {folder.name} cannot be written: {error.strerror}") from error
