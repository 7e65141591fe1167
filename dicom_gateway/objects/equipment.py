"""What oncue calls itself in the objects it writes, and how it numbers its series."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Self

from storage.uids import deterministic_uid

_LONGEST_VERSION_NAME = 16
IMPLEMENTATION_CLASS_UID = deterministic_uid("implementation", "oncue")


def installed_version() -> str:
    """Return the version of the installed distribution, or 0 where oncue runs from a bare source tree."""
    try:
        return version("oncue")
    except PackageNotFoundError:
        return "0"


def implementation_version_name() -> str:
    """Return what we call this version when an association is negotiated: 16 characters at most (PS3.7 D.3.3.2.3)."""
    return f"ONCUE_{installed_version()}"[:_LONGEST_VERSION_NAME]


@dataclass(frozen=True, slots=True)
class Equipment:
    """The General Equipment of written objects (PS3.3 C.7.5.1), and the numbers and names of their series.

    Series numbers lie far above what scanners use, so that results sort behind the images. ``utc_offset`` is the
    offset (``+HHMM``) in which times are written where the source states none; None leaves them in UTC, unstated.
    """

    manufacturer: str = "oncue"
    model_name: str = "oncue triage"
    software_version: str = field(default_factory=installed_version)
    device_serial_number: str = "1"
    series_description: str = "oncue AI - not for primary diagnosis"
    segmentation_series_number: int = 99001
    report_series_number: int = 99002
    parametric_map_series_number: int = 99003
    rejection_series_number: int = 99004
    label_map_series_number: int = 99005
    capture_series_number: int = 99006
    presentation_state_series_number: int = 99007
    key_object_series_number: int = 99008
    report_page_series_number: int = 99009
    content_creator: str = "oncue^AI"
    utc_offset: str | None = None

    def numbered_from(self, base: int) -> Self:
        """Return the same equipment with series numbers that count on from another base than 99000."""
        return replace(
            self,
            segmentation_series_number=base + 1,
            report_series_number=base + 2,
            parametric_map_series_number=base + 3,
            rejection_series_number=base + 4,
            label_map_series_number=base + 5,
            capture_series_number=base + 6,
            presentation_state_series_number=base + 7,
            key_object_series_number=base + 8,
            report_page_series_number=base + 9,
        )

    @property
    def device_uid(self) -> str:
        """UID of this device as an observer, the same for one serial number for ever."""
        return deterministic_uid("device", self.manufacturer, self.model_name, self.device_serial_number)
