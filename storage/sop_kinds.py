"""Which SOP classes hold images."""

from __future__ import annotations

_NO_IMAGES = (
    "1.2.840.10008.5.1.4.1.1.88.",
    "1.2.840.10008.5.1.4.1.1.11.",
    "1.2.840.10008.5.1.4.1.1.66",
    "1.2.840.10008.5.1.4.1.1.104.",
    "1.2.840.10008.5.1.4.1.1.9.",
    "1.2.840.10008.5.1.4.1.1.481.2",
    "1.2.840.10008.5.1.4.1.1.481.3",
    "1.2.840.10008.5.1.4.1.1.481.4",
    "1.2.840.10008.5.1.4.1.1.481.5",
    "1.2.840.10008.5.1.4.1.1.67",
)


def is_image(sop_class_uid: str) -> bool:
    """Say whether instances of a SOP class are images; private classes may be, so they count as such."""
    return not sop_class_uid.startswith(_NO_IMAGES)
