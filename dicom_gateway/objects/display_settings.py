"""Which images one presentation state can hold for, and how it has them shown: as their own headers say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_gateway.errors import SourceUnusable
from dicom_gateway.objects.display_transformations import (
    Rescale,
    Window,
    rescale_of,
    voi_table_of,
    window_of,
)
from dicom_gateway.objects.planes import planes_of
from dicom_gateway.objects.references import image_references
from dicom_gateway.objects.sources import SourceSeries, reference_header, stated_spacing
from storage.volumes import FrameRef

# The shutter of an image is not used where a presentation state is (PS3.3 C.7.6.11, C.11.12).
_SHUTTER = (
    "ShutterShape",
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "CenterOfCircularShutter",
    "RadiusOfCircularShutter",
    "VerticesOfThePolygonalShutter",
    "ShutterPresentationValue",
)


@dataclass(frozen=True, slots=True)
class ImageGroup:
    """Frames that one modality transformation holds for, by their places in the stack.

    ``rescale`` is that transformation; None where there is none, or it is a table of the group's one image.
    """

    slices: tuple[int, ...]
    rescale: Rescale | None

    def frames(self, frames: Sequence[FrameRef]) -> list[FrameRef]:
        """Return those of the stack's frames that belong to the group."""
        return [frames[z] for z in self.slices]

    def headers(self, series: SourceSeries, frames: Sequence[FrameRef]) -> dict[str, Dataset]:
        """Return builder headers of the group's instances by SOP Instance UID: references and size alone."""
        by_uid = series.by_uid()
        return {
            frame.sop_instance_uid: _sized_header(by_uid[frame.sop_instance_uid], frame)
            for frame in self.frames(frames)
        }


def image_groups(slices: Sequence[int], series: SourceSeries, frames: Sequence[FrameRef]) -> tuple[ImageGroup, ...]:
    """Divide slices of a stack into groups that one presentation state can hold for; SourceUnusable where one is amiss.

    A modality transformation holds for all images of a state (PS3.3 C.11.1), and a multi-frame instance stands alone.
    """
    by_uid = series.by_uid()
    groups: dict[tuple[str, Rescale | None], list[int]] = {}
    for z in slices:
        frame = frames[z]
        source = by_uid.get(frame.sop_instance_uid)
        if source is None:
            raise SourceUnusable(f"frame {z + 1} names an instance that is not among the sources")
        alone = frame.frame_number is not None or source.get("ModalityLUTSequence")
        rescale = None if source.get("ModalityLUTSequence") else rescale_of(source, frame.frame_number)
        groups.setdefault((frame.sop_instance_uid if alone else "", rescale), []).append(z)
    return tuple(ImageGroup(tuple(those), rescale) for (_, rescale), those in groups.items())


def apply_display(dataset: Dataset, group: ImageGroup, series: SourceSeries, frames: Sequence[FrameRef]) -> None:
    """Have a presentation state show its images as their headers say: grey values, polarity, pixel shape, shutter."""
    of_group = group.frames(frames)
    source = series.by_uid()[of_group[0].sop_instance_uid]
    dataset.ReferencedSeriesSequence[0].ReferencedImageSequence = image_references(of_group)
    if source.get("ModalityLUTSequence"):
        dataset.ModalityLUTSequence = source.ModalityLUTSequence
    elif group.rescale is not None:
        dataset.RescaleSlope, dataset.RescaleIntercept = _ds(group.rescale.slope), _ds(group.rescale.intercept)
        dataset.RescaleType = group.rescale.kind
    if windows := _windows(group, series, frames):
        dataset.SoftcopyVOILUTSequence = windows
    inverse = source.get("PhotometricInterpretation") == "MONOCHROME1"
    dataset.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"
    dataset.DisplayedAreaSelectionSequence = [_displayed_area(source, series, frames)]
    if len({frame.sop_instance_uid for frame in of_group}) == 1:
        for keyword in _SHUTTER:
            if source.get(keyword) not in (None, ""):
                dataset.add(source[keyword])


def _windows(group: ImageGroup, series: SourceSeries, frames: Sequence[FrameRef]) -> list[Dataset]:
    """Return one item for each window, with the images that it is for unless it is for all (PS3.3 C.11.8)."""
    by_uid = series.by_uid()
    shown: dict[Window | None, list[FrameRef]] = {}
    for frame in group.frames(frames):
        window = window_of(by_uid[frame.sop_instance_uid], frame.frame_number, group.rescale)
        shown.setdefault(window, []).append(frame)
    if list(shown) == [None]:
        table = voi_table_of(by_uid[shown[None][0].sop_instance_uid]) if len(shown[None]) == 1 else None
        return [_table_item(table)] if table is not None else []
    items = []
    for window, those in shown.items():
        if window is not None:
            items.append(_window_item(window))
            if len(shown) > 1:
                items[-1].ReferencedImageSequence = image_references(those)
    return items


def _window_item(window: Window) -> Dataset:
    item = Dataset()
    item.WindowCenter, item.WindowWidth = _ds(window.center), _ds(window.width)
    if window.function is not None:
        item.VOILUTFunction = window.function
    return item


def _table_item(table: Dataset) -> Dataset:
    item = Dataset()
    item.VOILUTSequence = [table]
    return item


def _displayed_area(source: Dataset, series: SourceSeries, frames: Sequence[FrameRef]) -> Dataset:
    """Return the whole image, fitted to the screen with pixels of their true shape (PS3.3 C.10.4)."""
    area = Dataset()
    area.DisplayedAreaTopLeftHandCorner = [1, 1]
    area.DisplayedAreaBottomRightHandCorner = [int(source.Columns), int(source.Rows)]
    area.PresentationSizeMode = "SCALE TO FIT"
    spacing = _spacing(source, series, frames)
    if spacing is not None:
        area.PresentationPixelSpacing = [_ds(value) for value in spacing]
    else:
        stated = stated_spacing(source, "PixelAspectRatio") or (1, 1)
        area.PresentationPixelAspectRatio = [int(value) for value in stated]
    return area


def _spacing(source: Dataset, series: SourceSeries, frames: Sequence[FrameRef]) -> Sequence[float] | None:
    try:
        return planes_of(series, frames)[0].pixel_spacing
    except SourceUnusable:
        return stated_spacing(source, "PixelSpacing")


def _sized_header(source: Dataset, frame: FrameRef) -> Dataset:
    header = reference_header(source)
    header.Rows, header.Columns, header.SamplesPerPixel = int(source.Rows), int(source.Columns), 1
    if frame.frame_number is not None:
        header.NumberOfFrames = int(source.get("NumberOfFrames") or 1)
    # What the builder would read there is applied afterwards, for the frames that it is for.
    header.SharedFunctionalGroupsSequence = [Dataset()]
    header.PerFrameFunctionalGroupsSequence = [Dataset()]
    return header


def _ds(value: float) -> float:
    """Round to what a decimal string of 16 characters holds."""
    return float(f"{value:.10g}")
