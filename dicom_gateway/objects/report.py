"""DICOM structured report: TID 1500 Measurement Report as Comprehensive 3D SR (PS3.16, PS3.3 A.35.13).

One measurement group for each lesion, which refers to its segment; or one that says Absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    ReferencedSegment,
    SourceSeriesForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard

from dicom_gateway.errors import ObjectInvalid, SourceUnusable
from dicom_gateway.objects import codes
from dicom_gateway.objects.anatomy import anatomic_region
from dicom_gateway.objects.contribution import contribution
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.identity import ObjectIdentity, object_identity, settle
from dicom_gateway.objects.labels import label_measurements, label_statements
from dicom_gateway.objects.segmentation import lesions
from dicom_gateway.objects.sources import SourceSeries, copy_identity, reference_header, source_series
from storage.domain import Algorithm, Analysis, Finding, ObjectKind, Presence
from storage.uids import deterministic_uid


def build_report(
    analysis: Analysis,
    sources: Sequence[Dataset],
    *,
    segmentation: Dataset | None,
    written_at: datetime,
    equipment: Equipment,
) -> Dataset:
    """Build the SR of an analysis; ``segmentation`` is its SEG, and None where nothing was found.

    Raises SourceUnusable where the sources are not of one series, ObjectInvalid where lesions come without their SEG.
    """
    series = source_series(sources)
    identity = object_identity(analysis, ObjectKind.SR, study_instance_uid=series.study_instance_uid)
    content = _content(analysis, series, segmentation, equipment)
    evidence = [reference_header(source) for source in series.datasets]
    if segmentation is not None:
        evidence.append(segmentation)
    dataset = _highdicom_report(content, evidence, identity, equipment)
    copy_identity(series.first, dataset)
    settle(dataset, identity, written_at=written_at, equipment=equipment)
    return dataset


def _highdicom_report(
    content: MeasurementReport, evidence: Sequence[Dataset], identity: ObjectIdentity, equipment: Equipment
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
            coding_schemes=[
                CodingSchemeIdentificationItem(
                    codes.PRIVATE_SCHEME, name=codes.PRIVATE_SCHEME_NAME, responsible_organization="oncue"
                )
            ],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SourceUnusable(f"no report can be written on these sources: {type(error).__name__}") from error


def _content(
    analysis: Analysis, series: SourceSeries, segmentation: Dataset | None, equipment: Equipment
) -> MeasurementReport:
    present = lesions(analysis)
    if bool(present) != (segmentation is not None):
        raise ObjectInvalid("a report of lesions needs their segmentation, and one of none must have no segmentation")
    groups: list[MeasurementsAndQualitativeEvaluations | VolumetricROIMeasurementsAndQualitativeEvaluations]
    if segmentation is not None:
        groups = [_lesion_group(finding, analysis, series, segmentation) for finding in present]
    else:
        groups = [_absence_group(finding, analysis, series) for finding in _absences(analysis)]
    return MeasurementReport(
        observation_context=_observer(equipment),
        procedure_reported=codes.procedure(series.modality),
        imaging_measurements=groups,
    )


def _absences(analysis: Analysis) -> tuple[Finding, ...]:
    absent = tuple(finding for finding in analysis.findings if finding.presence is Presence.ABSENT)
    if not absent:
        raise ObjectInvalid("the analysis states no finding, neither present nor absent")
    return absent


def _observer(equipment: Equipment) -> ObservationContext:
    attributes = DeviceObserverIdentifyingAttributes(
        uid=equipment.device_uid,
        name=equipment.model_name,
        manufacturer_name=equipment.manufacturer,
        model_name=equipment.model_name,
        serial_number=equipment.device_serial_number,
    )
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=CodedConcept.from_code(standard.DCM.Device), observer_identifying_attributes=attributes
        )
    )


def _lesion_group(
    finding: Finding, analysis: Analysis, series: SourceSeries, segmentation: Dataset
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    """TID 1411: the lesion as a segment, with what was measured of it and said of it."""
    region = anatomic_region(series.first)
    segment = ReferencedSegment(
        sop_class_uid=segmentation.SOPClassUID,
        sop_instance_uid=segmentation.SOPInstanceUID,
        segment_number=finding.number,
        source_series=SourceSeriesForSegmentation(str(series.first.SeriesInstanceUID)),
    )
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=finding.tracking_uid, identifier=finding.tracking_id),
        referenced_segment=segment,
        finding_type=codes.dicom_code(finding.concept),
        finding_sites=[FindingSite(CodedConcept.from_code(region))] if region else None,
        algorithm_id=_algorithm(analysis.algorithm),
        measurements=_lesion_measurements(finding, analysis),
        qualitative_evaluations=[_presence(finding), _out_of_distribution(analysis), *label_statements(finding)],
    )


def _absence_group(finding: Finding, analysis: Analysis, series: SourceSeries) -> MeasurementsAndQualitativeEvaluations:
    """TID 1501: the concept that was looked for and not found, and how sure that is."""
    region = anatomic_region(series.first)
    uid = finding.tracking_uid or deterministic_uid("absence", series.study_instance_uid, analysis.input_sha256)
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=uid, identifier=finding.tracking_id or "nothing found"),
        finding_type=codes.dicom_code(finding.concept),
        finding_sites=[FindingSite(CodedConcept.from_code(region))] if region else None,
        algorithm_id=_algorithm(analysis.algorithm),
        measurements=[_certainty(finding), _unlikeness(analysis)],
        qualitative_evaluations=[_presence(finding), _out_of_distribution(analysis)],
    )


def _lesion_measurements(finding: Finding, analysis: Analysis) -> list[Measurement]:
    measured = [
        Measurement(name=codes.VOLUME, value=round(finding.volume_ml, 4), unit=codes.MILLILITER),
        Measurement(name=codes.LONG_AXIS, value=round(finding.longest_diameter_mm, 2), unit=codes.MILLIMETER),
        _certainty(finding),
        _unlikeness(analysis),
    ]
    algorithm = _algorithm(analysis.classifier) if analysis.classifier else None
    return [*measured, *label_measurements(finding, algorithm)]


def _certainty(finding: Finding) -> Measurement:
    return Measurement(name=codes.CERTAINTY_OF_FINDING, value=_percent(finding.confidence), unit=codes.PERCENT)


def _unlikeness(analysis: Analysis) -> Measurement:
    return Measurement(name=codes.UNLIKENESS, value=round(analysis.out_of_distribution, 4), unit=codes.NO_UNITS)


def _out_of_distribution(analysis: Analysis) -> QualitativeEvaluation:
    """Say of the input whether it is like what the analyser was trained on: a reader weighs the finding by that."""
    value = codes.UNLIKE_TRAINING if analysis.is_unfamiliar else codes.LIKE_TRAINING
    return QualitativeEvaluation(name=codes.FAMILIARITY, value=value)


def _percent(fraction: float) -> float:
    """Turn 0..1 into percent with two decimals."""
    return round(100.0 * fraction, 2)


def _presence(finding: Finding) -> QualitativeEvaluation:
    value = codes.PRESENT if finding.presence is Presence.PRESENT else codes.ABSENT
    return QualitativeEvaluation(name=codes.dicom_code(finding.concept), value=value)


def _algorithm(algorithm: Algorithm) -> AlgorithmIdentification:
    """TID 4019, with the digest of the weights among the parameters."""
    return AlgorithmIdentification(
        name=codes.plain(algorithm.name),
        version=codes.plain(algorithm.version),
        manufacturer="oncue",
        family=codes.ARTIFICIAL_INTELLIGENCE,
        parameters=[
            f"weights_sha256={algorithm.weights_sha256}",
            f"parameters={codes.plain(algorithm.parameters, 10_000)}",
        ],
    )
