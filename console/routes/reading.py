"""What routes look at, read from a folder or from a study that arrived."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy.orm import Session

from console.installation import Installation
from dicom_gateway.errors import NoSeriesFound
from dicom_gateway.series_facts import SeriesImages, read_facts, read_folder
from storage import studies, worklist
from storage.domain import StoredInstance
from storage.errors import ConfigurationError, RecordMissing
from storage.objects import ObjectStore
from storage.progress import OnProgress
from storage.routes.series_facts import SeriesFacts
from storage.worklist import StudyEntry


def series_of_folder(folder: Path, on_progress: OnProgress) -> Mapping[str, tuple[SeriesFacts, ...]]:
    """Return the series of every study below a folder, by Study Instance UID; NoSeriesFound, ConfigurationError."""
    try:
        found = read_folder(folder, on_progress)
    except OSError as error:
        raise ConfigurationError(f"{folder} cannot be read: {error.strerror}") from error
    if not found:
        raise NoSeriesFound(f"no series of DICOM images below {folder}; check the folder")
    return found


def series_of_study(installation: Installation, study: str) -> tuple[str, tuple[SeriesFacts, ...]]:
    """Return the UID and the series of a study on record, by our number or its UID; RecordMissing."""
    if not re.fullmatch(r"[0-9.]+", study):
        raise RecordMissing(f"{study} is neither a folder nor a study's number or UID")
    with installation.read() as session:
        entry = _entry(session, study)
        instances = studies.instances_of(session, entry.id)
    return entry.study_instance_uid, _series(instances, installation.objects)


def _entry(session: Session, study: str) -> StudyEntry:
    if study.isdigit():
        return worklist.find(session, int(study))
    entry = worklist.study(session, study)
    if entry is None:
        raise RecordMissing(f"there is no folder and no study {study}; see `oncue studies list`")
    return entry


def _series(instances: Sequence[StoredInstance], objects: ObjectStore) -> tuple[SeriesFacts, ...]:
    grouped: dict[str, list[StoredInstance]] = defaultdict(list)
    for instance in instances:
        grouped[instance.series_instance_uid].append(instance)
    return tuple(read_facts(_images(uid, found, objects)) for uid, found in sorted(grouped.items()))


def _images(uid: str, instances: Sequence[StoredInstance], objects: ObjectStore) -> SeriesImages:
    return SeriesImages(
        series_instance_uid=uid,
        modality=instances[0].modality,
        files=tuple(objects.path(instance.digest) for instance in instances),
        sop_class_uids=frozenset(instance.sop_class_uid for instance in instances),
    )
