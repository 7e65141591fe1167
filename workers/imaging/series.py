"""Series selection: which series of a study is analysed, and for every other one the coded reason why not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from pydicom.uid import NuclearMedicineImageStorage

from storage.routes.route import Preference
from workers.errors import NoUsableSeries, TwoPatients
from workers.imaging.instances import VOLUME_CLASSES, HeaderScan, InstanceHeader
from workers.imaging.planes import Plane
from workers.imaging.ranking import is_no_anatomy, points
from workers.imaging.series_parts import split_series
from workers.imaging.slices import Slice
from workers.imaging.stacks import Stack
from workers.imaging.tomographic import is_reconstructed

_NON_IMAGE_MODALITIES = frozenset(
    {"SR", "SEG", "PR", "KO", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "REG", "RWV", "DOC", "PLAN", "FID", "AU"}
)
_SECONDARY_CAPTURE_PREFIX = "1.2.840.10008.5.1.4.1.1.7"
_OWN_MANUFACTURER = "ONCUE"


class LeftOutReason(StrEnum):
    """Why a series, or some instances of it, are not analysed."""

    UNREADABLE = "unreadable"
    OWN_RESULT = "own_result"
    NOT_AN_IMAGE = "not_an_image"
    SECONDARY_CAPTURE = "secondary_capture"
    SCREEN_SAVE = "screen_save"
    LOCALIZER = "localizer"
    MOSAIC = "mosaic"
    PROJECTION = "projection"
    PLANAR = "planar"
    DERIVED = "derived"
    COLOUR = "colour"
    UNSUPPORTED_CLASS = "unsupported_class"
    UNSUPPORTED_MODALITY = "unsupported_modality"
    NO_GEOMETRY = "no_geometry"
    TOO_FEW_SLICES = "too_few_slices"
    REPEATED_POSITIONS = "repeated_positions"
    ODD_GEOMETRY = "odd_geometry"
    IDENTICAL_COPY = "identical_copy"
    NO_VOLUME = "no_volume"
    CONTINUES = "stack_continues_in_another_series"
    LOWER_RANK = "lower_rank"
    FOR_PROCESSING = "for_processing"
    BEYOND_LIMIT = "beyond_limit"
    NO_IMAGE = "no_image"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A series that is not analysed, or the part of one that is not, and why."""

    series_instance_uid: str
    reason: LeftOutReason
    instances: int
    part: str = ""
    """Which part of a series that holds several volumes, as its attributes tell it apart."""
    code: str = ""
    """Of what no volume could be built: the code of the error that says why."""

    @property
    def images(self) -> str:
        """How many instances these are, in words for whoever looks the series up in an archive."""
        return "1 image" if self.instances == 1 else f"{self.instances} images"


@dataclass(frozen=True, slots=True)
class SeriesRef:
    """One usable series, or one part of a series that holds several volumes.

    ``part`` says which, empty where the series is one volume; ``order`` counts the parts as they were acquired.
    """

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    description: str
    body_part: str
    headers: tuple[InstanceHeader, ...]
    """Headers of the instances, each with those of its planes that belong to the volume."""
    part: str = ""
    order: int = 0

    @property
    def slices(self) -> int:
        """Number of planes in all instances together."""
        return sum(len(header.planes) for header in self.headers)


@dataclass(frozen=True, slots=True)
class SeriesSelection:
    """Every usable series, best first, and everything that was left out.

    All but the first usable series are also in ``left_out``, with LOWER_RANK.
    """

    ranked: tuple[SeriesRef, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def chosen(self) -> SeriesRef | None:
        """The series to analyse, or None where none is usable."""
        return self.ranked[0] if self.ranked else None


@dataclass(frozen=True, slots=True)
class SelectionRules:
    """What the analyser can take and what it prefers."""

    modalities: frozenset[str] = frozenset({"MR", "CT"})
    preferences: tuple[Preference, ...] = ()
    fewest_slices: int = 3
    derived: bool = True
    """Whether images that were computed from others are taken; those made for people to look at never are."""


_ANY = SelectionRules()


def choose_series(scan: HeaderScan, *, rules: SelectionRules = _ANY) -> tuple[SeriesRef, SeriesSelection]:
    """Return the series to analyse and the whole selection.

    NoUsableSeries with every reason where there is none; TwoPatients where images of several patients share the study.
    """
    _require_one_patient(scan.headers)
    selection = select_series(scan, rules=rules)
    if selection.chosen is None:
        raise NoUsableSeries(f"no series can be analysed: {describe(selection.left_out) or 'the study is empty'}")
    return selection.chosen, selection


def select_series(scan: HeaderScan, *, rules: SelectionRules = _ANY) -> SeriesSelection:
    """Group headers by series, leave out what is no volume of the patient, and rank the rest.

    A series with one unreadable instance is left out whole, since its volume would lack a slice unnoticed. A series
    that holds several volumes is split into its parts. Ties are broken against phase and fat images, by the number of
    slices, then in favour of the part that was acquired later, then by UID, so the same study always gives the same
    choice.
    """
    broken = Counter(item.stored.series_instance_uid for item in scan.unreadable)
    left_out = [LeftOut(series, LeftOutReason.UNREADABLE, count) for series, count in broken.items()]
    usable: list[SeriesRef] = []
    for series_uid, headers in _by_series(scan.headers).items():
        if series_uid in broken:
            continue
        parts, reasons = _usable_parts(series_uid, headers, rules)
        left_out += reasons
        usable += parts
    ranked = tuple(sorted(usable, key=lambda series: _rank(series, rules)))
    left_out += [LeftOut(s.series_instance_uid, LeftOutReason.LOWER_RANK, len(s.headers), s.part) for s in ranked[1:]]
    return SeriesSelection(ranked, tuple(sorted(left_out, key=lambda item: (item.series_instance_uid, item.reason))))


def describe(left_out: Iterable[LeftOut]) -> str:
    """Return the reasons as one line: each series by its whole UID, for that is how an archive finds it."""
    return "; ".join(_described(item) for item in left_out)


def _described(item: LeftOut) -> str:
    part = f", {item.part}" if item.part else ""
    return f"series {item.series_instance_uid}{part}: {item.code or item.reason.value}, {item.images}"


def _require_one_patient(headers: Iterable[InstanceHeader]) -> None:
    patients = {header.patient_id for header in headers if header.rows} - {""}
    if len(patients) > 1:
        raise TwoPatients(
            f"the study holds images of {len(patients)} patients; it is set aside until it is sent again with one"
        )


def _by_series(headers: Iterable[InstanceHeader]) -> dict[str, list[InstanceHeader]]:
    grouped: dict[str, list[InstanceHeader]] = {}
    for header in headers:
        grouped.setdefault(header.stored.series_instance_uid, []).append(header)
    return grouped


def _rank(series: SeriesRef, rules: SelectionRules) -> tuple[int, bool, int, int, str]:
    header = series.headers[0]
    score = points(rules.preferences, header, series.slices)
    return (-score, is_no_anatomy(header), -series.slices, -series.order, series.series_instance_uid)


def _usable_parts(
    series_uid: str, headers: Sequence[InstanceHeader], rules: SelectionRules
) -> tuple[list[SeriesRef], list[LeftOut]]:
    """Return the parts of a series that can become volumes, and the reasons for the rest."""
    reasons: Counter[LeftOutReason] = Counter()
    kept: list[InstanceHeader] = []
    for header in headers:
        reason = exclusion(header, rules)
        if reason is None:
            kept.append(header)
        else:
            reasons[reason] += 1
    left_out = [LeftOut(series_uid, reason, count) for reason, count in reasons.items()]
    parts = split_series(
        [Slice(header, plane) for header in kept for plane in header.planes], fewest=rules.fewest_slices
    )
    for reason, slices in (
        (LeftOutReason.LOCALIZER, parts.survey),
        (LeftOutReason.TOO_FEW_SLICES, parts.few),
        (LeftOutReason.ODD_GEOMETRY, parts.odd),
        (LeftOutReason.REPEATED_POSITIONS, parts.crowded),
    ):
        if slices:
            left_out.append(LeftOut(series_uid, reason, _instances(slices)))
    return [_series_ref(series_uid, stack) for stack in parts.stacks], left_out


def _instances(slices: Iterable[Slice]) -> int:
    return len({item.header.stored.sop_instance_uid for item in slices})


def _series_ref(series_uid: str, stack: Stack) -> SeriesRef:
    planes: dict[str, list[Plane]] = {}
    for item in stack.slices:
        planes.setdefault(item.header.stored.sop_instance_uid, []).append(item.plane)
    headers = {item.header.stored.sop_instance_uid: item.header for item in stack.slices}
    ordered = tuple(replace(headers[uid], planes=tuple(planes[uid])) for uid in sorted(headers))
    first = ordered[0]
    return SeriesRef(
        study_instance_uid=first.stored.study_instance_uid,
        series_instance_uid=series_uid,
        modality=first.stored.modality.upper(),
        description=first.description,
        body_part=first.body_part,
        headers=ordered,
        part=stack.part,
        order=stack.order,
    )


def exclusion(header: InstanceHeader, rules: SelectionRules) -> LeftOutReason | None:
    """Return why one instance cannot be part of a volume, or None. The first reason that holds counts."""
    return _exclusion_by_kind(header, rules) or _exclusion_by_image_type(header, rules) or _exclusion_by_layout(header)


def _exclusion_by_kind(header: InstanceHeader, rules: SelectionRules) -> LeftOutReason | None:
    modality, sop_class = header.stored.modality.upper(), header.stored.sop_class_uid
    volumetric = sop_class in VOLUME_CLASSES
    if header.manufacturer == _OWN_MANUFACTURER and not volumetric:
        return LeftOutReason.OWN_RESULT
    if sop_class == _SECONDARY_CAPTURE_PREFIX or sop_class.startswith(f"{_SECONDARY_CAPTURE_PREFIX}."):
        return LeftOutReason.SECONDARY_CAPTURE
    if modality in _NON_IMAGE_MODALITIES or not header.rows or not header.columns:
        return LeftOutReason.NOT_AN_IMAGE
    if modality not in rules.modalities:
        return LeftOutReason.UNSUPPORTED_MODALITY
    if sop_class == NuclearMedicineImageStorage and not is_reconstructed(header.image_type):
        return LeftOutReason.PLANAR
    return None if volumetric else LeftOutReason.UNSUPPORTED_CLASS


_IMAGE_TYPES: tuple[tuple[frozenset[str], LeftOutReason], ...] = (
    (frozenset({"LOCALIZER", "SCOUT"}), LeftOutReason.LOCALIZER),
    (frozenset({"MOSAIC"}), LeftOutReason.MOSAIC),
    (frozenset({"SCREEN SAVE", "SCREENSAVE", "CSA REPORT", "DOSE_INFO"}), LeftOutReason.SCREEN_SAVE),
    (
        frozenset({"PROJECTION IMAGE", "MIP", "MNIP", "MAX_IP", "MIN_IP", "VOLUME_RENDER", "SURFACE_RENDER"}),
        LeftOutReason.PROJECTION,
    ),
)


def _exclusion_by_image_type(header: InstanceHeader, rules: SelectionRules) -> LeftOutReason | None:
    """Judge by the values of ImageType (PS3.3 C.7.6.1.1.2)."""
    values = frozenset(header.image_type)
    for marks, reason in _IMAGE_TYPES:
        if values & marks:
            return reason
    if "SECONDARY" in header.image_type[1:2] and not header.computed:
        return LeftOutReason.SECONDARY_CAPTURE
    return LeftOutReason.DERIVED if header.computed and not rules.derived else None


def _exclusion_by_layout(header: InstanceHeader) -> LeftOutReason | None:
    if header.samples_per_pixel != 1 or not header.photometric_interpretation.startswith("MONOCHROME"):
        return LeftOutReason.COLOUR
    return None if header.planes else LeftOutReason.NO_GEOMETRY
