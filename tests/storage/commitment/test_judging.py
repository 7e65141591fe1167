"""For which instances we vouch, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import update

from storage.commitment.judging import judge
from storage.commitment.references import FailureReason, Reference
from storage.database import Database
from storage.holdings.tables import HeldStudyRow, ObjectHeaderRow
from storage.models import InstanceRow
from storage.objects import ObjectStore
from storage.result_tables import ResultObjectRow
from tests.support.records import MR_IMAGE
from tests.support.retained import MONTH_LATER, Kept

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
FIRST = Reference(MR_IMAGE, "2.25.1001.1.1")


@pytest.fixture
def kept(database: Database, objects: ObjectStore) -> Kept:
    """Return a place that holds a study of two images."""
    here = Kept(database, objects)
    here.study(images=2)
    return here


def _reasons(kept: Kept, *references: Reference) -> list[int]:
    return [one.reason for one in judge(kept.database, kept.objects, references).failures]


def _index(kept: Kept) -> None:
    """Have the index of headers know the first image, and that nothing else is to be read."""
    with kept.database.write() as session:
        session.execute(update(HeldStudyRow).values(is_due=False))
        instance = FIRST.sop_instance_uid
        session.add(ObjectHeaderRow(digest="a" * 64, study_id=1, sop_instance_uid=instance, attributes="{}"))


def test_images_are_vouched_for_before_the_index_has_read_them(kept: Kept) -> None:
    assert _reasons(kept, FIRST, Reference(MR_IMAGE, "2.25.1001.1.2")) == []


def test_images_are_vouched_for_by_the_index(kept: Kept) -> None:
    _index(kept)
    assert _reasons(kept, FIRST) == []
    judgement = judge(kept.database, kept.objects, [Reference(MR_IMAGE, "2.25.1001.1.2")])
    assert judgement.unknown == 1, "only the index knows the study, and has read it"


def test_an_unknown_instance_may_come_in_a_moment(kept: Kept) -> None:
    judgement = judge(kept.database, kept.objects, [FIRST, Reference(MR_IMAGE, "2.25.5")])
    assert [(one.reference.sop_instance_uid, one.reason) for one in judgement.failures] == [
        ("2.25.5", FailureReason.NO_SUCH_OBJECT)
    ]
    assert judgement.unknown == 1


def test_an_image_that_is_there_under_another_class_is_a_conflict(kept: Kept) -> None:
    judgement = judge(kept.database, kept.objects, [replace(FIRST, sop_class_uid=CT_IMAGE)])
    assert [one.reason for one in judgement.failures] == [FailureReason.CLASS_INSTANCE_CONFLICT]
    assert judgement.unknown == 0


@pytest.mark.parametrize("harm", ["deleted", "gone", "cut"])
def test_an_image_whose_file_is_not_whole_any_more_is_not_vouched_for(kept: Kept, harm: str) -> None:
    with kept.database.write() as session:
        row = session.get_one(InstanceRow, 1)
        path = kept.objects.path(row.digest)
        if harm == "deleted":
            row.deleted_at = MONTH_LATER
    if harm == "gone":
        path.unlink()
    if harm == "cut":
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-1])
    judgement = judge(kept.database, kept.objects, [FIRST])
    assert [one.reason for one in judgement.failures] == [FailureReason.NO_SUCH_OBJECT]
    assert judgement.unknown == 0


def test_an_image_that_another_content_replaced_is_still_vouched_for(kept: Kept) -> None:
    with kept.database.write() as session:
        session.get_one(InstanceRow, 1).current = False
    assert _reasons(kept, FIRST) == []


def test_objects_that_we_wrote_are_vouched_for(database: Database, objects: ObjectStore) -> None:
    kept = Kept(database, objects)
    kept.analysed()
    with database.read() as session:
        rows = session.query(ResultObjectRow).all()
        references = [Reference(row.sop_class_uid, row.sop_instance_uid) for row in rows]
    assert references
    assert _reasons(kept, *references) == []


def test_many_instances_are_judged_at_once(kept: Kept) -> None:
    strangers = [Reference(MR_IMAGE, f"2.25.7.{number}") for number in range(1200)]
    assert _reasons(kept, *strangers, FIRST) == [FailureReason.NO_SUCH_OBJECT] * 1200
