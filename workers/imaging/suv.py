"""Standardised uptake values: what the stored units of a PET image must be multiplied by to become SUV by body weight.

SUVbw is activity per millilitre over injected activity per gram of body weight, in g/ml. PS3.3 C.8.9.1 has the
attributes; when the dose counts as decayed follows DecayCorrection (C.8.9.1.1.9).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from workers.errors import SuvUnknown

_PHILIPS_CREATOR = "Philips PET Private Group"
_PHILIPS_GROUP, _PHILIPS_SUV_ELEMENT, _PHILIPS_ACTIVITY_ELEMENT = 0x7053, 0x00, 0x09
_GRAMS_PER_KILOGRAM = 1000.0
_LIKELIEST_WEIGHT_KG = (0.5, 400.0)
_LIKELIEST_DOSE_BQ = (1e5, 1e11)
"""Outside of it a dose is in another unit, and every uptake value would be wrong by a power of ten."""
_LONGEST_UPTAKE = timedelta(hours=24)


class Correction(StrEnum):
    """To which moment the decay of the tracer was corrected (DecayCorrection, 0054,1102)."""

    NONE = "NONE"
    SCAN_START = "START"
    ADMINISTRATION = "ADMIN"


@dataclass(frozen=True, slots=True)
class Injection:
    """What was injected: activity in Bq at ``at``, and the tracer's half life in seconds."""

    activity_bq: float
    half_life_s: float
    at: datetime

    def activity_at(self, moment: datetime) -> float:
        """Return the activity in Bq that is left at a later moment; SuvUnknown where the times cannot be right."""
        passed = moment - self.at
        if not timedelta(0) <= passed <= _LONGEST_UPTAKE:
            raise SuvUnknown(
                "RadiopharmaceuticalStartTime and the time of the scan do not fit: "
                f"{passed.total_seconds() / 3600:.1f} hours lie between them; expected 0 to 24"
            )
        return float(self.activity_bq * 2.0 ** (-passed.total_seconds() / self.half_life_s))


def suv_factor(headers: Iterable[Dataset]) -> float:
    """Return the factor from rescaled stored units to SUVbw (g/ml), one for a whole series.

    ``headers`` are those of all its images: the scan began with the earliest. SuvUnknown names the attribute that is
    missing, contradicts another, or has a value that no body-weight SUV can be had from.
    """
    images = tuple(headers)
    if not images:
        raise SuvUnknown("the series has no image")
    first = images[0]
    units = {_text(image, "Units") for image in images}
    if len(units) != 1:
        raise SuvUnknown(f"Units (0054,1001) differ within the series: {', '.join(sorted(units))}")
    return _FACTORS.get(_text(first, "Units"), _refused)(images)


def _from_grams_per_millilitre(images: tuple[Dataset, ...]) -> float:
    kind = _text(images[0], "SUVType") or "BW"
    if kind != "BW":
        raise SuvUnknown(f"SUVType (0054,1006) is {kind}: only BW, by body weight, is used here")
    return 1.0


def _from_activity(images: tuple[Dataset, ...]) -> float:
    first = images[0]
    corrected = _texts(first, "CorrectedImage")
    missing = [wanted for wanted in ("ATTN", "DECY") if wanted not in corrected]
    if missing:
        raise SuvUnknown(f"CorrectedImage (0028,0051) lacks {' and '.join(missing)}: activities are not comparable")
    weight_g = _weight_kg(first) * _GRAMS_PER_KILOGRAM
    correction = _text(first, "DecayCorrection")
    if correction == Correction.ADMINISTRATION:
        return weight_g / _dose_bq(first)
    if correction == Correction.SCAN_START:
        scan = _scan_start(images)
        return weight_g / _injection(first, scan).activity_at(scan)
    raise SuvUnknown(f"DecayCorrection (0054,1102) is {correction or 'missing'}: expected START or ADMIN")


def _from_counts(images: tuple[Dataset, ...]) -> float:
    if _philips(images[0], _PHILIPS_SUV_ELEMENT):
        raise SuvUnknown("Units are CNTS with Philips' SUV Scale Factor (7053,xx00): private factors are not applied")
    if _philips(images[0], _PHILIPS_ACTIVITY_ELEMENT):
        raise SuvUnknown(
            "Units are CNTS with Philips' Activity Concentration Scale Factor (7053,xx09):"
            " private factors are not applied"
        )
    raise SuvUnknown("Units (0054,1001) are CNTS: counts alone do not give an activity")


def _refused(images: tuple[Dataset, ...]) -> float:
    raise SuvUnknown(f"Units (0054,1001) are {_text(images[0], 'Units') or 'missing'}: expected BQML or GML")


_FACTORS = {"BQML": _from_activity, "GML": _from_grams_per_millilitre, "CNTS": _from_counts}


def _injection(header: Dataset, scan: datetime) -> Injection:
    isotope = _isotope(header)
    half_life = _positive(isotope, "RadionuclideHalfLife", "(0018,1075)")
    began = _moment(_text(isotope, "RadiopharmaceuticalStartDateTime"))
    if began is None:
        time = _text(isotope, "RadiopharmaceuticalStartTime")
        began = _moment(scan.strftime("%Y%m%d") + time) if time else None
        if began is not None and began > scan:
            began -= timedelta(days=1)  # injected before midnight, scanned after it
    if began is None:
        raise SuvUnknown("RadiopharmaceuticalStartDateTime (0018,1078) and RadiopharmaceuticalStartTime are missing")
    return Injection(_dose_bq(header), half_life, began)


def _scan_start(images: tuple[Dataset, ...]) -> datetime:
    """Return when the scan began: the series' own time, unless that is later than the first acquisition.

    A series that was computed afterwards carries the time of its making; the acquisition times stay what they were.
    """
    acquired = [
        moment
        for image in images
        if (moment := _moment(_text(image, "AcquisitionDate") + _text(image, "AcquisitionTime"))) is not None
    ]
    series = _moment(_text(images[0], "SeriesDate") + _text(images[0], "SeriesTime"))
    known = [*acquired, *([] if series is None else [series])]
    if not known:
        raise SuvUnknown("SeriesDate, SeriesTime and the acquisition's date and time are missing")
    return min(known)


def _isotope(header: Dataset) -> Dataset:
    items = header.get("RadiopharmaceuticalInformationSequence") or []
    if len(items) != 1:
        raise SuvUnknown(f"RadiopharmaceuticalInformationSequence (0054,0016) has {len(items)} items: expected one")
    item: Dataset = items[0]
    return item


def _dose_bq(header: Dataset) -> float:
    dose = _positive(_isotope(header), "RadionuclideTotalDose", "(0018,1074)")
    low, high = _LIKELIEST_DOSE_BQ
    if not low <= dose <= high:
        raise SuvUnknown(f"RadionuclideTotalDose (0018,1074) is {dose:g} Bq: expected {low:g} to {high:g}")
    return dose


def _weight_kg(header: Dataset) -> float:
    weight = _positive(header, "PatientWeight", "(0010,1030)")
    low, high = _LIKELIEST_WEIGHT_KG
    if not low <= weight <= high:
        raise SuvUnknown(f"PatientWeight (0010,1030) is {weight:g} kg: expected {low:g} to {high:g}")
    return weight


def _positive(dataset: Dataset, keyword: str, tag: str) -> float:
    value = dataset.get(keyword)
    if value is None or isinstance(value, MultiValue) or str(value).strip() == "":
        raise SuvUnknown(f"{keyword} {tag} is missing")
    number = float(value)
    if not 0 < number < float("inf"):
        raise SuvUnknown(f"{keyword} {tag} is {number:g}: expected more than 0")
    return number


def _moment(text: str) -> datetime | None:
    """Read a DICOM date and time (``YYYYMMDDHHMMSS.FFFFFF``, with or without fraction and offset), or None.

    An offset is dropped: all times of a series are those of one scanner, and only differences are used.
    """
    digits = text.partition("+")[0].partition("-")[0].partition(".")[0].strip()
    if len(digits) < len("YYYYMMDDHHMM"):
        return None
    try:
        return datetime.strptime(digits[:14].ljust(14, "0"), "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _philips(header: Dataset, element: int) -> bool:
    try:
        return bool(header.private_block(_PHILIPS_GROUP, _PHILIPS_CREATOR)[element].value)
    except KeyError:
        return False


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip().upper()


def _texts(dataset: Dataset, keyword: str) -> frozenset[str]:
    value = dataset.get(keyword)
    values = value if isinstance(value, MultiValue) else () if value is None else (value,)
    return frozenset(str(part).strip().upper() for part in values)
