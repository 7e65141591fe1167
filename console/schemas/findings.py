"""What a model found: findings, and the organs beside them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasPath, BeforeValidator, Field, ValidationInfo, field_validator

from console.fewshot.schemas import PredictionForm
from console.record_schema import RecordSchema
from console.result_words import measures_of
from storage.domain import Presence
from storage.explanations import Prediction
from storage.volumes import Extent


def _prediction(prediction: Prediction | None) -> PredictionForm | None:
    return PredictionForm.model_validate(prediction) if prediction else None


class FindingForm(RecordSchema):
    """One finding of an analysis, with its code and the identifiers that SEG and SR carry.

    ``extent`` says what is known of its size: ``volume`` has volume and diameter, ``area`` has area and diameter,
    ``unknown`` has none; what is not known is null. ``site`` is the organ that it lies in, with its code and its side,
    null where the model does not say.
    """

    number: int
    presence: Presence
    finding: str = Field(validation_alias=AliasPath("concept", "meaning"))
    code: str = Field(validation_alias=AliasPath("concept", "value"))
    scheme: str = Field(validation_alias=AliasPath("concept", "scheme"))
    confidence: float
    extent: Extent
    volume_ml: float | None
    longest_diameter_mm: float | None
    area_mm2: float | None
    tracking_uid: str
    label: str | None
    label_probability: float | None
    abstained: str | None
    prediction: Annotated[PredictionForm | None, BeforeValidator(_prediction)]
    """Why the finding has its label; None where no adapter was asked."""
    site: str | None = Field(default=None, validation_alias=AliasPath("site", "concept", "meaning"))
    site_code: str | None = Field(default=None, validation_alias=AliasPath("site", "concept", "value"))
    laterality: str | None = Field(default=None, validation_alias=AliasPath("site", "laterality", "meaning"))

    @field_validator("volume_ml", "longest_diameter_mm", "area_mm2")
    @classmethod
    def _leave_out_unknown(cls, value: float, info: ValidationInfo) -> float | None:
        return value if info.field_name in measures_of(info.data["extent"]) else None


class StructureForm(RecordSchema):
    """One organ that a model drew, with its code and the identifiers that SEG and SR carry.

    ``volume_ml`` counts the lesions in it, and is null where the images tell no volumes; ``lesions`` are the numbers of
    the findings that lie in it.
    """

    number: int
    name: str
    organ: str = Field(validation_alias=AliasPath("site", "concept", "meaning"))
    code: str = Field(validation_alias=AliasPath("site", "concept", "value"))
    scheme: str = Field(validation_alias=AliasPath("site", "concept", "scheme"))
    laterality: str | None = Field(default=None, validation_alias=AliasPath("site", "laterality", "meaning"))
    volume_ml: float | None
    lesions: list[int]
    tracking_uid: str

    @field_validator("volume_ml")
    @classmethod
    def _leave_out_unknown(cls, value: float) -> float | None:
        return value or None
