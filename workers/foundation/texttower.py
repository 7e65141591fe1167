"""The frozen text encoder of a pipeline, from ``text_encoder/`` and ``tokenizer/`` of its folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from workers.errors import ModelUnsuitable
from workers.foundation.diffusers_networks import has_safe_weights

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, eq=False)
class TextTower:
    """Tokenizer and encoder of the ``transformers`` library; text is encoded in float32, once per prompt."""

    tokenizer: Any
    encoder: Any
    device: torch.device

    @classmethod
    def load(cls, folder: Path, *, device: torch.device) -> TextTower:
        """Read both from ``folder``, never from the network and never a pickle; no code that the folder brings runs."""
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        chatter: Any = logging
        chatter.disable_progress_bar()  # a worker's standard error is its log
        safe = has_safe_weights(folder / "text_encoder")
        try:
            encoder = AutoModel.from_pretrained(folder / "text_encoder", local_files_only=True, use_safetensors=safe)
            tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelUnsuitable(f"the text encoder of {folder.name} cannot be read: restore the folder") from error
        return cls(tokenizer, encoder.to(device).eval().requires_grad_(requires_grad=False), device)

    @torch.inference_mode()
    def tokens(self, texts: list[str]) -> Tensor:
        """Give token embeddings ``[n, tokens, width]``, padded and cut to the length that the tokenizer is made for."""
        encoded = self.tokenizer(
            texts,
            padding="max_length",
            truncation=True,
            max_length=self.tokenizer.model_max_length,
            return_tensors="pt",
        )
        hidden: Tensor = self.encoder(encoded["input_ids"].to(self.device)).last_hidden_state
        return hidden.float()
