"""``model.toml`` beside a model's weights: what the site says of it. Nothing in it lets code run."""

from __future__ import annotations

import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from storage.domain import LabelRole
from workers.errors import ModelUnsuitable
from workers.site_models.card import UNKNOWN, Bound, Limits, SiteModelKind

MODEL_FILE = "model.toml"
FORMAT = 1
SMALLEST_MM = 0.01
"""Finer than any image of a body: less asks for more memory than there is."""

Three = tuple[float, float, float]
_Short = Annotated[str, Field(pattern=r"^[!-\[\]-~]{1,16}$")]
_Long = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f\\]{1,64}$")]
CodeText = tuple[_Short, _Short, _Long]
"""Value, coding scheme designator, meaning: no control characters or backslashes, no longer than SH and LO (PS3.5)."""
_LINES = {"L": "x", "R": "x", "A": "y", "P": "y", "S": "z", "I": "z"}


class Intensity(StrEnum):
    """How grey values are brought to what a network was trained on."""

    NONE = "none"
    WINDOW = "window"
    PERCENTILES = "percentiles"
    Z_SCORE = "z-score"


class Activation(StrEnum):
    """What makes probabilities of a network's output."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    NONE = "none"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InputSection(_Section):
    """How a volume is brought to a network; spatial values are z, y, x, ``patch`` is in the tensor's own order."""

    spacing_mm: Three | None = None
    orientation: str | None = Field(default=None, pattern="^[LRAPSI]{3}$")
    intensity: Intensity = Intensity.NONE
    range: tuple[float, float] | None = None
    axes: str = Field(default="zyx", pattern="^(?:zyx|zxy|yzx|yxz|xzy|xyz|yx|xy)$")
    patch: tuple[int, ...] | None = None
    multiple: int = Field(default=1, ge=1)
    overlap: float = Field(default=0.5, ge=0, lt=1)

    @model_validator(mode="after")
    def _require_fit(self) -> Self:
        if self.spacing_mm is not None and min(self.spacing_mm) < SMALLEST_MM:
            raise ValueError(f"spacing_mm must be at least {SMALLEST_MM:g}")
        if self.orientation is not None and len({_LINES[letter] for letter in self.orientation}) < len("xyz"):
            raise ValueError("orientation must name each of left-right, front-back and head-feet once, as LPS does")
        if self.intensity in (Intensity.WINDOW, Intensity.PERCENTILES) and self.range is None:
            raise ValueError(f"intensity {self.intensity.value} needs range = [low, high]")
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError("range must rise")
        if self.range is not None and self.intensity is Intensity.PERCENTILES and not _are_percentiles(self.range):
            raise ValueError("range must lie between 0 and 100 where it is of percentiles")
        if self.patch is not None and (len(self.patch) != len(self.axes) or min(self.patch) < 1):
            raise ValueError(f"patch must hold {len(self.axes)} sides, one for each of {self.axes}")
        return self


class OutputSection(_Section):
    """How labels follow from a network's output; ``name`` or ``index`` say which one, where there are several."""

    activation: Activation = Activation.SOFTMAX
    threshold: float = Field(default=0.5, gt=0, lt=1)
    index: int = Field(default=0, ge=0)
    name: str | None = None


class LabelSection(_Section):
    """One label: its value, name, role and codes.

    The value is the channel: counted from 0 for softmax, whose first channel is background, from 1 for sigmoid.
    """

    value: int = Field(ge=1, le=255)
    name: str = Field(min_length=1, max_length=64)
    role: LabelRole | None = None
    code: CodeText | None = None
    laterality: Literal["left", "right"] | None = None
    site: CodeText | None = None
    site_laterality: Literal["left", "right"] | None = None


class BoundSection(_Section):
    """Inclusive limits in millimetres along z, y, x."""

    low: Three | None = None
    high: Three | None = None

    @model_validator(mode="after")
    def _require_room(self) -> Self:
        if self.low and self.high and any(low > high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError("low lies above high, so that every input would be excluded")
        return self


class LimitsSection(_Section):
    """What the card excludes."""

    spacing_mm: BoundSection = BoundSection()
    extent_mm: BoundSection = BoundSection()
    time_seconds: float | None = Field(default=None, gt=0)

    def limits(self) -> Limits:
        """Return the limits as the card has them."""
        spacing, extent = self.spacing_mm, self.extent_mm
        return Limits(Bound(spacing.low, spacing.high), Bound(extent.low, extent.high), self.time_seconds)


class NnunetSection(_Section):
    """What of an nnU-Net is used: which folds (all where none are named), and whether images are mirrored too.

    ``mirroring`` left out: on a GPU only, along the axes that training mirrored.
    """

    folds: tuple[int | Literal["all"], ...] = ()
    mirroring: bool | None = None

    @property
    def fold_names(self) -> tuple[str, ...]:
        """The folds as nnU-Net's folders end."""
        return tuple(map(str, self.folds))


class ModelDescription(_Section):
    """A whole ``model.toml``."""

    format: Literal[1]
    kind: SiteModelKind | None = None
    version: str = Field(default=UNKNOWN, max_length=64)
    licence: str = Field(default=UNKNOWN, max_length=128)
    modalities: tuple[Annotated[str, Field(pattern="^[A-Z]{2,16}$")], ...] = ()
    file: str | None = None
    input: InputSection = InputSection()
    output: OutputSection = OutputSection()
    nnunet: NnunetSection = NnunetSection()
    labels: tuple[LabelSection, ...] = ()
    limits: LimitsSection = LimitsSection()


def _are_percentiles(limits: tuple[float, float]) -> bool:
    return limits[0] >= 0 and limits[1] <= 100  # noqa: PLR2004 - a hundred of a hundred


def read_model_file(folder: Path) -> ModelDescription | None:
    """Return a folder's ``model.toml``, None where it has none; ModelUnsuitable names the key that is wrong."""
    path = folder / MODEL_FILE
    if not path.is_file():
        return None
    try:
        return ModelDescription.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ModelUnsuitable(f"{MODEL_FILE} of {folder.name}: {place}: {first['msg']}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ModelUnsuitable(f"{MODEL_FILE} of {folder.name} cannot be read: {error}") from error


def named_file(folder: Path, name: str | None) -> Path:
    """Return the file that ``file`` names; ModelUnsuitable where it names none, or one outside the folder."""
    if not name:
        raise ModelUnsuitable(f"{MODEL_FILE} of {folder.name} names no weights: add file = ...")
    if "\0" in name:
        raise ModelUnsuitable(f"{MODEL_FILE} of {folder.name}: file holds a character that no path can hold")
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelUnsuitable(f"{MODEL_FILE} of {folder.name}: file lies outside the folder")
    if any(part.startswith(".") for part in Path(name).parts):
        raise ModelUnsuitable(f"{MODEL_FILE} of {folder.name}: file is hidden, so it would not be hashed: rename it")
    if not path.is_file():
        raise ModelUnsuitable(f"{MODEL_FILE} of {folder.name}: there is no file {name}")
    return path
