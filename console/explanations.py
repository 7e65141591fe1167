"""An explanation as files for people and programs: one picture for each finding, and the numbers as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from console.forms import FindingForm, PanelForm
from storage.domain import Analysis, FrameRef
from storage.errors import ConfigurationError, RecordMissing
from storage.explanations import TILES, Panel
from storage.objects import ObjectStore

DOCUMENT = "explanation.json"


@dataclass(frozen=True, slots=True)
class ShownFinding:
    """One finding with its panel; ``sop_instance_uid`` names the image that shows the plane, where one does."""

    finding: FindingForm
    panel: PanelForm
    sop_instance_uid: str | None


@dataclass(frozen=True, slots=True)
class ExplanationForm:
    """What ``oncue studies explain`` writes beside the pictures."""

    study_instance_uid: str
    series_instance_uid: str
    algorithm: str
    weights_sha256: str
    parameters: str
    case_score: float
    out_of_distribution: float
    unlike_training: bool
    tiles: tuple[str, ...]
    findings: list[ShownFinding]

    @classmethod
    def of(cls, study_instance_uid: str, analysis: Analysis) -> Self:
        """Take over what an analysis shows; RecordMissing where it kept nothing to show."""
        if analysis.explanation is None:
            raise RecordMissing("this analysis kept no explanation; `oncue jobs retry` analyses the study again")
        findings = {finding.number: finding for finding in analysis.findings}
        return cls(
            study_instance_uid=study_instance_uid,
            series_instance_uid=analysis.series_instance_uid,
            algorithm=f"{analysis.algorithm.name} {analysis.algorithm.version}",
            weights_sha256=analysis.algorithm.weights_sha256,
            parameters=analysis.algorithm.parameters,
            case_score=analysis.case_score,
            out_of_distribution=analysis.out_of_distribution,
            unlike_training=analysis.is_unfamiliar,
            tiles=TILES,
            findings=[
                ShownFinding(
                    FindingForm.of(findings[panel.number]),
                    PanelForm.of(panel, picture=_file_name(panel)),
                    _image(panel, analysis.frames),
                )
                for panel in analysis.explanation.panels
            ],
        )


def write(study_instance_uid: str, analysis: Analysis, objects: ObjectStore, folder: Path) -> ExplanationForm:
    """Write pictures and numbers into a folder; RecordMissing, ObjectMissing, or ConfigurationError for the folder."""
    form = ExplanationForm.of(study_instance_uid, analysis)
    panels = analysis.explanation.panels if analysis.explanation else ()
    pictures = {_file_name(panel): objects.get(panel.picture) for panel in panels}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in pictures.items():
            (folder / name).write_bytes(content)
        (folder / DOCUMENT).write_text(json.dumps(asdict(form), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"the explanation cannot be written to {folder}: {error.strerror}") from error
    return form


def _file_name(panel: Panel) -> str:
    return f"finding-{panel.number}.png"


def _image(panel: Panel, frames: tuple[FrameRef, ...]) -> str | None:
    return None if panel.slice_index is None else frames[panel.slice_index].sop_instance_uid
