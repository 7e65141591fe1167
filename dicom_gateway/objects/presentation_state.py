"""DICOM Grayscale Softcopy Presentation State (PS3.3 A.33.1): the lesions' outlines on the source images themselves.

Each lesion has a layer of its own in the colour of its segment, and on each image that it reaches its outline and its
name, with the tracking UID that it has in segmentation and report. The grey values are shown as the source says.
"""

from __future__ import annotations

from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_gateway.errors import SourceUnusable
from dicom_gateway.objects.anatomy import state_laterality
from dicom_gateway.objects.contribution import contribution
from dicom_gateway.objects.display_settings import ImageGroup, apply_display, image_groups
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.identity import ObjectIdentity, object_identity, settle
from dicom_gateway.objects.key_pictures import lesion_plane
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.segments import lesions
from dicom_gateway.objects.sources import Sources, SourceSeries, copy_identity, source_series
from dicom_gateway.objects.styles import DEFAULT_STYLE, ObjectStyle
from storage.domain import Analysis, LabelMap, ObjectKind
from storage.uids import deterministic_uid

_GREY = ("MONOCHROME1", "MONOCHROME2")


def build_presentation_states(
    analysis: Analysis,
    sources: Sources,
    *,
    written_at: datetime,
    equipment: Equipment,
    predecessor: PredecessorDocument | None = None,
    style: ObjectStyle = DEFAULT_STYLE,
) -> tuple[Dataset, ...]:
    """Build the presentation states of an analysis that found a lesion, all of one series.

    One holds for images with one modality transformation: CT and MR have one, PET one for each slope, an enhanced
    instance one of its own. None where no lesion was found, or the images are in colour, to which this kind of state
    does not apply. Raises SourceUnusable where the sources do not carry the label map.
    """
    series = source_series(sources)
    label_map = analysis.label_map
    if label_map is None or not lesions(analysis) or not is_grey(series):
        return ()
    identity = object_identity(
        analysis, ObjectKind.GSPS, study_instance_uid=series.study_instance_uid, predecessor=predecessor, style=style
    )
    groups = image_groups(_slices_with_lesions(analysis, label_map), series, label_map.frames)
    states = []
    for number, group in enumerate(groups, start=1):
        own = ObjectIdentity(
            deterministic_uid("GSPS-state", identity.sop_instance_uid, str(number)),
            identity.series_instance_uid,
            identity.dimension_organization_uid,
        )
        dataset = _highdicom_state(
            analysis,
            label_map,
            group,
            series,
            own,
            equipment=style.applied_to(equipment, analysis.decision.priority),
            number=number,
        )
        state_laterality(dataset, series.first)
        apply_display(dataset, group, series, label_map.frames)
        copy_identity(series.first, dataset)
        settle(dataset, own, written_at=written_at, equipment=equipment)
        del dataset.ContentDate, dataset.ContentTime  # a state has the moment of its creation instead
        states.append(dataset)
    return tuple(states)


def is_grey(series: SourceSeries) -> bool:
    """Say whether grayscale presentation states apply to every image of a series."""
    return all(source.get("PhotometricInterpretation") in _GREY for source in series.datasets)


def _slices_with_lesions(analysis: Analysis, label_map: LabelMap) -> list[int]:
    return [z for z in range(len(label_map.frames)) if lesion_plane(analysis, label_map, z).any()]


def _highdicom_state(
    analysis: Analysis,
    label_map: LabelMap,
    group: ImageGroup,
    series: SourceSeries,
    identity: ObjectIdentity,
    *,
    equipment: Equipment,
    number: int,
) -> Dataset:
    # Loaded when the first state is written: few destinations ask for them.
    from highdicom.pr import GrayscaleSoftcopyPresentationState

    from dicom_gateway.objects.graphic_annotations import annotations_of, layers_of

    layers = layers_of(analysis)
    headers = group.headers(series, label_map.frames)
    try:
        return GrayscaleSoftcopyPresentationState(
            referenced_images=list(headers.values()),
            series_instance_uid=identity.series_instance_uid,
            series_number=equipment.presentation_state_series_number,
            sop_instance_uid=identity.sop_instance_uid,
            instance_number=number,
            manufacturer=equipment.manufacturer,
            manufacturer_model_name=equipment.model_name,
            software_versions=equipment.software_version,
            device_serial_number=equipment.device_serial_number,
            content_label="AI_LESIONS",
            content_description="Lesions found by oncue AI - not for primary diagnosis",
            content_creator_name=equipment.content_creator,
            graphic_annotations=annotations_of(analysis, label_map, group.slices, headers=headers, layers=layers),
            graphic_layers=list(layers.values()),
            transfer_syntax_uid=ExplicitVRLittleEndian,
            contributing_equipment=[contribution(equipment)],
            series_description=equipment.series_description,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SourceUnusable(
            f"no presentation state can be written on these sources: {type(error).__name__}"
        ) from error
