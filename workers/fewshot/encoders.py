"""Open the encoder that an adapter was fitted with, once per process."""

from __future__ import annotations

from pathlib import Path

import torch

from storage.fewshot.adapters import Adapter
from workers.errors import AnotherBackbone
from workers.fewshot.backbones.registry import open_backbone
from workers.fewshot.backbones.torch_backbone import TorchBackbone
from workers.fewshot.contracts import PromptMode
from workers.fewshot.lesion_encoders import CUT_OUT_KEY, PromptedEncoder, load_cut_out_encoder
from workers.fewshot.looks import LesionEncoder


class InstalledEncoders:
    """Encoders from the installed packages and registered folders."""

    def __init__(self, models: Path, device: torch.device) -> None:
        self._models = models
        self._device = device
        self._opened: dict[str, LesionEncoder] = {}

    def open(self, adapter: Adapter) -> LesionEncoder:
        """Return an adapter's encoder; AnotherBackbone, BackboneMissing or WeightsMismatch where it is not there."""
        key = adapter.recipe.embedding_key
        if key not in self._opened:
            self._opened[key] = self._load(adapter)
        return self._opened[key]

    def backbone(self, name: str) -> TorchBackbone:
        """Load a backbone by its name."""
        return open_backbone(name, models=self._models, device=self._device)

    def _load(self, adapter: Adapter) -> LesionEncoder:
        recipe = adapter.recipe
        if recipe.embedding_key == CUT_OUT_KEY:
            return load_cut_out_encoder(self._device)
        try:
            mode = PromptMode(recipe.prompt_mode)
        except ValueError as error:
            raise AnotherBackbone(f"adapter {adapter.id} was fitted under an unknown prompt: fit it again") from error
        return PromptedEncoder(self.backbone(recipe.backbone), mode)
