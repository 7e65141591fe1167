"""Settings of everything computed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

_ANALYSER_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_LONGEST_POLL_SECONDS = 5.0
_SHORTEST_SILENCE_SECONDS = 2.0


SEGMENTATION_FOLDER = "segmentation-lgg-small"
"""Where the shipped foundation model lies among the installed models."""
FAMILIES_FOLDER = "families"
"""Where the families' weights lie among the installed models, a folder for each."""
FAMILY_ANALYSERS: Mapping[str, str] = {
    f"family-{name}": name for name in ("pet", "limb-mr", "body-ct", "lung-ct", "breast-us", "head-mr")
}
"""Analysers by name with the family (``workers.segmentation.families``) that each segments."""


class WorkerSettings(BaseModel):
    """How jobs reach a worker, how long it may hold one, and which models it loads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    broker_url: SecretStr = Field(
        default=SecretStr(""),
        description="Celery broker, redis://:password@host:port/0; empty means the embedded one of `oncue up`",
    )
    device: str = Field(default="auto", description="Where models run: auto, cpu, cuda:0 ...")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(default="auto", description="Number format of the models")
    threads: int = Field(default=0, ge=0, description="Processor threads of one worker; 0 leaves it to torch")
    models: Path | None = Field(default=None, description="Folder of the weights; default: those that oncue ships")
    analysers: Mapping[str, str] = Field(
        default={"zero-shot": "zero-shot"},
        description="Analysers that this worker loads at its start, a built-in name or module:function; families whose "
        "weights are installed (family-pet, ...) are known besides; routes say what gets which",
    )
    pool: str = Field(
        default="default",
        pattern=r"^[a-z0-9][a-z0-9-]{0,31}$",
        description="Name of the pool that this worker belongs to; routes name the pool that serves them",
    )
    prompt: str = Field(default="tumor", min_length=1, description="What it looks for where a route names no prompt")
    mode: Literal["fast", "balanced", "paper"] = Field(
        default="balanced", description="How much time the zero-shot segmenter may take"
    )
    classify: bool = Field(default=True, description="Whether findings get a few-shot label")
    guard: bool = Field(
        default=True, description="Whether pictures are looked at for their body region before a route's analyser is"
    )
    serves: tuple[str, ...] | None = Field(
        default=None,
        description="Analysers and models that this worker takes jobs for; default: all that it knows",
    )
    memory_megabytes: int = Field(
        default=0,
        ge=0,
        description="Memory for models that stay loaded; the least recently used leaves. 0: no limit",
    )
    allow_code: bool = Field(
        default=False,
        description="Whether models that a site added may run code of their own: TorchScript, pickles, bundles",
    )
    policy: Path | None = Field(default=None, description="Triage policy (TOML); default: the one that oncue ships")
    overlay_slices: int = Field(default=12, ge=0, le=100, description="Most slices drawn as pictures for one study")

    prefetch: bool = Field(
        default=True, description="Whether the next study is read, and the last one drawn, while the device computes"
    )
    prefetch_megabytes: int = Field(
        default=1024,
        ge=0,
        description="Most megabytes of volumes of two studies in memory at once; a larger study is worked on alone",
    )

    lease_seconds: float = Field(default=60, gt=0, description="How long a claim on a job holds without a heartbeat")
    time_limit_seconds: float = Field(
        default=1800,
        gt=0,
        description="A job at work for longer, its wait for the device not counted, has its worker killed and replaced",
    )
    silence_seconds: float = Field(
        default=60, gt=0, description="A worker that has not polled its queues for so long is replaced"
    )
    load_seconds: float = Field(default=600, gt=0, description="A worker that is not ready by then is replaced")
    grace_seconds: float = Field(default=120, ge=0, description="How long a stopping worker may finish its job")
    relay_seconds: float = Field(
        default=0.5,
        gt=0,
        description="How often the relay looks for jobs; with SQLite a commit is noticed within 0.5 s anyway",
    )
    republish_seconds: float = Field(
        default=10, gt=0, description="Age at which an unclaimed job counts as lost where its queue is empty"
    )

    @model_validator(mode="after")
    def _require_room(self) -> Self:
        if self.silence_seconds < _SHORTEST_SILENCE_SECONDS:
            raise ValueError("silence_seconds must be at least 2: the queues are polled twice a second at most")
        return self

    @model_validator(mode="after")
    def _require_what_it_serves(self) -> Self:
        for name in self.serves or ():
            if not _ANALYSER_NAME.fullmatch(name):
                raise ValueError(f"serves: {name!r} is no name of an analyser or model")
        if self.serves is not None and "label" in self.serves and not self.classify:
            raise ValueError("serves names label, which needs classify = true")
        return self

    @field_validator("analysers")
    @classmethod
    def _require_names(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name in value:
            if not _ANALYSER_NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is no analyser name: since there are routes, keys name analysers and no modalities;"
                    ' write {"my-model" = "module:function"} and a route with analyser = "my-model"'
                )
        return value

    @property
    def poll_seconds(self) -> float:
        """How long a worker waits for a message before it asks again, which shows that it is there."""
        return min(_LONGEST_POLL_SECONDS, self.silence_seconds / 4)

    @property
    def fit_limit_seconds(self) -> float:
        """How long a fit request may be at work."""
        return self.time_limit_seconds * 1.5 + 60

    @property
    def visibility_seconds(self) -> int:
        """How long Redis waits for an acknowledgement: longer than any job may run and wait for the one before it."""
        return int(self.time_limit_seconds * 2.5) + 120

    def models_folder(self) -> Path:
        """Return the folder of the weights: configured, inside an installed package, or at the top of a checkout."""
        here = Path(__file__).resolve().parent
        installed = here / "models"
        return self.models or (installed if installed.is_dir() else here.parent / "models")

    def families(self) -> frozenset[str]:
        """Return the analysers of the families whose weights are installed; each is loaded when a job asks for it."""
        folder = self.models_folder() / FAMILIES_FOLDER
        return frozenset(name for name, family in FAMILY_ANALYSERS.items() if (folder / family).is_dir())

    def known_analysers(self) -> frozenset[str]:
        """Return the analysers that routes may name whatever the site has added."""
        return frozenset(self.analysers) | self.families()
