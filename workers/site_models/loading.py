"""Load an installed model: hash its files again, open it as its kind does, and hand it out as an analyser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.site_models import SiteModel
from workers.errors import CodeRefused
from workers.site_models.analyser import SiteModelAnalyser
from workers.site_models.card import SiteModelCard
from workers.site_models.file_digests import require_unchanged
from workers.site_models.kinds import OpenModel, kind_module

if TYPE_CHECKING:
    from pathlib import Path

    import torch


def load(
    model: SiteModel, folder: Path, *, device: torch.device, dtype: torch.dtype, allow_code: bool
) -> SiteModelAnalyser:
    """Return an installed model, loaded.

    WeightsMismatch where a file is not what it was when the model was added, CodeRefused where it would run code of its
    own and may not, and whatever its kind raises for weights that do not fit.
    """
    require_unchanged(folder, model.files)
    card = SiteModelCard.from_json(model.card)
    opened = open_checked(folder, card, name=model.name, device=device, dtype=dtype, allow_code=allow_code)
    return SiteModelAnalyser(model.name, model.sha256, card, opened)


def open_checked(
    folder: Path, card: SiteModelCard, *, name: str, device: torch.device, dtype: torch.dtype, allow_code: bool
) -> OpenModel:
    """Open a folder whose files are known to be right; CodeRefused names what would run code where none may."""
    if card.runs_code and not allow_code:
        raise CodeRefused(
            f"model {name} runs code of its own ({card.runs_code[0]}): "
            "where it is trusted, set allow_code = true under [worker] of the site's oncue.toml"
        )
    return kind_module(card.kind).open_model(folder, card, device=device, dtype=dtype, allow_code=allow_code)
