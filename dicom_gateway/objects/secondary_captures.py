"""DICOM Secondary Capture (PS3.3 A.8.1): the pictures of an analysis for receivers that show images alone.

RGB, one instance for each picture, all of one series: the outline as the worker drew it, and around it what was found,
which slice it is, which way it lies, a scale and "not for diagnostic use". No pixel of a source is decoded here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy import bool_
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_gateway.errors import SourceUnusable
from dicom_gateway.objects.anatomy import state_laterality
from dicom_gateway.objects.captions import NOT_FOR_DIAGNOSIS, caption_of, lesions_on
from dicom_gateway.objects.capture_drawing import Layout, draw_capture, picture_size
from dicom_gateway.objects.codes import SOURCE_IMAGE_FOR_PROCESSING
from dicom_gateway.objects.contribution import contribution
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.flat_images import is_flat
from dicom_gateway.objects.identity import ObjectIdentity, object_identity, settle
from dicom_gateway.objects.key_pictures import KeyPicture, lesion_plane
from dicom_gateway.objects.orientation import letters_of, opposite, stated_letters
from dicom_gateway.objects.planes import Plane, planes_of
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.references import frame_reference
from dicom_gateway.objects.sources import Sources, SourceSeries, copy_identity, reference_header, source_series
from dicom_gateway.objects.styles import DEFAULT_STYLE, ObjectStyle
from storage.domain import Analysis, Extent, FrameRef, ObjectKind
from storage.uids import deterministic_uid

_DERIVATION = "Windowed and enlarged, with outlines and text burned in by oncue AI"
_AS_SOURCE = ("BurnedInAnnotation", "RecognizableVisualFeatures")
_LOSS = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def build_secondary_captures(
    analysis: Analysis,
    sources: Sources,
    pictures: Sequence[KeyPicture],
    *,
    written_at: datetime,
    equipment: Equipment,
    predecessor: PredecessorDocument | None = None,
    style: ObjectStyle = DEFAULT_STYLE,
) -> tuple[Dataset, ...]:
    """Build one capture for each picture of an analysis, in order; none where it has no picture.

    Sizes are shown where the images state them or a lesion's was measured. Raises SourceUnusable where the sources are
    not of one series or a picture is none.
    """
    series = source_series(sources)
    identity = object_identity(
        analysis, ObjectKind.SC, study_instance_uid=series.study_instance_uid, predecessor=predecessor, style=style
    )
    view = _View(analysis, series, _planes(series, analysis.frames))
    captures = []
    for number, picture in enumerate(pictures, start=1):
        own = replace(
            identity, sop_instance_uid=deterministic_uid("SC-picture", identity.sop_instance_uid, str(number))
        )
        dataset = _highdicom_capture(
            view, picture, own, equipment=style.applied_to(equipment, analysis.decision.priority), number=number
        )
        copy_identity(series.first, dataset)
        settle(dataset, own, written_at=written_at, equipment=equipment)
        captures.append(dataset)
    return tuple(captures)


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """An analysis with where its frames lie; ``planes`` is None where they do not say."""

    analysis: Analysis
    series: SourceSeries
    planes: tuple[Plane, ...] | None

    def frame(self, picture: KeyPicture) -> FrameRef | None:
        return None if picture.slice_index is None else self.analysis.frames[picture.slice_index]

    def source(self, picture: KeyPicture) -> Dataset | None:
        frame = self.frame(picture)
        return None if frame is None else self.series.by_uid().get(frame.sop_instance_uid)

    def orientation(self, picture: KeyPicture) -> tuple[str, str] | None:
        """Return where the rows and the columns of a picture run to."""
        if self.planes is not None:
            return letters_of(self.planes[picture.slice_index or 0].orientation)
        source = self.source(picture)
        return None if source is None else stated_letters(source)

    def pixel_mm(self, picture: KeyPicture) -> float | None:
        """Return the size of a picture's pixel; of a flat image the one that its lesions were measured by."""
        width, height = picture_size(picture.png)
        if self.planes is not None:
            plane = self.planes[0]
            return plane.columns * plane.pixel_spacing[1] / width
        label_map = self.analysis.label_map
        measured = next((one for one in self.analysis.findings if one.extent is Extent.AREA and one.area_mm2), None)
        if label_map is None or measured is None:
            return None
        counted = int(np.count_nonzero(label_map.labels == measured.number))
        pixels = label_map.labels.shape[1] * label_map.labels.shape[2]
        return math.sqrt(measured.area_mm2 / counted * pixels / (width * height)) if counted else None

    def lesions(self, picture: KeyPicture) -> dict[int, NDArray[bool_]]:
        """Return the mask of each lesion that a picture shows."""
        if self.analysis.label_map is None or picture.slice_index is None:
            return {}
        labels = lesion_plane(self.analysis, self.analysis.label_map, picture.slice_index)
        shown = lesions_on(self.analysis, picture.slice_index)
        return {finding.number: labels == finding.number for finding in shown}


def _planes(series: SourceSeries, frames: Sequence[FrameRef]) -> tuple[Plane, ...] | None:
    if is_flat(series, frames):
        return None
    try:
        return planes_of(series, frames)
    except SourceUnusable:
        return None


def _highdicom_capture(
    view: _View, picture: KeyPicture, identity: ObjectIdentity, *, equipment: Equipment, number: int
) -> Dataset:
    # Loaded when the first capture is written: few destinations ask for them.
    from highdicom.sc import SCImage

    orientation = view.orientation(picture)
    pixel_mm = view.pixel_mm(picture)
    pixels = draw_capture(
        picture.png,
        Layout(
            caption_of(view.analysis, picture, view.source(picture), equipment),
            _edges(orientation),
            pixel_mm,
            view.lesions(picture),
        ),
    )
    try:
        dataset: Dataset = SCImage.from_ref_dataset(
            ref_dataset=reference_header(view.series.first),
            pixel_array=pixels,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=("L", "P"),  # the true one follows: it may be one that the builder does not know
            series_instance_uid=identity.series_instance_uid,
            series_number=equipment.capture_series_number,
            sop_instance_uid=identity.sop_instance_uid,
            instance_number=number,
            manufacturer=equipment.manufacturer,
            manufacturer_model_name=equipment.model_name,
            software_versions=equipment.software_version,
            device_serial_number=equipment.device_serial_number,
            series_description=equipment.series_description,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            contributing_equipment=[contribution(equipment)],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SourceUnusable(f"no capture can be written on these sources: {type(error).__name__}") from error
    dataset.PatientOrientation = list(orientation) if orientation else ""
    _describe(dataset, view, picture)
    if view.planes is not None and pixel_mm is not None:
        dataset.PixelSpacing = [float(f"{pixel_mm:.8g}")] * 2
    return dataset


def _describe(dataset: Dataset, view: _View, picture: KeyPicture) -> None:
    """Say what the capture was made of and how (PS3.3 C.7.6.1.1.2 to C.7.6.1.1.5, C.8.6.1)."""
    source = view.source(picture)
    like = view.series.first if source is None else source
    dataset.ConversionType = "WSD"
    state_laterality(dataset, like)
    dataset.ImageComments = NOT_FOR_DIAGNOSIS
    dataset.DerivationDescription = _DERIVATION
    for keyword in _LOSS:
        if like.get("LossyImageCompression") == "01" and like.get(keyword) not in (None, ""):
            dataset.add(like[keyword])
    # Our own text identifies nobody. What stands in the source's pixels is in the picture too.
    for keyword in _AS_SOURCE:
        if like.get(keyword) in ("YES", "NO"):
            dataset.add(like[keyword])
    frame = view.frame(picture)
    frames = view.analysis.frames if frame is None else (frame,)
    dataset.SourceImageSequence = [frame_reference(one, SOURCE_IMAGE_FOR_PROCESSING) for one in frames]


def _edges(orientation: tuple[str, str] | None) -> tuple[str, str, str, str] | None:
    """Return the letters to the left, to the right, above and below; None where they are not those of a person."""
    if orientation is None:
        return None
    right, below = orientation
    left, above = opposite(right), opposite(below)
    return (left, right, above, below) if left and above else None
