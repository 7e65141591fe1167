"""The forms of a result: each a builder in one table, each built, checked and stored on its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

import structlog
from pydicom.dataset import Dataset

from dicom_gateway.objects.captions import short_caption
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.flat_images import is_flat
from dicom_gateway.objects.key_objects import build_key_objects
from dicom_gateway.objects.key_pictures import key_pictures
from dicom_gateway.objects.label_map import build_label_map
from dicom_gateway.objects.parametric_map import build_parametric_map, content_of
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.presentation_state import build_presentation_states
from dicom_gateway.objects.report import build_report
from dicom_gateway.objects.secondary_captures import build_secondary_captures
from dicom_gateway.objects.segmentation import build_segmentation
from dicom_gateway.objects.segments import has_segments
from dicom_gateway.objects.sources import SourceSeries, inherited_uids, read_sources, source_series
from dicom_gateway.objects.standard_tables import shrink_tables
from dicom_gateway.objects.storing import Expectation, store_object
from dicom_gateway.objects.styles import DEFAULT_STYLE, ObjectStyle
from dicom_gateway.privacy import keep_identifiers_out_of_logs
from storage import arrays
from storage.domain import Analysis, ObjectKind
from storage.errors import OncueError
from storage.objects import ObjectStore
from storage.written_objects import WrittenObject

logger = structlog.get_logger(__name__)

INDISPENSABLE = (ObjectKind.SEG, ObjectKind.SR)
"""Forms without which there is no result: a report fails where one of them cannot be built."""


class Options(TypedDict):
    """What every builder takes beside the analysis and its sources."""

    written_at: datetime
    equipment: Equipment
    predecessor: PredecessorDocument | None
    style: ObjectStyle


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What forms are built of. ``segmentation`` is the SEG where anything was drawn, written or not."""

    analysis: Analysis
    series: SourceSeries
    objects: ObjectStore
    options: Options
    segmentation: Dataset | None

    @property
    def source_uids(self) -> tuple[str, ...]:
        """The SOP Instance UIDs of the sources."""
        return tuple(str(source.SOPInstanceUID) for source in self.series.datasets)


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A built object, and the SOP Instance UIDs that it has to name."""

    dataset: Dataset
    references: Collection[str]


Results = Mapping[ObjectKind, Dataset]
"""What was written before, without flaw: the objects that a form may refer to."""


def write_forms(
    analysis: Analysis,
    objects: ObjectStore,
    forms: Collection[ObjectKind],
    *,
    written_at: datetime,
    equipment: Equipment,
    predecessor: PredecessorDocument | None = None,
    style: ObjectStyle = DEFAULT_STYLE,
) -> tuple[WrittenObject, ...]:
    """Build, check and store an analysis in some forms, SEG before what refers to it.

    The same analysis, forms, moment, equipment and style give the same bytes, so a repetition stores nothing new.
    ``written_at`` is timezone-aware and belongs to the job. ``predecessor`` is the report that the SR replaces: it is
    named there, and gives all objects UIDs of their own even where nothing else has changed. A form that does not apply
    is left out: SEG and LABELMAP without a segment, GSPS and KO without a lesion, GSPS on colour images, SC
    without pictures, PM without attention map or place in the patient. One that fails its check is returned with its
    flaw. One other than SEG and SR that cannot be built is logged and left out, unless nothing else is written.
    Raises ObjectMissing, SourceUnusable, ObjectInvalid, StorageFull.
    """
    keep_identifiers_out_of_logs()
    shrink_tables()
    options = Options(written_at=written_at, equipment=equipment, predecessor=predecessor, style=style)
    material = _material(analysis, objects, options, forms)
    inherited = inherited_uids(material.series.datasets) | (predecessor.uids if predecessor else frozenset())
    written: list[WrittenObject] = []
    results: dict[ObjectKind, Dataset] = {}
    failure: OncueError | None = None
    for kind, build in BUILDERS.items():
        if kind not in forms:
            continue
        try:
            drafts = build(material, results)
        except OncueError as error:
            if error.retryable or kind in INDISPENSABLE:
                raise
            logger.warning("form.failed", form=kind.value, code=error.code, reason=str(error))
            failure = failure or error
            continue
        for draft in drafts:
            item = store_object(
                draft.dataset,
                kind,
                objects,
                like=analysis.frames[0].digest,
                expected=Expectation(draft.references, inherited),
                style=style,
            )
            written.append(item)
            if item.flaw is None:
                results[kind] = draft.dataset
            else:
                logger.warning("form.flawed", form=kind.value, code="object_invalid", reason=item.flaw)
    if failure is not None and not written:
        raise failure
    return tuple(written)


def _material(analysis: Analysis, objects: ObjectStore, options: Options, forms: Collection[ObjectKind]) -> Material:
    series = source_series(read_sources(analysis.frames, objects))
    needed = has_segments(analysis) and not {ObjectKind.SEG, ObjectKind.SR}.isdisjoint(forms)
    segmentation = build_segmentation(analysis, series, **options) if needed else None
    return Material(analysis, series, objects, options, segmentation)


def _segmentation(material: Material, results: Results) -> Sequence[Draft]:
    del results
    return [] if material.segmentation is None else [Draft(material.segmentation, material.source_uids)]


def _label_map(material: Material, results: Results) -> Sequence[Draft]:
    del results
    if not has_segments(material.analysis):
        return []
    dataset = build_label_map(material.analysis, material.series, **material.options)
    return [Draft(dataset, material.source_uids)]


def _report(material: Material, results: Results) -> Sequence[Draft]:
    """Refer to the SEG whether it goes to the same receiver or not: a report has one content."""
    del results
    segmentation = material.segmentation
    dataset = build_report(material.analysis, material.series, segmentation=segmentation, **material.options)
    drawn = () if segmentation is None else (str(segmentation.SOPInstanceUID),)
    return [Draft(dataset, (*material.source_uids, *drawn))]


def _captures(material: Material, results: Results) -> Sequence[Draft]:
    del results
    pictures = key_pictures(material.analysis, material.objects)
    captures = build_secondary_captures(material.analysis, material.series, pictures, **material.options)
    return [Draft(capture, ()) for capture in captures]


def _report_page(material: Material, results: Results) -> Sequence[Draft]:
    # Loaded when the first page is written: few destinations ask for them.
    from dicom_gateway.objects.report_page import build_report_page

    del results
    shown = key_pictures(material.analysis, material.objects)
    dataset = build_report_page(
        material.analysis,
        material.series,
        [picture.png for picture in shown],
        captions=[short_caption(material.analysis, picture) for picture in shown],
        **material.options,
    )
    return [Draft(dataset, material.source_uids)]


def _presentation_states(material: Material, results: Results) -> Sequence[Draft]:
    del results
    return [
        Draft(state, ()) for state in build_presentation_states(material.analysis, material.series, **material.options)
    ]


def _key_objects(material: Material, results: Results) -> Sequence[Draft]:
    """Name the frames that matter, and of what was written the segmentation, in one form, and the report."""
    drawn = results.get(ObjectKind.SEG) or results.get(ObjectKind.LABELMAP)
    named = [result for result in (drawn, results.get(ObjectKind.SR)) if result is not None]
    dataset = build_key_objects(material.analysis, material.series, results=named, **material.options)
    if dataset is None:
        return []
    return [Draft(dataset, [str(result.SOPInstanceUID) for result in named])]


def _parametric_map(material: Material, results: Results) -> Sequence[Draft]:
    del results
    kept = material.analysis.explanation
    if kept is None or is_flat(material.series, material.analysis.frames):
        return []
    attention = arrays.load_attention(material.objects, kept.attention)
    shown = content_of(kept)
    dataset = build_parametric_map(material.analysis, attention, material.series, shown=shown, **material.options)
    return [Draft(dataset, material.source_uids)]


BUILDERS: Mapping[ObjectKind, Callable[[Material, Results], Sequence[Draft]]] = {
    ObjectKind.SEG: _segmentation,
    ObjectKind.LABELMAP: _label_map,
    ObjectKind.SR: _report,
    ObjectKind.SC: _captures,
    ObjectKind.GSPS: _presentation_states,
    ObjectKind.KO: _key_objects,
    ObjectKind.PDF: _report_page,
    ObjectKind.PM: _parametric_map,
}
"""The builder of each form, in the order in which they are written: what is referred to comes first."""
