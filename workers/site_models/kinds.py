"""Which module reads and opens which kind of model; imported only when such a model is met."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from workers.errors import ModelUnsuitable
from workers.site_models.card import SiteModelCard, SiteModelKind
from workers.site_models.model_file import MODEL_FILE, ModelDescription, read_model_file

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from storage.domain import Segmentation
    from storage.volumes import Volume

AbortCheck = Callable[[], None]
"""Called now and then during long work; raises where its result is no longer wanted."""

MODULES: Mapping[SiteModelKind, str] = {
    SiteModelKind.NNUNET: "workers.site_models.nnunet.kind",
    SiteModelKind.FOUNDATION: "workers.site_models.foundation",
    SiteModelKind.MONAI_BUNDLE: "workers.site_models.bundle.kind",
    SiteModelKind.ONNX: "workers.site_models.network.onnx_network",
    SiteModelKind.TORCHSCRIPT: "workers.site_models.network.torchscript_network",
}
"""In the order in which a folder without ``kind`` is offered to them."""


class OpenModel(Protocol):
    """A loaded model: finds what it was trained for in one volume."""

    @property
    def megabytes(self) -> float:
        """Return the memory that its weights take, in 10^6 bytes."""
        ...

    def segment(self, volume: Volume, *, prompt: str | None, check: AbortCheck) -> Segmentation:
        """Return what was found; ``check`` is called between steps, and what it raises is let through."""
        ...


class KindModule(Protocol):
    """What each module of ``MODULES`` offers."""

    def recognises(self, folder: Path) -> bool:
        """Say by the names of its files alone whether a folder is of this kind."""
        ...

    def read_card(self, folder: Path, described: ModelDescription | None) -> SiteModelCard:
        """Return the card without running anything; ModelUnsuitable or LabelsInvalid where it is wrong."""
        ...

    def open_model(
        self, folder: Path, card: SiteModelCard, *, device: torch.device, dtype: torch.dtype, allow_code: bool
    ) -> OpenModel:
        """Return the model, loaded; WeightsMismatch, CodeRefused or ModelUnsuitable name what is wrong."""
        ...


def kind_module(kind: SiteModelKind) -> KindModule:
    """Return the module of a kind."""
    return cast("KindModule", import_module(MODULES[kind]))


def recognise(folder: Path) -> SiteModelCard:
    """Return the card of whatever model lies in a folder; ModelUnsuitable where it is of no known kind."""
    described = read_model_file(folder)
    if described is not None and described.kind is not None:
        return kind_module(described.kind).read_card(folder, described)
    for kind in MODULES:
        if kind_module(kind).recognises(folder):
            return kind_module(kind).read_card(folder, described)
    known = ", ".join(kind.value for kind in MODULES)
    raise ModelUnsuitable(f"{folder.name} is no model that oncue knows ({known}): say its kind in {MODEL_FILE}")
