"""What a route asks of a series, condition by condition, so that each one that fails can be named."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from storage.routes.regions import Region, Side, matches
from storage.routes.series_facts import SeriesFacts


@dataclass(frozen=True, slots=True)
class Unmet:
    """A condition that a series does not meet: its key in the file, what it asks for, and what the series has.

    ``found`` never quotes a description: people write names there.
    """

    condition: str
    wanted: str
    found: str

    def __str__(self) -> str:
        """Return the condition as one line."""
        return f"{self.condition}: wanted {self.wanted}, found {self.found}"


_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]")
_JOINER = re.compile(r"[_/-]|\\\^")
_JOINERS_ALONE = re.compile(r"\[(?:\\?[_/-]|\\\^)+\^?\]")


def is_pattern(value: str | None) -> str | None:
    """Let a regular expression pass; ValueError where it is none, or asks for a character that no plain text has."""
    text = value or ""
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"no valid regular expression: {error}") from error
    if _JOINER.search(_CLASS.sub("", text)) or _JOINERS_ALONE.search(text):
        raise ValueError("_ ^ / and - count as spaces in descriptions, so none of them is ever met: write a space")
    return value


class Conditions(BaseModel):
    """The conditions of one route; what it does not name, it does not look at.

    Patterns are regular expressions that may match anywhere, without regard to case, accents and underscores.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: tuple[str, ...] = Field(min_length=1)
    sop_class: tuple[str, ...] = ()
    body_part: tuple[Region, ...] = ()
    body_part_unknown: bool = True
    laterality: Side | None = None
    description: str | None = None
    not_description: str | None = None
    study_description: str | None = None
    calling_aet: tuple[str, ...] = ()
    station: tuple[str, ...] = ()
    minimum_slices: int | None = Field(default=None, ge=1)
    maximum_slices: int | None = Field(default=None, ge=1)
    minimum_thickness_mm: float | None = Field(default=None, ge=0)
    maximum_thickness_mm: float | None = Field(default=None, gt=0)
    contrast: bool | None = None
    derived: bool | None = None

    @field_validator("modality")
    @classmethod
    def _upper(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(part.strip().upper() for part in value)

    _patterns_compile = field_validator("description", "not_description", "study_description")(is_pattern)

    @model_validator(mode="after")
    def _without_contradiction(self) -> Self:
        pairs = (
            ("minimum_slices", self.minimum_slices, "maximum_slices", self.maximum_slices),
            ("minimum_thickness_mm", self.minimum_thickness_mm, "maximum_thickness_mm", self.maximum_thickness_mm),
        )
        for low_name, low, high_name, high in pairs:
            if low is not None and high is not None and low > high:
                raise ValueError(f"{low_name} ({low:g}) is above {high_name} ({high:g}): no series can meet both")
        if self.description is not None and self.description == self.not_description:
            raise ValueError("description and not_description are the same: no series can meet both")
        return self

    def unmet(self, series: SeriesFacts) -> tuple[Unmet, ...]:
        """Return every condition that a series does not meet, in the order of the file's keys."""
        return tuple(failed for check in _CHECKS if (failed := check(self, series)) is not None)


Check = Callable[[Conditions, SeriesFacts], Unmet | None]


def _one_of(name: str, wanted: tuple[str, ...], found: frozenset[str]) -> Unmet | None:
    if not wanted or found & frozenset(wanted):
        return None
    return Unmet(name, " or ".join(wanted), ", ".join(sorted(found)) or "nothing")


def _modality(asked: Conditions, series: SeriesFacts) -> Unmet | None:
    return _one_of("modality", asked.modality, frozenset({series.modality.upper()} - {""}))


def _sop_class(asked: Conditions, series: SeriesFacts) -> Unmet | None:
    return _one_of("sop_class", asked.sop_class, series.sop_class_uids)


def _body_part(asked: Conditions, series: SeriesFacts) -> Unmet | None:
    found = frozenset(region.value for region in series.all_regions)
    if not asked.body_part or (not found and asked.body_part_unknown):
        return None
    return _one_of("body_part", tuple(region.value for region in asked.body_part), found)


def _laterality(asked: Conditions, series: SeriesFacts) -> Unmet | None:
    if asked.laterality is None:
        return None
    return _one_of("laterality", (asked.laterality.value,), frozenset(side.value for side in series.sides))


def _description(asked: Conditions, series: SeriesFacts) -> Unmet | None:
    if asked.description is None or matches(asked.description, series.description):
        return None
    return Unmet("description", f"a match of {asked.description!r}", "none")


def _not_description(asked: Conditions, series: SeriesFacts) -> Unmet | None:
    if asked.not_description is None or not matches(asked.not_description, series.description):
        return None
    return Unmet("not_description", f"no match of {asked.not_description!r}", "one")


def _study_description(asked: Conditions, series: SeriesFacts) -> Unmet | None:
    if asked.study_description is None or matches(asked.study_description, series.study_description):
        return None
    return Unmet("study_description", f"a match of {asked.study_description!r}", "none")


def _calling_aet(asked: Conditions, series: SeriesFacts) -> Unmet | None:
    return _like_one_of("calling_aet", asked.calling_aet, series.calling_aets)


def _station(asked: Conditions, series: SeriesFacts) -> Unmet | None:
    return _like_one_of("station", asked.station, frozenset({series.station_name} - {""}))


def _like_one_of(name: str, wanted: tuple[str, ...], found: frozenset[str]) -> Unmet | None:
    if not wanted or any(fnmatchcase(value, pattern) for value in found for pattern in wanted):
        return None
    return Unmet(name, " or ".join(wanted), ", ".join(sorted(found)) or "nothing")


def _slices(asked: Conditions, series: SeriesFacts) -> Unmet | None:
    low, high = asked.minimum_slices, asked.maximum_slices
    if (low is None or series.frames >= low) and (high is None or series.frames <= high):
        return None
    return Unmet(
        "minimum_slices" if low is not None and series.frames < low else "maximum_slices",
        f"{low or 1} to {high or 'any number'}",
        str(series.frames),
    )


def _thickness(asked: Conditions, series: SeriesFacts) -> Unmet | None:
    low, high, found = asked.minimum_thickness_mm, asked.maximum_thickness_mm, series.slice_thickness_mm
    if low is None and high is None:
        return None
    if found is not None and (low or 0.0) <= found <= (high or float("inf")):
        return None
    key = "maximum_thickness_mm" if high is not None and (found is None or found > high) else "minimum_thickness_mm"
    return Unmet(
        key, f"{low or 0:g} to {f'{high:g}' if high else 'any'} mm", "unknown" if found is None else f"{found:g}"
    )


def _contrast(asked: Conditions, series: SeriesFacts) -> Unmet | None:
    return _yes_or_no("contrast", asked.contrast, found=series.contrast_given)


def _derived(asked: Conditions, series: SeriesFacts) -> Unmet | None:
    return _yes_or_no("derived", asked.derived, found="DERIVED" in series.image_types)


def _yes_or_no(name: str, wanted: bool | None, *, found: bool) -> Unmet | None:  # noqa: FBT001 - a value, not a switch
    if wanted is None or wanted == found:
        return None
    return Unmet(name, "yes" if wanted else "no", "yes" if found else "no")


_CHECKS: tuple[Check, ...] = (
    _modality,
    _sop_class,
    _body_part,
    _laterality,
    _description,
    _not_description,
    _study_description,
    _calling_aet,
    _station,
    _slices,
    _thickness,
    _contrast,
    _derived,
)
