"""An explanation as files for people and programs: one picture for each finding, and the numbers as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AliasPath, BeforeValidator, Field, field_validator

from console.record_schema import RecordSchema
from console.result_words import named_version
from console.schemas.findings import FindingForm
from console.schemas.panels import PanelForm
from storage.domain import Analysis, Finding
from storage.errors import ConfigurationError, RecordMissing
from storage.explanations import Panel
from storage.objects import ObjectStore
from storage.volumes import FrameRef

DOCUMENT = "explanation.json"


@dataclass(frozen=True, slots=True)
class ShownFinding:
    """One finding with its panel; ``sop_instance_uid`` names the image that shows the plane, where one does."""

    finding: Finding
    panel: Panel
    sop_instance_uid: str | None


@dataclass(frozen=True, slots=True)
class ExplainedStudy:
    """A study's analysis, and those of its findings that have a panel."""

    study_instance_uid: str
    analysis: Analysis
    findings: tuple[ShownFinding, ...]

    @property
    def tiles(self) -> tuple[str, ...]:
        """What the pictures show, from left to right; nothing where there is none."""
        return tuple(one.tile.value for shown in self.findings[:1] for one in shown.panel.tiles)


class ShownFindingForm(RecordSchema):
    """One finding with its panel, whose ``picture`` is the name of a file in the same folder."""

    finding: FindingForm
    panel: PanelForm
    sop_instance_uid: str | None

    @field_validator("panel")
    @classmethod
    def _name_picture(cls, panel: PanelForm) -> PanelForm:
        return panel.model_copy(update={"picture": _file_name(panel.number)})


class ExplanationForm(RecordSchema):
    """What ``oncue studies explain`` writes beside the pictures."""

    study_instance_uid: str
    series_instance_uid: str = Field(validation_alias=AliasPath("analysis", "series_instance_uid"))
    algorithm: Annotated[str, BeforeValidator(named_version)] = Field(
        validation_alias=AliasPath("analysis", "algorithm")
    )
    weights_sha256: str = Field(validation_alias=AliasPath("analysis", "algorithm", "weights_sha256"))
    parameters: str = Field(validation_alias=AliasPath("analysis", "algorithm", "parameters"))
    case_score: float = Field(validation_alias=AliasPath("analysis", "case_score"))
    out_of_distribution: float | None = Field(validation_alias=AliasPath("analysis", "out_of_distribution"))
    unlike_training: bool = Field(validation_alias=AliasPath("analysis", "is_unfamiliar"))
    tiles: tuple[str, ...]
    findings: list[ShownFindingForm]


def write(study_instance_uid: str, analysis: Analysis, objects: ObjectStore, folder: Path) -> ExplanationForm:
    """Write pictures and numbers into a folder; RecordMissing, ObjectMissing, or ConfigurationError for the folder."""
    explained = _explained(study_instance_uid, analysis)
    form = ExplanationForm.model_validate(explained)
    pictures = {_file_name(shown.panel.number): objects.get(shown.panel.picture) for shown in explained.findings}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in pictures.items():
            (folder / name).write_bytes(content)
        (folder / DOCUMENT).write_text(json.dumps(form.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"the explanation cannot be written to {folder}: {error.strerror}") from error
    return form


def _explained(study_instance_uid: str, analysis: Analysis) -> ExplainedStudy:
    """Join findings, panels and images of an analysis; RecordMissing where it kept nothing to show."""
    if analysis.explanation is None:
        raise RecordMissing("this analysis kept no explanation; `oncue jobs retry` analyses the study again")
    findings = {finding.number: finding for finding in analysis.findings}
    shown = (
        ShownFinding(findings[panel.number], panel, _image(panel, analysis.frames))
        for panel in analysis.explanation.panels
    )
    return ExplainedStudy(study_instance_uid, analysis, tuple(shown))


def _file_name(number: int) -> str:
    return f"finding-{number}.png"


def _image(panel: Panel, frames: tuple[FrameRef, ...]) -> str | None:
    return None if panel.slice_index is None else frames[panel.slice_index].sop_instance_uid
