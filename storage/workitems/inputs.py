"""What a workitem of ours is to be done with: the images of its study, as they are when somebody asks."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.attributes import Element, element, sequence
from storage.models import InstanceRow, StudyRow
from storage.workitems.attributes import Tag
from storage.workitems.rows import Workitem


@dataclass(frozen=True, slots=True)
class _Series:
    """One series: its UID, who sent it, and its instances as SOP class and SOP Instance UID."""

    uid: str
    sender: str
    instances: tuple[tuple[str, str], ...]


def with_inputs(session: Session, workitem: Workitem) -> Workitem:
    """Return a workitem of ours with its Input Information Sequence, one item for each series; others as they are.

    It is not kept with the workitem: of thousands of images it would be larger than all else together.
    """
    if not workitem.is_own or workitem.study_id is None:
        return workitem
    uid = session.scalars(select(StudyRow.study_instance_uid).where(StudyRow.id == workitem.study_id)).one()
    items = (_item(uid, one) for one in _series(session, workitem.study_id))
    data_set = workitem.data_set.changed({Tag.InputInformationSequence.value: sequence(*items)})
    return replace(workitem, data_set=data_set)


def _series(session: Session, study_id: int) -> list[_Series]:
    query = (
        select(
            InstanceRow.series_instance_uid,
            InstanceRow.calling_aet,
            InstanceRow.sop_class_uid,
            InstanceRow.sop_instance_uid,
        )
        .where(InstanceRow.study_id == study_id, InstanceRow.current)
        .order_by(InstanceRow.series_instance_uid, InstanceRow.id)
    )
    grouped: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for uid, sender, sop_class_uid, sop_instance_uid in session.execute(query):
        grouped[uid, sender].append((sop_class_uid, sop_instance_uid))
    return [_Series(uid, sender, tuple(instances)) for (uid, sender), instances in grouped.items()]


def _item(study_instance_uid: str, series: _Series) -> dict[str, Element]:
    """Return the item of a series (PS3.3 Table 10-3b): whoever sent it is where it can be retrieved."""
    references = (
        {
            Tag.ReferencedSOPClassUID.value: element("UI", sop_class_uid),
            Tag.ReferencedSOPInstanceUID.value: element("UI", uid),
        }
        for sop_class_uid, uid in series.instances
    )
    return {
        Tag.TypeOfInstances.value: element("CS", "DICOM"),
        Tag.StudyInstanceUID.value: element("UI", study_instance_uid),
        Tag.SeriesInstanceUID.value: element("UI", series.uid),
        Tag.ReferencedSOPSequence.value: sequence(*references),
        Tag.DICOMRetrievalSequence.value: sequence({Tag.RetrieveAETitle.value: element("AE", series.sender)}),
    }
