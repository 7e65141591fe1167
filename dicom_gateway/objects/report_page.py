"""The report page of an analysis: one A4 page for a person, as Encapsulated PDF (PS3.3 A.45.1).

It carries the patient's own name and number, as it lies in the patient's study: Burned In Annotation says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from dicom_gateway.errors import SourceUnusable
from dicom_gateway.objects import codes
from dicom_gateway.objects.contribution import contribution
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.identity import ObjectIdentity, in_zone, object_identity, settle
from dicom_gateway.objects.page_content import TITLE, page_content
from dicom_gateway.objects.page_layout import draw_page
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.sources import Sources, SourceSeries, copy_identity, leave_blank, source_series
from dicom_gateway.objects.styles import DEFAULT_STYLE, ObjectStyle
from storage.domain import Analysis, ObjectKind


def build_report_page(
    analysis: Analysis,
    sources: Sources,
    pictures: Sequence[bytes],
    *,
    written_at: datetime,
    equipment: Equipment,
    predecessor: PredecessorDocument | None = None,
    style: ObjectStyle = DEFAULT_STYLE,
    captions: Sequence[str] = (),
) -> Dataset:
    """Build the page; ``pictures`` are those of the analysis (PNG), ``captions`` what stands below each.

    The same analysis, pictures and moment give the same bytes. Raises SourceUnusable where the sources are not of one
    series or a picture cannot be read, ObjectInvalid where findings are not numbered as segments are.
    """
    series = source_series(sources)
    identity = object_identity(
        analysis,
        ObjectKind.PDF,
        study_instance_uid=series.study_instance_uid,
        predecessor=predecessor,
        style=style,
    )
    moment = in_zone(written_at, series.first.get("TimezoneOffsetFromUTC") or equipment.utc_offset)
    content = page_content(analysis, series, moment=moment, equipment=equipment, predecessor=predecessor)
    author = f"{equipment.model_name} {equipment.software_version}"
    try:
        pdf = draw_page(content, pictures, captions, author=author, moment=moment)
    except OSError as error:
        raise SourceUnusable("a picture of the analysis cannot be read") from error
    dataset = _encapsulated(pdf, series, identity, equipment=style.applied_to(equipment, analysis.decision.priority))
    copy_identity(series.first, dataset)
    settle(dataset, identity, written_at=written_at, equipment=equipment)
    return dataset


def _encapsulated(pdf: bytes, series: SourceSeries, identity: ObjectIdentity, *, equipment: Equipment) -> Dataset:
    """Return the object around a PDF file: series, equipment and document modules (PS3.3 C.24.1, C.8.6.1, C.24.2)."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = EncapsulatedPDFStorage
    dataset.SOPInstanceUID = identity.sop_instance_uid
    leave_blank(dataset)
    dataset.StudyInstanceUID = series.study_instance_uid
    dataset.SeriesInstanceUID = identity.series_instance_uid
    dataset.Modality = "DOC"
    dataset.SeriesNumber = equipment.report_page_series_number
    dataset.SeriesDescription = equipment.series_description
    dataset.Manufacturer = equipment.manufacturer
    dataset.ManufacturerModelName = equipment.model_name
    dataset.DeviceSerialNumber = equipment.device_serial_number
    dataset.SoftwareVersions = equipment.software_version
    dataset.ConversionType = "WSD"
    dataset.ContributingEquipmentSequence = [contribution(equipment)]
    dataset.InstanceNumber = 1
    dataset.AcquisitionDateTime = ""
    dataset.BurnedInAnnotation = "YES"
    dataset.RecognizableVisualFeatures = "NO"
    dataset.DocumentTitle = TITLE
    dataset.ConceptNameCodeSequence = [CodedConcept.from_code(codes.MEASUREMENT_REPORT)]
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.SourceInstanceSequence = [_reference(source) for source in series.datasets]
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocumentLength = len(pdf)
    dataset.EncapsulatedDocument = pdf if len(pdf) % 2 == 0 else pdf + b"\0"
    return dataset


def _reference(source: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    return reference
