"""An installed model as an analyser: what its card excludes is refused, and its time is limited."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from storage.domain import Segmentation
from storage.volumes import Volume
from workers.errors import ModelOvertime
from workers.site_models.card import SiteModelCard
from workers.site_models.kinds import AbortCheck, OpenModel


@dataclass(frozen=True, slots=True)
class SiteModelAnalyser:
    """A loaded model under the name by which routes ask for it; ``prompt`` is for those that take text."""

    name: str
    sha256: str
    card: SiteModelCard
    model: OpenModel
    prompt: str | None = None

    @property
    def megabytes(self) -> float:
        """Memory that its weights take, in 10^6 bytes."""
        return self.model.megabytes

    def segment(self, volume: Volume, *, check: AbortCheck) -> Segmentation:
        """Return what the model finds, in the name of the model and under the digest over all its files.

        FieldOfViewMismatch where its card excludes the volume, ModelOvertime where it takes longer than its card allows
        and asks ``check`` meanwhile; one that hangs without asking is ended by the worker's own limit.
        """
        self.card.require(volume, name=self.name)
        found = self.model.segment(volume, prompt=self.prompt, check=self._limited(check))
        algorithm = replace(found.algorithm, name=self.name, version=self.card.version, weights_sha256=self.sha256)
        return replace(found, algorithm=algorithm)

    def _limited(self, check: AbortCheck) -> AbortCheck:
        seconds = self.card.limits.time_seconds
        if seconds is None:
            return check
        end = time.monotonic() + seconds

        def limited() -> None:
            check()
            if time.monotonic() > end:
                raise ModelOvertime(f"model {self.name} took longer than the {seconds:g} s that its card allows")

        return limited
