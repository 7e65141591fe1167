"""How long a plan over many studies takes, and how many files a second a round deletes.

Example: python benchmarks/retention.py --studies 100000 --files 20000 [--database URL]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from sqlalchemy import insert

from storage import migrate
from storage.database import Database, connect, utc_now
from storage.deletion_tables import AnalysisFileRow
from storage.delivery_tables import DeliveryRow
from storage.models import InstanceRow, JobRow, StandingRow, StudyRow
from storage.objects import ObjectStore
from storage.result_tables import AnalysisRow, ReportRow, ResultObjectRow
from storage.retention.plans import plan
from storage.retention.rounds import Retention
from storage.retention.rules import RetentionSettings

NOW = utc_now()
LONG_AGO = NOW - timedelta(days=100)
FILES_OF_A_RESULT = 8
IMAGE = b"DICM" * 4096
RULES = RetentionSettings.model_validate(
    {"rules": [{"name": "all", "delete": ["images", "results", "pictures"], "older_than_days": 30}]}
).rules


def main() -> None:
    """Measure both, and print one line for each."""
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        database = connect(options.database or f"sqlite:///{Path(place) / 'oncue.sqlite'}")
        migrate.upgrade(database)
        objects = ObjectStore(Path(place) / "objects")
        objects.prepare()
        images = max(options.files // options.deleted_studies, 1)
        _fill(database, options.studies, images=2)
        began, worked = time.perf_counter(), time.process_time()
        with database.read() as session:
            lines = plan(session, objects, RULES, now=NOW)
        worked = time.process_time() - worked
        _say(f"plan over {options.studies} studies, {worked:.2f} s of it ours", time.perf_counter() - began)
        sys.stdout.write(f"  {[(line.kind.value, line.studies, line.files) for line in lines]}\n")
        _delete(database, objects, first=options.studies + 1, studies=options.deleted_studies, images=images)
        database.dispose()


def _delete(database: Database, objects: ObjectStore, *, first: int, studies: int, images: int) -> None:
    objects.prepare_names()
    _fill(database, studies, images=images, first=first, objects=objects, arrived=LONG_AGO - timedelta(days=300))
    rules = (RULES[0].model_copy(update={"delete": RULES[0].delete[:1], "older_than_days": 300.0}),)
    retention = Retention(database, objects, rules, owner="benchmark", actor="benchmark", clock=utc_now)
    began, worked, files = time.perf_counter(), time.process_time(), 0
    while True:
        done = retention.run(most_files=1000)
        files += done.freed.files
        if not done.more:
            break
    seconds = time.perf_counter() - began
    worked = time.process_time() - worked
    _say(f"{files} files of {studies} studies, {files / seconds:.0f} a second, {worked:.2f} s of it ours", seconds)


def _fill(
    database: Database,
    studies: int,
    *,
    images: int,
    first: int = 1,
    objects: ObjectStore | None = None,
    arrived: object = LONG_AGO,
) -> None:
    """Write studies with a result that was sent; where there is an object store, their images' files too."""
    for begin in range(first, first + studies, 1000):
        numbers = range(begin, min(begin + 1000, first + studies))
        with database.write() as session:
            for row, values in _rows(numbers, images, objects, arrived):
                session.execute(insert(row), values)


def _rows(
    numbers: range, images: int, objects: ObjectStore | None, arrived: object
) -> Iterator[tuple[type, list[dict[str, object]]]]:
    no = {"patient_key": None, "accession_number": "", "study_date": "", "study_description": "", "patient_id": ""}
    yield StudyRow, [
        {"id": n, "study_instance_uid": f"2.25.{n}", "revision": 1, "lane": "routine", "opened_at": arrived,
         "last_instance_at": arrived, "closed_at": arrived, **no}
        for n in numbers
    ]  # fmt: skip # reads by its lines
    yield StandingRow, [
        {"study_id": n, "state": "succeeded", "rank": n % 4, "minus_confidence": 0.0, "arrived_at": arrived,
         "leading_job_id": n, "instances": images, "complete": True, "analysed": True, "waiting": False,
         "unread": False, "image_bytes": images * len(IMAGE), "keeps_images": True, "keeps_results": True,
         "keeps_pictures": True}
        for n in numbers
    ]  # fmt: skip # reads by its lines
    yield InstanceRow, [_instance(n, index, objects, arrived) for n in numbers for index in range(images)]
    yield JobRow, [
        {"id": n, "study_id": n, "revision": 1, "route": "head", "pool": "cpu", "analyser": "x", "wanted": "[]",
         "wanted_sha256": "0" * 64, "state": "succeeded", "lane": "routine", "attempts": 1, "token": 1,
         "opened_at": arrived}
        for n in numbers
    ]  # fmt: skip # reads by its lines
    yield AnalysisRow, [
        {"job_id": n, "series_instance_uid": f"2.25.{n}.1", "input_sha256": "0" * 64, "grid_digest": _sha("grid", n),
         "algorithm_name": "x", "algorithm_version": "1", "weights_sha256": "0" * 64, "parameters": "{}",
         "case_score": 0.5, "priority": "HIGH", "rule": "x", "policy_sha256": "0" * 64, "policy_inputs": "{}",
         "timings": "[]", "overlays": "[]", "notes": "[]", "analysed_at": arrived}
        for n in numbers
    ]  # fmt: skip # reads by its lines
    yield ReportRow, [{"job_id": n, "state": "written", "attempts": 0, "next_attempt_at": arrived} for n in numbers]
    yield (
        AnalysisFileRow,
        [
            {
                "job_id": n,
                "digest": _sha("file", n, index),
                "kind": "pictures" if index else "results",
                "size_bytes": 1000,
            }
            for n in numbers
            for index in range(FILES_OF_A_RESULT)
        ],
    )
    yield ResultObjectRow, [
        {"id": 2 * n + index, "study_id": n, "job_id": n, "kind": ("SEG", "SR")[index],
         "sop_instance_uid": f"2.25.{n}.9.{index}",
         "sop_class_uid": "1", "series_instance_uid": "1", "transfer_syntax_uid": "1",
         "digest": _sha("sr", n, index), "size_bytes": 1000, "written_at": arrived}
        for n in numbers
        for index in range(2)
    ]  # fmt: skip # reads by its lines
    yield DeliveryRow, [
        {"object_id": 2 * n + index, "destination": "PACS@127.0.0.1:104", "state": "sent", "rank": 1, "attempts": 1,
         "next_attempt_at": arrived}
        for n in numbers
        for index in range(2)
    ]  # fmt: skip # reads by its lines


def _instance(number: int, index: int, objects: ObjectStore | None, arrived: object) -> dict[str, object]:
    digest = _sha("image", number, index)
    if objects is not None:
        path = objects.path(digest)
        path.write_bytes(IMAGE)
        os.utime(path, (LONG_AGO.timestamp(), LONG_AGO.timestamp()))
    uid = f"2.25.{number}"
    return {
        "study_id": number,
        "revision": 1,
        "series_instance_uid": f"{uid}.1",
        "sop_instance_uid": f"{uid}.1.{index}",
        "sop_class_uid": "1",
        "transfer_syntax_uid": "1",
        "modality": "MR",
        "digest": digest,
        "content_sha256": digest,
        "size_bytes": len(IMAGE),
        "calling_aet": "MODALITY",
        "received_at": arrived,
        "current": True,
    }


def _sha(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _say(what: str, seconds: float) -> None:
    sys.stdout.write(f"{what}: {seconds:.2f} s\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--deleted-studies", type=int, default=100)
    parser.add_argument("--database", help="SQLAlchemy URL of an empty database; default: SQLite")
    parser.add_argument("--folder", type=Path, default=None, help="Where files are written; default: the temporary one")
    return parser.parse_args()


if __name__ == "__main__":
    main()
