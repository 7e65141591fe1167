"""What routes look at, read from the images of a series: their headers without the pixels."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue

from dicom_gateway.usable_text import with_usable_text
from storage.domain import StoredInstance
from storage.objects import ObjectStore
from storage.progress import OnProgress, unheard
from storage.routes.series_facts import SeriesFacts

_KEYWORDS = (
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "BodyPartExamined",
    "AnatomicRegionSequence",
    "SeriesDescription",
    "ProtocolName",
    "StudyDescription",
    "Laterality",
    "ImageLaterality",
    "StationName",
    "NumberOfFrames",
    "SliceThickness",
    "ContrastBolusAgent",
    "ImageType",
    "SharedFunctionalGroupsSequence",
    "PatientID",
)


@dataclass(frozen=True, slots=True)
class SeriesImages:
    """The stored files of one series, who sent them, and their SOP classes as they were received."""

    series_instance_uid: str
    modality: str
    files: tuple[Path, ...]
    sop_class_uids: frozenset[str]
    calling_aets: frozenset[str] = frozenset()


def read_facts(series: SeriesImages) -> SeriesFacts:
    """Read one header of a series, the middle one of its files, and count its planes.

    Only where that image holds several frames is every header read. A file that cannot be parsed leaves what it would
    have said unsaid; what was received tells modality and SOP classes in any case.
    """
    header = _header(series.files[len(series.files) // 2]) if series.files else Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as while it was parsed: values are converted when they are looked at
        return facts_of(header, series, frames=_frames(header, series.files))


def facts_of(header: Dataset, series: SeriesImages, *, frames: int) -> SeriesFacts:
    """Return what one header says of its series."""
    anatomy = _anatomy(header)
    return SeriesFacts(
        series_instance_uid=series.series_instance_uid,
        modality=series.modality,
        sop_class_uids=series.sop_class_uids,
        anatomic_codes=_codes(anatomy.get("AnatomicRegionSequence")),
        body_part_examined=_text(header, "BodyPartExamined"),
        series_description=_text(header, "SeriesDescription"),
        protocol_name=_text(header, "ProtocolName"),
        study_description=_text(header, "StudyDescription"),
        laterality=_text(header, "Laterality") or _text(header, "ImageLaterality") or _text(anatomy, "FrameLaterality"),
        calling_aets=series.calling_aets,
        station_name=_text(header, "StationName"),
        frames=frames,
        slice_thickness_mm=_number(header, "SliceThickness"),
        contrast=bool(_text(header, "ContrastBolusAgent")),
        image_types=frozenset(_texts(header, "ImageType")),
        patient_id=_text(header, "PatientID"),
    )


def stored_series(
    instances: Iterable[StoredInstance],
    objects: ObjectStore,
    senders: Mapping[str, frozenset[str]],
    *,
    known: Mapping[str, SeriesFacts] | None = None,
) -> tuple[SeriesFacts, ...]:
    """Read what routes look at of each series of a stored study; ``senders`` are the calling AE titles by series.

    ``known`` are the facts of series, by UID, that are taken as they are: their images were deleted.
    """
    kept = known or {}
    by_series: dict[str, list[StoredInstance]] = defaultdict(list)
    for instance in instances:
        by_series[instance.series_instance_uid].append(instance)
    return tuple(
        kept[uid]
        if uid in kept
        else read_facts(
            SeriesImages(
                series_instance_uid=uid,
                modality=found[0].modality,
                files=tuple(objects.path(instance.digest) for instance in found),
                sop_class_uids=frozenset(instance.sop_class_uid for instance in found),
                calling_aets=senders.get(uid, frozenset()),
            )
        )
        for uid, found in sorted(by_series.items())
    )


def read_folder(folder: Path, on_progress: OnProgress = unheard) -> Mapping[str, tuple[SeriesFacts, ...]]:
    """Return the series of every study below a folder, by Study Instance UID; what is no DICOM file is passed over.

    Of an instance that lies there twice one file counts, as one that is sent twice is stored once. ``on_progress``
    counts the files.
    """
    seen: set[str] = set()
    found: dict[tuple[str, str], list[tuple[Path, Dataset]]] = defaultdict(list)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for done, path in enumerate(paths, start=1):
        header = _header(path)
        on_progress(done, len(paths))
        if _text(header, "SeriesInstanceUID") and _is_new(_text(header, "SOPInstanceUID"), seen):
            found[_text(header, "StudyInstanceUID"), _text(header, "SeriesInstanceUID")].append((path, header))
    studies: dict[str, list[SeriesFacts]] = defaultdict(list)
    for (study_uid, series_uid), files in found.items():
        studies[study_uid].append(read_facts(_images(series_uid, files)))
    return {study_uid: tuple(facts) for study_uid, facts in studies.items()}


def _is_new(sop_instance_uid: str, seen: set[str]) -> bool:
    """Note an instance, and say whether it was not there yet; one that does not say which it is always is new."""
    if sop_instance_uid in seen:
        return False
    seen.update({sop_instance_uid} - {""})
    return True


def _images(series_uid: str, files: Sequence[tuple[Path, Dataset]]) -> SeriesImages:
    return SeriesImages(
        series_instance_uid=series_uid,
        modality=_text(files[0][1], "Modality"),
        files=tuple(path for path, _ in files),
        sop_class_uids=frozenset(_text(header, "SOPClassUID") for _, header in files),
    )


def _header(path: Path) -> Dataset:
    """Read one header, or an empty one of what cannot be read: whoever needs the image itself says so with a code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # departures from the standard are judged by value
        try:
            return with_usable_text(dcmread(path, stop_before_pixels=True, specific_tags=list(_KEYWORDS)))
        except (OSError, InvalidDicomError, ValueError, LookupError, ArithmeticError, TypeError, AttributeError):
            return Dataset()


def _frames(header: Dataset, files: Iterable[Path]) -> int:
    if (_number(header, "NumberOfFrames") or 1) <= 1:
        return sum(1 for _ in files)
    return int(sum(_number(_header(path), "NumberOfFrames") or 1 for path in files))


def _anatomy(header: Dataset) -> Dataset:
    """Return where the anatomy stands: in the image, or in the shared functional groups (PS3.3 C.7.6.16.2.8)."""
    shared = header.get("SharedFunctionalGroupsSequence") or []
    frame = (shared[0].get("FrameAnatomySequence") or []) if shared else []
    item: Dataset = frame[0] if frame else header
    return item


def _codes(sequence: object) -> tuple[str, ...]:
    items = sequence if isinstance(sequence, Sequence) else ()
    return tuple(_text(item, "CodeValue") for item in items if isinstance(item, Dataset))


def _texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    value = dataset.get(keyword)
    values = value if isinstance(value, MultiValue) else () if value is None else (value,)
    return tuple(str(part).strip() for part in values)


def _text(dataset: Dataset, keyword: str) -> str:
    return " ".join(_texts(dataset, keyword))


def _number(dataset: Dataset, keyword: str) -> float | None:
    value = dataset.get(keyword)
    return None if value is None or isinstance(value, (str, MultiValue)) else float(value)
