"""One route: which series it wants, which of them most, and what is done with it."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from storage.domain import Lane
from storage.routes.conditions import Conditions, Unmet, is_pattern
from storage.routes.requirements import Requirements
from storage.routes.series_facts import SeriesFacts

NAME_LENGTH = 32
_NAME = rf"^[a-z0-9][a-z0-9-]{{0,{NAME_LENGTH - 1}}}$"


class Unfamiliar(StrEnum):
    """What happens to a result whose input is farther from the training data than the route allows."""

    WITHHOLD = "withhold"
    SEND = "send"


class Preference(BaseModel):
    """One reason to take a series rather than another, worth some points; it may name several traits, all must hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    points: int
    description: str | None = None
    plane: str | None = Field(default=None, pattern="^(axial|coronal|sagittal)$")
    minimum_slices: int | None = Field(default=None, ge=1)
    minimum_inversion_ms: float | None = Field(default=None, gt=0)
    minimum_echo_ms: float | None = Field(default=None, gt=0)
    contrast: bool | None = None
    derived: bool | None = None

    _description_compiles = field_validator("description")(is_pattern)

    @model_validator(mode="after")
    def _names_a_trait(self) -> Self:
        if not self.model_dump(exclude={"points"}, exclude_none=True):
            raise ValueError("a preference names at least one trait beside its points")
        return self


class Route(BaseModel):
    """What one kind of series gets. ``analyser`` is a name that a worker knows.

    ``task`` names the few-shot task that labels findings (None: whichever fits the volume), ``lane`` overrides the
    sender's, ``pool`` names the workers that serve the route, ``secondary_capture`` lets captured pictures pass for
    images of their modality, as an ultrasound scanner's stills often are. A series that meets all of ``unless`` is not
    wanted, whatever ``match`` says: another route takes it. A study is not closed, until its deadline,
    before a series has come for each of ``wait_for``. Results whose input is farther from the
    analyser's training data than ``unfamiliar_above`` are kept and, unless ``unfamiliar`` says so, not sent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=_NAME)
    analyser: str = Field(min_length=1, max_length=64)
    match: Conditions
    unless: Conditions | None = None
    require: Requirements = Requirements()
    wait_for: tuple[Conditions, ...] = ()
    prefer: tuple[Preference, ...] = ()
    prompt: str | None = Field(default=None, min_length=1, max_length=1000)
    task: str | None = Field(default=None, min_length=1, max_length=64)
    lane: Lane | None = None
    pool: str = Field(default="default", pattern=_NAME)
    secondary_capture: bool = False
    unfamiliar: Unfamiliar = Unfamiliar.WITHHOLD
    unfamiliar_above: float = Field(default=0.0, ge=0)

    def wants(self, series: SeriesFacts) -> bool:
        """Say whether a series meets every condition, and not all of those that keep it away."""
        return not self.unmet(series)

    def unmet(self, series: SeriesFacts) -> tuple[Unmet, ...]:
        """Return every condition that a series does not meet; ``unless`` counts as one."""
        found = self.match.unmet(series)
        if self.unless is None or self.unless.unmet(series):
            return found
        return (*found, Unmet("unless", "not all of its conditions", "all of them"))
