"""The table of odd series from the field: what each is, and what is right for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydicom import uid
from pydicom.dataset import Dataset

from tests.support import odd_series as odd
from tests.support.dicom import enhanced


@dataclass(frozen=True, slots=True)
class Case:
    """A series and what is right for it: the notes' codes, or the code of the refusal and words of its message."""

    images: Callable[[], Sequence[odd.Sent]]
    notes: tuple[str, ...] = ()
    refusal: str = ""
    says: str = ""
    factor: float | None = 1.0
    """By what the stored values of the volume that is taken differ from the head's; None where they are others."""
    part: str = ""


def _phases() -> list[Dataset]:
    first = odd.head(AcquisitionNumber=1, AcquisitionTime="101500")
    return [*first, *odd.repeated(first, AcquisitionNumber=2, AcquisitionTime="101730")]


def _echoes() -> list[Dataset]:
    first = odd.head(EchoTime="20", EchoNumbers=1)
    return [*odd.repeated(first, EchoTime="80", EchoNumbers=2), *first]


def _phase_that_lacks_a_slice() -> list[Dataset]:
    first = odd.head(AcquisitionNumber=1)
    second = odd.repeated(first, AcquisitionNumber=2)
    return [*first, *second[:4], *second[5:]]


def _phase_that_was_stopped() -> list[Dataset]:
    first = odd.head(AcquisitionNumber=1)
    return [*first, *odd.repeated(first, AcquisitionNumber=2)[2:7]]


def _cine() -> list[Dataset]:
    """Three phases of the heart's cycle; each slice triggers by a beat of its own."""
    first = odd.each(odd.head(), lambda z, image: setattr(image, "TriggerTime", f"{z * 0.7:.1f}"))
    images = list(first)
    for phase in (1, 2):
        images += odd.each(
            odd.repeated(first, mark=str(phase + 1), factor=1 - phase / 4),
            lambda z, image, phase=phase: setattr(image, "TriggerTime", f"{phase * 300 + z * 0.7:.1f}"),  # type: ignore[misc]  # a default of a lambda has no type
        )
    return images


def _dixon() -> list[Dataset]:
    water = odd.head(ImageType=["ORIGINAL", "PRIMARY", "M", "DIXON", "WATER"])
    return [*water, *odd.repeated(water, ImageType=["ORIGINAL", "PRIMARY", "M", "DIXON", "FAT"])]


def _magnitude_and_phase() -> list[Dataset]:
    magnitude = odd.head(ImageType=["ORIGINAL", "PRIMARY", "M", "FFE"])
    return [*magnitude, *odd.repeated(magnitude, ImageType=["ORIGINAL", "PRIMARY", "P", "FFE"])]


def different_twin() -> list[Dataset]:
    images = odd.head()
    return [*images, odd.again(odd.scaled(images[5], 0.9))]


def _repeated_slice() -> list[Dataset]:
    """One slice acquired again, as after a movement: which one is right is not for a program to say."""
    images = odd.head(AcquisitionNumber=1)
    return [*images, odd.again(odd.scaled(images[5], 0.9), AcquisitionNumber=2)]


def _thick_planes_among_the_stack() -> list[Dataset]:
    images = odd.head()
    thick = odd.each(images[2:9:2], lambda _, image: setattr(image, "ImagePositionPatient", _moved(image, 2.0)))
    return [*images, *odd.changed(odd.renamed(thick, "9"), SliceThickness="10", EchoTime="4")]


def _moved(image: Dataset, by_mm: float) -> list[float]:
    x, y, z = (float(value) for value in image.ImagePositionPatient)
    return [x, y, z + by_mm]


def _two_slabs() -> list[Dataset]:
    """Two slabs of different angulation in one series, as of the discs of a spine."""
    leaning = odd.renamed(odd.leaning(degrees=20, decimals=6)[:6], "9")
    return [*odd.head(PixelSpacing=[0.9, 0.9]), *leaning]


def _both_sides() -> list[Dataset]:
    """Two stacks of one orientation beside each other at the same height."""
    other = odd.each(
        odd.renamed(odd.head(), "9"), lambda _, image: setattr(image, "ImagePositionPatient", _aside(image))
    )
    return [*odd.head(), *other]


def _aside(image: Dataset) -> list[float]:
    x, y, z = (float(value) for value in image.ImagePositionPatient)
    return [x + 200.0, y, z]


def _stacks_of_an_enhanced_image() -> list[Dataset]:
    """Two stacks of one orientation, a gap between them: what would be a lost slice if StackID did not tell."""
    image = enhanced(odd.PLAN)
    for number, groups in enumerate(image.PerFrameFunctionalGroupsSequence):
        groups.FrameContentSequence[0].StackID = "1" if number < 7 else "2"
        if number >= 7:
            x, y, z = groups.PlanePositionSequence[0].ImagePositionPatient
            groups.PlanePositionSequence[0].ImagePositionPatient = [x, y, float(z) + 22.0]
    return [image]


def _second_best() -> list[Dataset]:
    better = odd.head()
    return [*better[:4], *better[5:], *odd.another_series(odd.renamed(better, "7"), "repeat", ContrastBolusAgent="GD")]


def _in_two_series() -> list[Dataset]:
    images = odd.head()
    return [*images[:7], *odd.another_series(images[7:], "second half")]


def _same_uids_in_two_series() -> list[Dataset]:
    images = odd.head()
    return [*images, *odd.another_series(images[4:7], "key images", SeriesDescription="KEY IMAGES")]


def _survey_and_t1() -> list[Dataset]:
    t1 = odd.head(SeriesDescription="T1W_3D_TFE", EchoTime="4")
    return [*odd.another_series(odd.survey(planes=5), "first", SeriesDescription="SURVEY"), *t1]


def _frame_of_reference_of_its_own() -> list[Dataset]:
    return odd.each(odd.head(), lambda z, image: setattr(image, "FrameOfReferenceUID", f"1.2.3.{z + 1}"))


def _slope_of_its_own() -> list[Dataset]:
    """Stored values halved and slopes doubled in every second slice: the units are the same."""

    def halve(z: int, image: Dataset) -> None:
        image.RescaleSlope, image.RescaleIntercept = ("0.5", "0") if z % 2 else ("1", "0")

    doubled = [odd.scaled(image, 2.0) if z % 2 else image for z, image in enumerate(odd.head())]
    return odd.each(doubled, halve)


def _cut(bits: int) -> list[Dataset]:
    return [odd.with_pixels(image, values, bits=bits) for image, values in zip(odd.head(), odd.anatomy(), strict=True)]


def _bits(*, allocated: int, high: int) -> list[Dataset]:
    return odd.changed(odd.head(), BitsStored=allocated, HighBit=high)


def _signed(*, extended: bool) -> list[Dataset]:
    """Signed 12-bit values with an offset, the sign carried into the unused bits or not."""
    values = odd.anatomy() - 600
    words = values if extended else values & 0x0FFF
    images = [odd.with_pixels(image, plane, signed=True) for image, plane in zip(odd.head(), words, strict=True)]
    return odd.changed(images, RescaleIntercept="600", RescaleSlope="1")


def _unlike() -> list[Dataset]:
    return odd.changed(
        odd.head(),
        StudyTime="25:61:00",
        PatientSex="Male",
        PatientID="ID-" + "9" * 70,
        PatientBirthDate="1960-02-30",
        BodyPartExamined="Head and neck, skull base",
    )


ABSENT = ("PatientName", "StudyDate", "SeriesNumber", "InstanceNumber", "FrameOfReferenceUID", "SliceThickness")

CASES: dict[str, Case] = {
    "nothing odd": Case(odd.head),
    # Several volumes in one series
    "two contrast phases": Case(_phases, ("lower_rank", "part_taken"), factor=0.5, part="acquisition 2 (2 of 2)"),
    "two echoes": Case(_echoes, ("lower_rank", "part_taken"), factor=0.5, part="echo 80 (2 of 2)"),
    "a later phase that lacks a slice": Case(_phase_that_lacks_a_slice, ("lower_rank", "part_taken")),
    "a later phase that was stopped": Case(_phase_that_was_stopped, ("lower_rank", "part_taken")),
    "phases of the heart": Case(_cine, ("lower_rank", "lower_rank", "part_taken"), factor=0.5, part="trigger (3 of 3)"),
    "water and fat": Case(_dixon, ("lower_rank", "part_taken"), part="component M/DIXON/WATER"),
    "magnitude and phase": Case(_magnitude_and_phase, ("lower_rank", "part_taken"), part="component M/FFE"),
    "two slabs of different angulation": Case(
        _two_slabs, ("lower_rank", "part_taken"), factor=None, part="orientation"
    ),
    "two stacks beside each other": Case(_both_sides, ("lower_rank", "part_taken"), factor=None, part="side"),
    "two stacks of an enhanced image": Case(
        _stacks_of_an_enhanced_image, ("lower_rank", "part_taken"), factor=None, part="stack 1 (1 of 2)"
    ),
    # Images that do not belong
    "a copy": Case(lambda: [*odd.head(), odd.again(odd.head()[5])], ("identical_copy",)),
    "every image twice": Case(lambda: [*odd.head(), *odd.renamed(odd.head(), "2")], ("identical_copy",)),
    "a different twin": Case(different_twin, refusal="duplicate_position", says="lie at the same place and differ"),
    "a slice acquired again": Case(_repeated_slice, refusal="duplicate_position", says="and differ"),
    "a scout inside": Case(lambda: [*odd.head(), odd.survey(planes=1)[1]], ("odd_geometry",)),
    "a survey inside": Case(lambda: [*odd.head(), *odd.survey(SliceThickness="10")], ("odd_geometry",)),
    "a survey beside a T1": Case(_survey_and_t1, ("localizer",)),
    "planes of another scan among the stack": Case(_thick_planes_among_the_stack, ("odd_geometry",)),
    "two patients": Case(
        lambda: [*odd.head(), *odd.another_series(odd.renamed(odd.head(PatientID="B2"), "7"), "other")],
        refusal="two_patients",
    ),
    # Several series
    "the best lacks a slice": Case(_second_best, ("incomplete_volume",)),
    "one stack in two series": Case(_in_two_series, ("stack_continues_in_another_series",), factor=None),
    "SOP Instance UIDs in two series": Case(_same_uids_in_two_series, ("lower_rank",)),
    "computed images alone": Case(
        lambda: odd.head(ImageType=["DERIVED", "PRIMARY", "M", "NORM", "DIS3D"]), ("derived_taken",)
    ),
    # Pixels
    "overlay bits": Case(lambda: odd.with_overlays(odd.head())),
    "overlay bits in JPEG 2000": Case(lambda: odd.with_overlays(odd.head(), uid.JPEG2000Lossless)),
    "overlay bits in JPEG-LS": Case(lambda: odd.with_overlays(odd.head(), uid.JPEGLSLossless)),
    "overlay bits in RLE": Case(lambda: odd.with_overlays(odd.head(), uid.RLELossless)),
    "signed 12 bits, sign extended": Case(lambda: _signed(extended=True)),
    "signed 12 bits, sign not extended": Case(lambda: _signed(extended=False)),
    "BitsStored 8 on values of 10 bits": Case(lambda: _cut(8), refusal="unreadable_instance", says="BitsStored is 8"),
    "BitsStored 4": Case(lambda: _cut(4), refusal="unreadable_instance", says="BitsStored is 4"),
    "HighBit 3": Case(lambda: _bits(allocated=12, high=3), refusal="unreadable_instance", says="HighBit 3"),
    "a slope of its own for each slice": Case(_slope_of_its_own),
    # Geometry
    "positions back and forth": Case(lambda: odd.jittered(odd.head())),
    "cosines of two decimals": Case(lambda: odd.leaning(degrees=12, decimals=2), factor=None),
    "gantry tilt": Case(
        lambda: odd.leaning(degrees=12, decimals=6, along_normal=False), refusal="invalid_geometry", says="gantry tilt"
    ),
    "gantry tilt with two decimals": Case(
        lambda: odd.leaning(degrees=3, decimals=2, along_normal=False), refusal="invalid_geometry", says="gantry tilt"
    ),
    "a slice that was lost": Case(
        lambda: [*odd.head()[:4], *odd.head()[5:]], refusal="incomplete_volume", says="slices 4 and 5"
    ),
    "a frame of reference for each slice": Case(_frame_of_reference_of_its_own, refusal="mixed_geometry"),
    "rotated by 180 degrees": Case(lambda: odd.turned(odd.head())),
    "columns upwards": Case(lambda: odd.upwards(odd.head())),
    "sagittal": Case(odd.sagittal),
    "wrong SpacingBetweenSlices": Case(lambda: odd.head(SpacingBetweenSlices="-3")),
    "empty functional groups": Case(lambda: [odd.empty_groups(image) for image in odd.head()]),
    # Headers
    "shuffled instance numbers": Case(
        lambda: odd.each(odd.head(), lambda z, image: setattr(image, "InstanceNumber", (z * 5) % 12 + 1))
    ),
    "decimal commas": Case(lambda: [odd.with_commas(image) for image in odd.head()], factor=None),
    "numbers as unlimited text": Case(lambda: [odd.as_unlimited_text(image) for image in odd.head()]),
    "file meta information in the data set": Case(
        lambda: [odd.with_own_meta(image) for image in odd.head()], refusal="no_usable_series", says="unreadable"
    ),
    "what is optional absent": Case(lambda: odd.head(**dict.fromkeys(ABSENT))),
    "empty identifiers": Case(lambda: odd.head(PatientID="", StudyID="", AccessionNumber="")),
    "values that break their form": Case(_unlike),
    "two character sets in one study": Case(
        lambda: [
            *odd.head(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg"),
            *odd.another_series(
                odd.renamed(odd.head()[1:], "7"), "other", SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Jörg"
            ),
        ],
        ("lower_rank",),
    ),
    "a character set that nobody knows": Case(lambda: odd.head(SpecificCharacterSet="ISO-8859-1")),
    "Japanese names with escapes": Case(
        lambda: odd.head(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎")
    ),
}
