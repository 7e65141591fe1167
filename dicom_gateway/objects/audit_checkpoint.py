"""The audit log's checkpoint in a report: the archive that keeps the report becomes a witness of the history.

Its text is a signed note, and holds letters that not every character set has: it stands there in Base64.
"""

from __future__ import annotations

import base64
import binascii

from highdicom.sr import RelationshipTypeValues, TextContentItem
from pydicom.dataset import Dataset

from dicom_gateway.objects import codes


def checkpoint_item(note: str) -> TextContentItem:
    """Return the content item that carries a checkpoint."""
    return TextContentItem(
        name=codes.AUDIT_CHECKPOINT,
        value=base64.b64encode(note.encode()).decode("ascii"),
        relationship_type=RelationshipTypeValues.CONTAINS,
    )


def checkpoint_of(report: Dataset) -> str | None:
    """Return the checkpoint that a report carries, None where it carries none that can be read."""
    for item in report.get("ContentSequence", ()):
        names = item.get("ConceptNameCodeSequence", ())
        if any(name.get("CodeValue") == codes.AUDIT_CHECKPOINT.value for name in names):
            try:
                return base64.b64decode(str(item.TextValue), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError, AttributeError):
                return None
    return None
