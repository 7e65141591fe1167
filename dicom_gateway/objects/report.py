"""DICOM structured report: TID 1500 Measurement Report as Comprehensive 3D SR (PS3.16, PS3.3 A.35.13).

One measurement group for each lesion, which refers to its segment; or one for the label of a whole image, which refers
to the image; or one that says Absent. Then one for each organ that was drawn, which refers to its segment. Beside them
stands the reading priority of the study.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from highdicom.sr import Comprehensive3DSR, MeasurementReport, ObservationContext
from pydicom.dataset import Dataset

from dicom_gateway.errors import SourceUnusable
from dicom_gateway.objects import codes
from dicom_gateway.objects.audit_checkpoint import checkpoint_item
from dicom_gateway.objects.contribution import contribution
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.identity import ObjectIdentity, object_identity, settle
from dicom_gateway.objects.measurement_groups import GroupBuilder
from dicom_gateway.objects.observers import device_observer
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.reading_priority import priority_evaluation, private_scheme
from dicom_gateway.objects.sources import Sources, copy_identity, reference_header, source_series
from dicom_gateway.objects.styles import DEFAULT_STYLE, ObjectStyle
from storage.domain import Analysis, ObjectKind


def build_report(
    analysis: Analysis,
    sources: Sources,
    *,
    segmentation: Dataset | None,
    written_at: datetime,
    equipment: Equipment,
    predecessor: PredecessorDocument | None = None,
    style: ObjectStyle = DEFAULT_STYLE,
) -> Dataset:
    """Build the SR of an analysis; ``segmentation`` is its SEG, and None where nothing was drawn.

    ``predecessor`` is the report that this one replaces, and a part of its identity. Raises SourceUnusable where the
    sources are not of one series, ObjectInvalid where lesions or organs come without their SEG or nothing is stated.
    """
    series = source_series(sources)
    identity = object_identity(
        analysis, ObjectKind.SR, study_instance_uid=series.study_instance_uid, predecessor=predecessor, style=style
    )
    content = _content(GroupBuilder(analysis, series, segmentation), equipment)
    content[0].ContentSequence.append(priority_evaluation(analysis.decision))
    if analysis.checkpoint is not None:
        content[0].ContentSequence.append(checkpoint_item(analysis.checkpoint))
    evidence = [reference_header(source) for source in series.datasets]
    if segmentation is not None:
        evidence.append(segmentation)
    dataset = _highdicom_report(
        content,
        evidence,
        identity,
        equipment=style.applied_to(equipment, analysis.decision.priority),
        predecessor=predecessor,
    )
    copy_identity(series.first, dataset)
    settle(dataset, identity, written_at=written_at, equipment=equipment)
    return dataset


def _highdicom_report(
    content: MeasurementReport,
    evidence: Sequence[Dataset],
    identity: ObjectIdentity,
    *,
    equipment: Equipment,
    predecessor: PredecessorDocument | None,
) -> Dataset:
    try:
        return Comprehensive3DSR(
            evidence=evidence,
            content=content,
            series_instance_uid=identity.series_instance_uid,
            series_number=equipment.report_series_number,
            sop_instance_uid=identity.sop_instance_uid,
            instance_number=1,
            manufacturer=equipment.manufacturer,
            is_complete=True,
            is_final=False,
            is_verified=False,
            series_description=equipment.series_description,
            manufacturer_model_name=equipment.model_name,
            software_versions=equipment.software_version,
            device_serial_number=equipment.device_serial_number,
            contributing_equipment=[contribution(equipment)],
            previous_versions=[predecessor.header()] if predecessor else None,
            coding_schemes=[private_scheme()],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SourceUnusable(f"no report can be written on these sources: {type(error).__name__}") from error


def _content(builder: GroupBuilder, equipment: Equipment) -> MeasurementReport:
    return MeasurementReport(
        observation_context=ObservationContext(observer_device_context=device_observer(equipment)),
        procedure_reported=codes.procedure(builder.series.modality),
        imaging_measurements=builder.groups(),
    )
