"""What tells apart two planes at the same place: echo, b-value, time point, phase, and when each was acquired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from storage.decimals import as_decimals
from workers.imaging.decimals import decimal, decimals

ACQUISITION_KEYWORDS = (
    "AcquisitionNumber",
    "AcquisitionDate",
    "AcquisitionTime",
    "EchoTime",
    "EchoNumbers",
    "DiffusionBValue",
    "TemporalPositionIdentifier",
    "InversionTime",
    "TriggerTime",
    "InstanceNumber",
)
_GE_B_VALUE = (0x0043, "GEMS_PARM_01", 0x39)
_SIEMENS_B_VALUE = (0x0019, "SIEMENS MR HEADER", 0x0C)
_PHILIPS_B_VALUE = (0x2001, "Philips Imaging DD 001", 0x03)
_GE_OFFSET = 1_000_000_000
"""GE adds this to b-values of some releases."""
PRIVATE_TAGS = (0x00430010, 0x00431039, 0x00190010, 0x0019100C, 0x20010010, 0x20011003)


@dataclass(frozen=True, slots=True)
class Acquisition:
    """How one plane was acquired, as far as its header says; times in milliseconds, b-value in s/mm2.

    ``at`` is date and time as text that sorts by time; ``component`` is ImageType from its third value on
    (magnitude, phase, water, fat ...).
    """

    number: int | None = None
    at: str = ""
    echo_ms: float | None = None
    echo_number: int | None = None
    b_value: float | None = None
    temporal_position: int | None = None
    inversion_ms: float | None = None
    trigger_ms: float | None = None
    stack: str = ""
    component: tuple[str, ...] = ()
    instance_number: int | None = None

    @property
    def echo(self) -> float | int | None:
        """What tells echoes apart: their time, or their number where no time is known."""
        return self.echo_ms if self.echo_ms is not None else self.echo_number


def read_classic(dataset: Dataset) -> Acquisition:
    """Read a single-frame image. Call it inside ``parsing``."""
    return Acquisition(
        number=_whole(dataset, "AcquisitionNumber"),
        at=_text(dataset, "AcquisitionDate") + _text(dataset, "AcquisitionTime"),
        echo_ms=decimal(dataset, "EchoTime"),
        echo_number=_whole(dataset, "EchoNumbers"),
        b_value=_b_value(dataset),
        temporal_position=_whole(dataset, "TemporalPositionIdentifier"),
        inversion_ms=decimal(dataset, "InversionTime"),
        trigger_ms=decimal(dataset, "TriggerTime"),
        component=_component(dataset.get("ImageType")),
        instance_number=_whole(dataset, "InstanceNumber"),
    )


def read_enhanced(macro: Callable[[str], Dataset]) -> Acquisition:
    """Read one frame's functional groups (PS3.3 C.7.6.16.2.2, C.8.13.5); ``macro`` returns an absent one empty."""
    content, modifier = macro("FrameContentSequence"), macro("MRModifierSequence")
    inversions = decimals(modifier, "InversionTimes")
    return Acquisition(
        number=_whole(content, "FrameAcquisitionNumber"),
        at=_text(content, "FrameAcquisitionDateTime"),
        echo_ms=decimal(macro("MREchoSequence"), "EffectiveEchoTime"),
        b_value=decimal(macro("MRDiffusionSequence"), "DiffusionBValue"),
        temporal_position=_whole(content, "TemporalPositionIndex"),
        inversion_ms=inversions[0] if inversions else None,
        trigger_ms=decimal(macro("CardiacSynchronizationSequence"), "NominalCardiacTriggerDelayTime"),
        stack=_text(content, "StackID"),
        component=_component(macro("MRImageFrameTypeSequence").get("FrameType")),
        instance_number=_whole(content, "InStackPositionNumber"),
    )


def _b_value(dataset: Dataset) -> float | None:
    standard = decimal(dataset, "DiffusionBValue")
    if standard is not None:
        return standard
    for group, creator, element in (_GE_B_VALUE, _SIEMENS_B_VALUE, _PHILIPS_B_VALUE):
        try:
            value = dataset.private_block(group, creator)[element].value
        except KeyError:
            continue
        first = value[0] if isinstance(value, (MultiValue, list, tuple)) and value else value
        if read := as_decimals([str(first)]):
            return read[0] % _GE_OFFSET
    return None


def _component(image_type: object) -> tuple[str, ...]:
    values = image_type if isinstance(image_type, MultiValue) else ()
    return tuple(str(part).strip().upper() for part in values[2:])


def _whole(dataset: Dataset, keyword: str) -> int | None:
    values = decimals(dataset, keyword)
    return int(values[0]) if values else None


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()
