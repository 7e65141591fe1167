"""What stands beside a picture of a result: what was found in it, where it lies, and what drew it. ASCII throughout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.key_pictures import KeyPicture, lesion_plane
from dicom_gateway.objects.plain_text import plain
from dicom_gateway.objects.segments import lesions
from storage.domain import Analysis, Finding, Presence
from storage.volumes import Extent

NOT_FOR_DIAGNOSIS = "NOT FOR DIAGNOSTIC USE"
_MOST_LINES = 6
_WEIGHTS_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class Caption:
    """The texts of one picture: what is found in it, line by line, and what it shows and who drew it."""

    findings: tuple[str, ...]
    origin: tuple[str, ...]


def caption_of(analysis: Analysis, picture: KeyPicture, source: Dataset | None, equipment: Equipment) -> Caption:
    """Return the caption of a picture; ``source`` is the header of the image that it shows, None where not known."""
    return Caption(_finding_lines(analysis, picture), _origin_lines(analysis, picture, source, equipment))


def _finding_lines(analysis: Analysis, picture: KeyPicture) -> tuple[str, ...]:
    shown = lesions_on(analysis, picture.slice_index)
    lines = [_lesion(finding) for finding in shown]
    others = len(lesions(analysis)) - len(shown)
    if len(lines) > _MOST_LINES:
        lines, others = lines[: _MOST_LINES - 1], others + len(lines) - _MOST_LINES + 1
    if lines and others:
        lines.append(f"and {others} more in this series")
    if not lesions(analysis):
        lines += [_statement(finding) for finding in analysis.findings]
    if analysis.structures:
        lines.append(plain("Organs drawn: " + ", ".join(one.name for one in analysis.structures), 160))
    if picture.is_heated:
        lines.append("Colours: where the classifier looked (black to pale yellow)")
    return tuple(lines)


def short_caption(analysis: Analysis, picture: KeyPicture) -> str:
    """Return which slice a picture shows and the numbers of the lesions on it; empty where nobody knows."""
    if picture.slice_index is None:
        return ""
    place = f"Slice {picture.slice_index + 1} of {len(analysis.frames)}"
    numbers = ", ".join(str(finding.number) for finding in lesions_on(analysis, picture.slice_index))
    heat = ", with where the classifier looked" if picture.is_heated else ""
    return f"{place}: No. {numbers}{heat}" if numbers else f"{place}{heat}"


def lesions_on(analysis: Analysis, slice_index: int | None) -> tuple[Finding, ...]:
    """Return the lesions that a slice shows, by their number; all of them where the slice is not known."""
    found = lesions(analysis)
    if slice_index is None or analysis.label_map is None:
        return found
    present = set(np.unique(lesion_plane(analysis, analysis.label_map, slice_index)).tolist())
    return tuple(finding for finding in found if finding.number in present)


def _lesion(finding: Finding) -> str:
    sizes = []
    if finding.extent is Extent.VOLUME:
        sizes = [f"{finding.volume_ml:.2f} ml", f"longest {finding.longest_diameter_mm:.1f} mm"]
    elif finding.extent is Extent.AREA:
        sizes = [f"{finding.area_mm2 / 100.0:.2f} cm2", f"longest {finding.longest_diameter_mm:.1f} mm"]
    parts = [*sizes, f"certainty {100.0 * finding.confidence:.0f}%", *_labels(finding)]
    return f"{plain(finding.concept.meaning)} {finding.number}: {', '.join(parts)}"


def _labels(finding: Finding) -> list[str]:
    if finding.abstained is not None:
        return [f"class left to the reader ({plain(finding.abstained)})"]
    if finding.label is None:
        return []
    share = f" {100.0 * finding.label_probability:.0f}%" if finding.label_probability is not None else ""
    return [f"{plain(finding.label)}{share}"]


def _statement(finding: Finding) -> str:
    if finding.presence is Presence.ABSENT:
        return f"{plain(finding.concept.meaning)}: none found, certainty {100.0 * finding.confidence:.0f}%"
    return f"Whole image: {', '.join(_labels(finding)) or 'no label'}"


def _origin_lines(
    analysis: Analysis, picture: KeyPicture, source: Dataset | None, equipment: Equipment
) -> tuple[str, ...]:
    names = [_produced(f"{equipment.model_name} {equipment.software_version}"), *_algorithms(analysis)]
    return (*_place(analysis, picture, source), *names)


def _place(analysis: Analysis, picture: KeyPicture, source: Dataset | None) -> list[str]:
    if picture.slice_index is None or source is None:
        return []
    number = analysis.frames[picture.slice_index].frame_number
    parts = [f"Slice {picture.slice_index + 1} of {len(analysis.frames)}"] if len(analysis.frames) > 1 else []
    series, instance = (str(source.get(keyword) or "").strip() for keyword in ("SeriesNumber", "InstanceNumber"))
    parts += [f"series {plain(series)}"] if series else []
    parts += [f"frame {number}"] if number is not None else [f"image {plain(instance)}"] if instance else []
    place = ", ".join(parts)
    return [place[0].upper() + place[1:]] if place else []


def _algorithms(analysis: Analysis) -> list[str]:
    used = [analysis.algorithm, *([analysis.classifier] if analysis.classifier else [])]
    return list(
        dict.fromkeys(
            _produced(f"{one.name} {one.version}, weights {one.weights_sha256[:_WEIGHTS_CHARACTERS]}") for one in used
        )
    )


def _produced(text: str) -> str:
    return plain(text, 100)
