"""Which models a worker knows and serves: the analysers of its settings, and the models that its site added."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from storage import site_models
from storage.database import Database
from storage.errors import RecordMissing
from storage.site_models import SiteModel
from workers.analysers import Analyser, build_analyser
from workers.config import WorkerSettings
from workers.errors import NoAnalyser
from workers.loaded_models import ModelSource


@dataclass(frozen=True, slots=True)
class KnownModels:
    """The models of one worker; ``state`` is the folder under which those of its site lie."""

    settings: WorkerSettings
    database: Database
    state: Path

    def names(self) -> frozenset[str]:
        """Return the names that this worker takes jobs for, as they are now."""
        return self.takes(self.settings.known_analysers() | self.installed())

    def takes(self, names: frozenset[str]) -> frozenset[str]:
        """Return those of some names that ``worker.serves`` lets this worker take."""
        return names if self.settings.serves is None else names & frozenset(self.settings.serves)

    def unknown(self) -> frozenset[str]:
        """Return the names in ``worker.serves`` that stand for nothing yet."""
        return frozenset(self.settings.serves or ()) - self.settings.known_analysers() - self.installed()

    def installed(self) -> frozenset[str]:
        """Return the names of the models that the site added."""
        with self.database.read() as session:
            return frozenset(site_models.names(session))

    def source(self, name: str) -> ModelSource:
        """Return where a model comes from; NoAnalyser says which ones there are."""
        builder = self.settings.analysers.get(name) or (name if name in self.settings.families() else None)
        if builder is not None:
            return ModelSource(builder, partial(build_analyser, builder, self.settings))
        try:
            with self.database.read() as session:
                model = site_models.find(session, name)
        except RecordMissing:
            known = ", ".join(sorted(self.names())) or "none"
            raise NoAnalyser(f"this worker has no analyser or model {name!r}; it has: {known}") from None
        size = sum(file.bytes for file in model.files) / 1e6
        return ModelSource(f"{model.name}@{model.sha256}", self._loader(model), size)

    def _loader(self, model: SiteModel) -> Callable[[], Analyser]:
        def load() -> Analyser:
            from workers.devices import choose_device, choose_dtype
            from workers.site_models import loading

            device = choose_device(self.settings.device)
            return loading.load(
                model,
                site_models.folder(self.state, model.name),
                device=device,
                dtype=choose_dtype(device, self.settings.dtype),
                allow_code=self.settings.allow_code,
            )

        return load
