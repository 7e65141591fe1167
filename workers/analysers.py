"""Analysers: each runs one model; settings name those that a worker loads, routes say which one a job gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from storage.domain import Segmentation
from storage.errors import ConfigurationError
from storage.volumes import Volume
from workers.config import FAMILY_ANALYSERS, SEGMENTATION_FOLDER, WorkerSettings
from workers.site_models.analyser import SiteModelAnalyser

if TYPE_CHECKING:
    from workers.segmentation.family_segmenter import FamilySegmenter
    from workers.segmentation.segmenter import ZeroShotSegmenter

AbortCheck = Callable[[], None]
"""Called now and then during long work; raises where its result is no longer wanted."""


class Analyser(Protocol):
    """Finds lesions in one volume."""

    def segment(self, volume: Volume, *, check: AbortCheck) -> Segmentation:
        """Return what was found; ``check`` must be called between steps, and what it raises let through."""
        ...


@dataclass(frozen=True, slots=True)
class ZeroShotAnalyser:
    """Segments with the frozen diffusion model what a prompt names."""

    segmenter: ZeroShotSegmenter
    prompt: str
    mode: str

    def segment(self, volume: Volume, *, check: AbortCheck) -> Segmentation:
        """Return mask and scores under the configured prompt and mode, with an explanation."""
        from workers.segmentation.explanation import explain
        from workers.segmentation.segmenter import parse_mode

        scored = self.segmenter.score(
            volume, prompt=self.prompt, mode=parse_mode(self.mode), on_progress=lambda *_: check()
        )
        segmentation = self.segmenter.conclude(scored)
        explanation = explain(self.segmenter, scored, segmentation.mask, check=check)
        return replace(segmentation, explanation=explanation)


@dataclass(frozen=True, slots=True)
class FamilyAnalyser:
    """Segments one family of images with the network that was trained for it.

    Only families of several kinds of tumour look for what the prompt names.
    """

    segmenter: FamilySegmenter
    prompt: str = "tumor"

    def segment(self, volume: Volume, *, check: AbortCheck) -> Segmentation:
        """Return mask and scores with an explanation; UnsuitableVolume for a volume that is not the family's."""
        from workers.segmentation.family_explanation import explain_score

        scored = self.segmenter.score(volume, prompt=self.prompt, on_progress=lambda *_: check())
        check()
        segmentation = self.segmenter.conclude(scored)
        return replace(segmentation, explanation=explain_score(scored, segmentation))


def build_zero_shot(settings: WorkerSettings) -> Analyser:
    """Return the zero-shot segmenter, loaded; WeightsMismatch where its files are not those of the manifest."""
    from workers.devices import choose_device, choose_dtype
    from workers.segmentation.segmenter import ZeroShotSegmenter

    device = choose_device(settings.device)
    folder = settings.models_folder() / SEGMENTATION_FOLDER
    segmenter = ZeroShotSegmenter.load(folder, device=device, dtype=choose_dtype(device, settings.dtype))
    return ZeroShotAnalyser(segmenter, settings.prompt, settings.mode)


def build_family(family: str, settings: WorkerSettings) -> Analyser:
    """Return a family's segmenter, loaded; WeightsMismatch where its files are not those of the manifest."""
    from workers.devices import choose_device, choose_dtype
    from workers.segmentation.family_segmenter import FamilySegmenter, installed_family

    device = choose_device(settings.device)
    folder = installed_family(settings.models_folder(), family)
    segmenter = FamilySegmenter.load(folder, named=family, device=device, dtype=choose_dtype(device, settings.dtype))
    return FamilyAnalyser(segmenter, settings.prompt)


BUILDERS: Mapping[str, Callable[[WorkerSettings], Analyser]] = {
    "zero-shot": build_zero_shot,
    **{analyser: partial(build_family, family) for analyser, family in FAMILY_ANALYSERS.items()},
}


def build_analyser(builder: str, settings: WorkerSettings) -> Analyser:
    """Return what a built-in builder or ``module:function`` builds; ConfigurationError where there is none."""
    return _builder(builder)(settings)


def with_prompt(analyser: Analyser, prompt: str | None) -> Analyser:
    """Return an analyser that looks for what a route's prompt names; those that take no prompt stay as they are."""
    if prompt and isinstance(analyser, ZeroShotAnalyser | FamilyAnalyser):
        return replace(analyser, prompt=prompt)
    if prompt and isinstance(analyser, SiteModelAnalyser):
        return replace(analyser, prompt=prompt)
    return analyser


def _builder(name: str) -> Callable[[WorkerSettings], Analyser]:
    """Return a built-in builder, or the function that ``module:function`` names: how a site adds a model of its own."""
    if name in BUILDERS:
        return BUILDERS[name]
    module, _, function = name.partition(":")
    try:
        found: Callable[[WorkerSettings], Analyser] = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        known = ", ".join(BUILDERS)
        raise ConfigurationError(f"there is no analyser {name!r}: use one of {known}, or module:function") from error
    return found
