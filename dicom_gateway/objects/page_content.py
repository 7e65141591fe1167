"""What the report page says of an analysis, in words and figures; how it looks stands in ``page_layout``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset

from dicom_gateway.objects.anatomy import anatomic_region, laterality
from dicom_gateway.objects.calibration import size_statements
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.page_names import ShownName, shown_name
from dicom_gateway.objects.page_tables import Table, finding_table, label_table, organ_table
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.segments import lesions
from dicom_gateway.objects.sources import SourceSeries
from storage.domain import Algorithm, Analysis, Finding, Presence, Priority
from storage.volumes import Extent

TITLE = "Triage result"
NOT_FOR_DIAGNOSIS = "NOT FOR DIAGNOSTIC USE"
_UNCHECKED = "Computed automatically; no person has checked it."
_DATE_CHARACTERS = 8
_SEXES = {"F": "female", "M": "male", "O": "other"}
_UID = re.compile(r"\b[0-9]+(?:\.[0-9]+){2,}\b")
_UID_END = 8


@dataclass(frozen=True, slots=True)
class Fact:
    """A value with what it is called."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class PageContent:
    """Everything that stands on the page, from top to bottom. Empty parts are left out."""

    warning: str
    title: str
    modality: str
    name: ShownName
    patient: tuple[Fact, ...]
    study: tuple[Fact, ...]
    priority: Priority
    headline: str
    why: str
    cautions: tuple[str, ...]
    tables: tuple[Table, ...]
    origin: tuple[Fact, ...]
    limits: tuple[str, ...]
    footer: str


def page_content(
    analysis: Analysis,
    series: SourceSeries,
    *,
    moment: datetime,
    equipment: Equipment,
    predecessor: PredecessorDocument | None = None,
) -> PageContent:
    """Return the content of a page; ``moment`` is in the zone that the page is to state."""
    source = series.first
    return PageContent(
        warning=f"{NOT_FOR_DIAGNOSIS}. {_UNCHECKED}",
        title=TITLE,
        modality=_modality(series),
        name=shown_name(source),
        patient=tuple(_patient(source)),
        study=tuple(_study(source)),
        priority=analysis.decision.priority,
        headline=_headline(analysis),
        why=f"Priority by the rule \u201c{analysis.decision.rule}\u201d of the site\u2019s triage policy.",
        cautions=tuple(_cautions(analysis, source)),
        tables=tuple(
            table for table in (finding_table(analysis), label_table(analysis), organ_table(analysis)) if table.rows
        ),
        origin=tuple(_origin(analysis, equipment, moment, predecessor)),
        limits=tuple(_limits(analysis)),
        footer=f"Study {series.study_instance_uid}   Series {series.first.SeriesInstanceUID}",
    )


def _modality(series: SourceSeries) -> str:
    region, side = anatomic_region(series.first), laterality(series.first)
    parts = [series.modality, *(code.meaning for code in (region, side) if code)]
    return " \u00b7 ".join(part for part in parts if part)


def _patient(source: Dataset) -> Iterator[Fact]:
    yield Fact("Patient ID", _text(source, "PatientID") or "not stated")
    if born := _date(source, "PatientBirthDate"):
        yield Fact("Born", born)
    if sex := _text(source, "PatientSex"):
        yield Fact("Sex", _SEXES.get(sex, sex))


def _study(source: Dataset) -> Iterator[Fact]:
    if description := _text(source, "StudyDescription"):
        yield Fact("Study", description)
    if date := _date(source, "StudyDate"):
        yield Fact("Study date", date)
    if accession := _text(source, "AccessionNumber"):
        yield Fact("Accession", accession)
    named = [_text(source, "SeriesNumber"), _text(source, "SeriesDescription")]
    if series := " \u00b7 ".join(part for part in named if part):
        yield Fact("Series", series)


def _headline(analysis: Analysis) -> str:
    found = lesions(analysis)
    assessed = [finding for finding in analysis.findings if finding.presence is Presence.ASSESSED]
    if found:
        return _lesion_headline(found)
    if assessed:
        return _label_headline(assessed)
    absent = next(iter(analysis.findings), None)
    if absent is not None:
        return f"No {absent.concept.meaning.lower()} found"
    return "Organs drawn; lesions were not looked for"


def _lesion_headline(found: Sequence[Finding]) -> str:
    kinds = {finding.concept.meaning.lower() for finding in found}
    kind = kinds.pop() if len(kinds) == 1 else "finding"
    counted = f"1 {kind} found" if len(found) == 1 else f"{len(found)} {kind}s found"
    volume = sum(finding.volume_ml for finding in found)
    if any(finding.extent is not Extent.VOLUME for finding in found):
        return counted
    return f"{counted}, {volume:.1f} ml" if len(found) == 1 else f"{counted}, together {volume:.1f} ml"


def _label_headline(assessed: Sequence[Finding]) -> str:
    if len(assessed) > 1:
        return f"{len(assessed)} whole images assessed"
    label = assessed[0].label
    return f"Whole image: {label}" if label and not assessed[0].abstained else "Whole image: left to the reader"


def _cautions(analysis: Analysis, source: Dataset) -> Iterator[str]:
    """Say what a reader must weigh before anything else on the page."""
    if analysis.is_unfamiliar:
        yield "The images are unlike those that the analyser was trained on: the result deserves less trust."
    found = lesions(analysis)
    if any(finding.extent is Extent.UNKNOWN for finding in found):
        yield "The image does not state how large its pixels are: nothing was measured."
    elif any(size_statements(finding, source) for finding in found):
        yield "Sizes are those at the detector: they are not corrected for magnification."


def _origin(
    analysis: Analysis, equipment: Equipment, moment: datetime, predecessor: PredecessorDocument | None
) -> Iterator[Fact]:
    yield from _algorithm("Analyser", analysis.algorithm)
    if analysis.classifier is not None:
        yield from _algorithm("Classifier", analysis.classifier)
    if analysis.route:
        yield Fact("Route", analysis.route)
    yield Fact("Policy SHA-256", analysis.decision.policy_sha256)
    zone = moment.strftime("%z")
    written = moment.strftime("%Y-%m-%d %H:%M:%S ") + (f"UTC{zone[:3]}:{zone[3:]}" if zone != "+0000" else "UTC")
    yield Fact("Analysed", f"{written} by {equipment.model_name} {equipment.software_version}")
    if predecessor is not None:
        yield Fact("Replaces report", predecessor.sop_instance_uid)


def _algorithm(name: str, algorithm: Algorithm) -> Iterator[Fact]:
    yield Fact(name, f"{algorithm.name} {algorithm.version}")
    yield Fact("Weights SHA-256", algorithm.weights_sha256)


def _limits(analysis: Analysis) -> Iterator[str]:
    yield "What the analyser was not made for, it does not find. That nothing was found does not exclude disease."
    if analysis.notes:
        count = len(analysis.notes)
        kept = "1 note on what was read" if count == 1 else f"{count} notes on what was read"
        yield f"{kept} or left out of the study: {'; '.join(_shortened(note) for note in analysis.notes)}"
    yield "Investigational software, not a medical device."


def _shortened(note: str) -> str:
    """Name series of a note by the ends of their UIDs: whole ones stand in the record."""
    return _UID.sub(lambda found: f"..{found[0][-_UID_END:]}", note)


def _text(source: Dataset, keyword: str) -> str:
    value = source.get(keyword)
    return "" if value is None else str(value).strip()


def _date(source: Dataset, keyword: str) -> str:
    """Return a date as YYYY-MM-DD, which no country reads otherwise; what is no date stands as it is."""
    text = _text(source, keyword)
    if len(text) == _DATE_CHARACTERS and text.isdigit():
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    return text
