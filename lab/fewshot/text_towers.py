"""The text tower of a CLIP folder: class names become vectors in the space of the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import float32

from lab.fewshot.text_heads import ClassTexts, sentence
from workers.errors import BackboneUnusable
from workers.fewshot.encoder_networks import ContrastiveEncoder
from workers.fewshot.frozen_backbone import TorchBackbone


def texts_of(backbone: TorchBackbone, classes: Sequence[str]) -> ClassTexts | None:
    """Embed one sentence for each class; None where the backbone has no text tower or no tokenizer beside it."""
    if not backbone.card.has_text or not isinstance(backbone.encoder, ContrastiveEncoder):
        return None
    folder = Path(str(getattr(backbone.encoder.network, "name_or_path", "")))
    if not (folder / "tokenizer.json").is_file() and not (folder / "vocab.json").is_file():
        return None
    ids = _tokens(folder, [sentence(label) for label in classes])
    network: Any = backbone.encoder.network
    with torch.inference_mode():
        vectors = network.get_text_features(
            **{name: value.to(backbone.device) for name, value in ids.items()}
        ).pooler_output.float()
    unit = torch.nn.functional.normalize(vectors, dim=-1)
    return ClassTexts(tuple(classes), np.asarray(unit.cpu().numpy(), dtype=float32))


def _tokens(folder: Path, sentences: Sequence[str]) -> dict[str, torch.Tensor]:
    from transformers import CLIPTokenizer

    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise BackboneUnusable(f"the tokenizer of {folder.name} cannot be loaded") from error
    return dict(tokenizer(list(sentences), padding=True, truncation=True, return_tensors="pt"))
