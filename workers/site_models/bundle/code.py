"""Sections of a bundle that run code of its own, made by MONAI's parser: only where the site allows it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers.errors import ModelUnsuitable
from workers.site_models.bundle.config import BundleConfig, Component, Expression
from workers.site_models.bundle.targets import OWN_BUSINESS, transform_name

if TYPE_CHECKING:
    import torch


class BundleCode:
    """Makes parts of one configuration as MONAI does, running what it says."""

    def __init__(self, config: BundleConfig, folder: Path, *, device: torch.device) -> None:
        from monai.bundle import ConfigParser

        content = deepcopy(dict(config.content)) | {"bundle_root": str(folder)}
        if "device" in content:
            content["device"] = device
        self._path, self._folder = config.path, folder
        self._parser: Any = ConfigParser(content)

    def make(self, part: Component | Expression) -> Any:
        """Return what stands under a part's id; ModelUnsuitable where it cannot be made."""
        try:
            with _importable(self._folder):
                return _without_files(self._parser.get_parsed_content(part.key))
        except Exception as error:  # whatever code that is not ours may raise
            cause = error.__cause__ or error
            raise ModelUnsuitable(
                f"{self._path}: {part.key} cannot be made: {type(cause).__name__}: {cause}"
            ) from error


def _without_files(made: Any) -> Any:
    """Return what was made, without the transforms that read and write files where it is a list of transforms."""
    from monai.transforms.compose import Compose

    if isinstance(made, list):
        made = Compose(made)
    if not isinstance(made, Compose):
        return made
    return Compose(
        [part for part in made.flatten().transforms if transform_name(type(part).__name__) not in OWN_BUSINESS]
    )


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a bundle import its own ``scripts``, and forget them after: the next bundle has others of that name."""
    sys.path.insert(0, str(folder))
    known = set(sys.modules)
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - known:
            if _lies_in(sys.modules[name], folder):
                del sys.modules[name]


def _lies_in(module: Any, folder: Path) -> bool:
    places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
    return any(place and Path(place).resolve().is_relative_to(folder.resolve()) for place in places)
