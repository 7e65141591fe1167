"""The tables of the report page: lesions, labels of whole images, and organs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from dicom_gateway.objects.segments import lesions, organs
from storage.domain import Analysis, Finding, Presence, Site
from storage.volumes import Extent

_NOTHING = "\u2013"
_GAP_SHARE = 0.2
_FEW = 6
"""Most organs that stand in one column."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading, its share of the width that no text needs, and whether it holds figures.

    Figures align on the right.
    """

    heading: str
    share: float
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table. A row may hold several entries side by side, each in the same columns; ``count`` is that of entries."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    count: int
    entries_per_row: int = 1


def finding_table(analysis: Analysis) -> Table:
    """Return the lesions of an analysis, one in a row; without columns that would be empty in every row."""
    found = lesions(analysis)
    extents = {finding.extent for finding in found}
    columns = [
        (Column("No.", 0.4, is_number=True), [str(finding.number) for finding in found]),
        (Column("Finding", 1.6), [finding.concept.meaning for finding in found]),
        (Column("Site", 1.6), [_site(finding.site) for finding in found]),
        (Column("Volume, ml", 0.9, is_number=True), [_volume(finding) for finding in found]),
        (Column("Area, mm\u00b2", 0.9, is_number=True), [_area(finding) for finding in found]),
        (Column("Longest, mm", 1.0, is_number=True), [_diameter(finding) for finding in found]),
        (Column("Certainty", 0.8, is_number=True), [_percent(finding.confidence) for finding in found]),
        (Column("Label", 2.4), [label_words(finding) for finding in found]),
    ]
    left_out = {
        "Site": not any(finding.site for finding in found),
        "Volume, ml": Extent.VOLUME not in extents,
        "Area, mm\u00b2": Extent.AREA not in extents,
        "Longest, mm": extents == {Extent.UNKNOWN},
        "Label": not any(finding.label or finding.abstained for finding in found),
    }
    kept = [(column, cells) for column, cells in columns if not left_out.get(column.heading, False)]
    return Table("Findings", *_transposed(kept), count=len(found))


def label_table(analysis: Analysis) -> Table:
    """Return what was said of whole images, and of what was looked for and not found."""
    stated = [finding for finding in analysis.findings if finding.presence is not Presence.PRESENT]
    columns = [
        (Column("Assessed", 1.6), [_assessed(finding) for finding in stated]),
        (Column("Answer", 2.6), [_answer(finding) for finding in stated]),
        (Column("Not ruled out", 2.0), [_candidates(finding) for finding in stated]),
        (Column("Certainty", 0.8, is_number=True), [_certainty(finding) for finding in stated]),
    ]
    if not any(finding.prediction and finding.prediction.label_set for finding in stated):
        del columns[2]
    return Table("Assessment", *_transposed(columns), count=len(stated))


def organ_table(analysis: Analysis) -> Table:
    """Return the organs that were drawn, with their volumes and how many lesions lie in each."""
    drawn = organs(analysis)
    columns = [
        (Column("Organ", 2.4), [structure.name or structure.site.concept.meaning for structure in drawn]),
        (Column("Side", 0.8), [_side(structure.site) for structure in drawn]),
        (
            Column("Volume, ml", 1.2, is_number=True),
            [f"{structure.volume_ml:.1f}" if structure.volume_ml > 0.0 else _NOTHING for structure in drawn],
        ),
        (
            Column("Lesions in it", 1.3, is_number=True),
            [str(len(structure.lesions)) if structure.lesions else _NOTHING for structure in drawn],
        ),
    ]
    if not any(structure.site.laterality for structure in drawn):
        del columns[1]
    table = Table("Organs", *_transposed(columns), count=len(drawn))
    return table if table.count <= _FEW else _side_by_side(table)


def label_words(finding: Finding) -> str:
    """Return the label of a finding with its probability, or that it is left to the reader and why."""
    if finding.abstained:
        return f"left to the reader ({finding.abstained.replace('_', ' ')})"
    if not finding.label:
        return _NOTHING
    share = f"{_percent(finding.label_probability)} " if finding.label_probability is not None else ""
    return f"{share}{finding.label}"


def _transposed(
    columns: Sequence[tuple[Column, list[str]]],
) -> tuple[tuple[Column, ...], tuple[tuple[str, ...], ...]]:
    return tuple(column for column, _ in columns), tuple(zip(*(cells for _, cells in columns), strict=True))


def _side_by_side(table: Table) -> Table:
    """Return a table with two entries in each row."""
    blank = ("",) * len(table.columns)
    pairs = zip_longest(table.rows[::2], table.rows[1::2], fillvalue=blank)
    gap = Column("", _GAP_SHARE)
    rows = tuple((*left, "", *right) for left, right in pairs)
    return Table(table.title, (*table.columns, gap, *table.columns), rows, count=table.count, entries_per_row=2)


def _assessed(finding: Finding) -> str:
    return "Whole image" if finding.presence is Presence.ASSESSED else finding.concept.meaning


def _answer(finding: Finding) -> str:
    if finding.presence is Presence.ABSENT:
        return "not found"
    if finding.abstained:
        return label_words(finding)
    return finding.label or _NOTHING


def _candidates(finding: Finding) -> str:
    return ", ".join(finding.prediction.label_set) if finding.prediction else _NOTHING


def _certainty(finding: Finding) -> str:
    if finding.presence is Presence.ABSENT:
        return _percent(finding.confidence)
    if finding.abstained or finding.label_probability is None:
        return _NOTHING
    return _percent(finding.label_probability)


def _volume(finding: Finding) -> str:
    return f"{finding.volume_ml:.2f}" if finding.extent is Extent.VOLUME else _NOTHING


def _area(finding: Finding) -> str:
    return f"{finding.area_mm2:.0f}" if finding.extent is Extent.AREA else _NOTHING


def _diameter(finding: Finding) -> str:
    return f"{finding.longest_diameter_mm:.1f}" if finding.extent is not Extent.UNKNOWN else _NOTHING


def _percent(fraction: float) -> str:
    return f"{100.0 * fraction:.0f}\u00a0%"


def _site(site: Site | None) -> str:
    if site is None:
        return _NOTHING
    side = f", {site.laterality.meaning.lower()}" if site.laterality else ""
    return f"{site.concept.meaning}{side}"


def _side(site: Site) -> str:
    return site.laterality.meaning.lower() if site.laterality else _NOTHING
