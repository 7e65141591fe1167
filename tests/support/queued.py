"""Studies that are already stored and queued, as the gateway would leave them."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

from pydicom import dcmread

from phantom.study import PhantomStudy, write_phantom_study
from storage import registering
from storage.arrivals import Origin, StudyFacts
from storage.closing import SeenStudy
from storage.database import Database, utc_now
from storage.domain import Lane, StoredInstance
from storage.objects import ObjectStore
from tests.support.routing import close_as_head, close_quiet, quiet_studies


def small_phantom(folder: Path, *, seed: int = 1, lesion: bool = True) -> PhantomStudy:
    return write_phantom_study(folder, seed=seed, slices=8, size=64, lesion=lesion)


def stored_instances(objects: ObjectStore, files: list[Path], *, study_uid: str) -> list[StoredInstance]:
    return [_stored(objects, path, study_uid) for path in sorted(files)]


def queue_study(
    database: Database,
    instances: list[StoredInstance],
    *,
    lane: Lane = Lane.ROUTINE,
    calling_aet: str = "SENDER",
    whole: SeenStudy | None = None,
) -> int:
    """Register the instances of one study, close it and return the id of its job.

    Routes see every series as a head MR, or ``whole``.
    """
    now = utc_now()
    origin = Origin(calling_aet, None, lane)
    with database.write() as session:
        for instance in instances:
            registering.register_instance(session, instance, StudyFacts(), origin=origin, now=now)
    with database.write() as session:
        later = now + timedelta(seconds=1)
        for study_id in quiet_studies(session, quiet_seconds=0, now=later):
            if whole is not None:
                opened = close_quiet(session, study_id, whole, quiet_seconds=0, now=later)
                return (opened or ())[0]
            job_id = close_as_head(session, study_id, quiet_seconds=0, now=later)
            if job_id is not None:
                return job_id
    raise AssertionError("no study went quiet")


def _stored(objects: ObjectStore, path: Path, study_uid: str) -> StoredInstance:
    content = path.read_bytes()
    header = dcmread(path, stop_before_pixels=True)
    return StoredInstance(
        study_instance_uid=study_uid,
        series_instance_uid=str(header.SeriesInstanceUID),
        sop_instance_uid=str(header.SOPInstanceUID),
        sop_class_uid=str(header.SOPClassUID),
        transfer_syntax_uid=str(header.file_meta.TransferSyntaxUID),
        modality=str(header.Modality),
        digest=objects.put(content),
        content_sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )
