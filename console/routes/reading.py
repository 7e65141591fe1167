"""What routes look at, read from a folder or from a study that arrived."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy.orm import Session

from console.installation import Installation
from dicom_gateway.errors import NoSeriesFound
from dicom_gateway.series_facts import read_folder, stored_series
from storage import series, studies, worklist
from storage.errors import ConfigurationError, ObjectMissing, RecordMissing
from storage.objects import ObjectStore
from storage.progress import OnProgress
from storage.routes.series_facts import SeriesFacts
from storage.worklist import StudyEntry

_NUMBER_LENGTH = 18
"""Longer numbers are none of ours: databases hold 64 bits."""


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
        entry = study_on_record(session, study)
        return entry.study_instance_uid, arrived_series(session, entry.id, installation.objects)


def arrived_series(session: Session, study_id: int, objects: ObjectStore) -> tuple[SeriesFacts, ...]:
    """Read the series of a study as it stands now from its stored images; ObjectMissing where one is gone."""
    instances, senders = studies.instances_of(session, study_id), studies.senders_of(session, study_id)
    known = series.of_deleted(session, study_id)
    try:
        return stored_series(instances, objects, senders, known=known)
    except OSError as error:
        raise ObjectMissing(f"an image of study {study_id} cannot be read: {error.strerror}") from error


def study_on_record(session: Session, study: str) -> StudyEntry:
    """Return a study by our number or its UID; RecordMissing."""
    if study.isdigit() and len(study) <= _NUMBER_LENGTH:
        return worklist.find(session, int(study))
    entry = worklist.study(session, study)
    if entry is None:
        raise RecordMissing(f"there is no folder and no study {study}; see `oncue studies list`")
    return entry
