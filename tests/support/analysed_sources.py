"""A study of source images with its committed analysis, as gateway and worker would leave them."""

from __future__ import annotations

from storage import analyses, arrays, jobs, registering
from storage.arrivals import Origin, StudyFacts
from storage.database import Database, utc_now
from storage.domain import Analysis, Lane, StoredInstance
from storage.objects import ObjectStore
from tests.support.routing import close_as_head
from tests.support.sources import SourceStudy


def analysed_source(
    database: Database, objects: ObjectStore, source: SourceStudy, analysis: Analysis | None = None
) -> int:
    """Commit a study, its job and an analysis, and return the job's id; its objects are to be written.

    The analysis has lesions where none is given.
    """
    with database.write() as session:
        for dataset, frame in zip(source.datasets, source.frames, strict=True):
            instance = StoredInstance(
                study_instance_uid=str(dataset.StudyInstanceUID),
                series_instance_uid=str(dataset.SeriesInstanceUID),
                sop_instance_uid=frame.sop_instance_uid,
                sop_class_uid=frame.sop_class_uid,
                transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
                modality="MR",
                digest=frame.digest,
                content_sha256=frame.digest,
                size_bytes=1,
            )
            origin = Origin("MR", None, Lane.ROUTINE)
            registering.register_instance(session, instance, StudyFacts(), origin=origin, now=utc_now())
        job_id = close_as_head(session, 1, quiet_seconds=0, now=utc_now())
        assert job_id is not None
    finish_job(database, objects, job_id, analysis or source.analysis(source.lesion_labels()))
    return job_id


def finish_job(database: Database, objects: ObjectStore, job_id: int, analysis: Analysis) -> None:
    """Commit the analysis of a job that waits, as a worker would."""
    with database.write() as session:
        held = jobs.claim(session, job_id, owner="worker", lease_seconds=60, now=utc_now())
        assert held is not None
        digest = arrays.save_grid(objects, analysis.frames, analysis.label_map)
        analyses.save(session, held, analysis, grid_digest=digest, now=utc_now())
