"""Heads that need a text tower: what it knows of the classes before any example is seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import float32, float64
from numpy.typing import NDArray

from workers.errors import BackboneUnusable
from workers.fewshot.contracts import Head, Vectors
from workers.fewshot.encoder_networks import ContrastiveEncoder
from workers.fewshot.fitted_heads import CacheHead, LinearHead
from workers.fewshot.frozen_backbone import TorchBackbone
from workers.fewshot.heads import CACHE_WEIGHT, SHARPNESS, HeadName, TipAdapter, make_head
from workers.fewshot.support import Support

TEMPLATE = "This is a photo of {}"
"""The sentence of MedFocusCLIP."""
SCALE = 100.0
"""CLIP's learned logit scale at its ceiling."""
CACHE_TEMPERATURE = 0.01
"""Of Tip-Adapter's votes and texts together."""
_STEPS = 300
_MOMENTUM = 0.9
_ALPHA_EVERY = 10


class ComparedHead(StrEnum):
    """Every head that an experiment compares: those of the product, and two that need texts."""

    PROTOTYPES = "prototypes"
    LOGISTIC = "logistic"
    LOGISTIC_TUNED = "logistic-tuned"
    TIP_ADAPTER = "tip-adapter"
    LP_PLUS = "lp++"
    ZERO_SHOT = "clip-zero-shot"


NEED_TEXT = frozenset({ComparedHead.LP_PLUS, ComparedHead.ZERO_SHOT})


@dataclass(frozen=True, slots=True, eq=False)
class ClassTexts:
    """One unit vector ``[k, d]`` for each class, in the space of the pictures' vectors."""

    classes: tuple[str, ...]
    vectors: NDArray[float32]


def sentence(label: str) -> str:
    """Write the sentence for a label of the table of pictures."""
    return TEMPLATE.format(label.replace("-", " ").replace("_", " "))


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """The class whose sentence is nearest to the picture; the support set only names the classes."""

    texts: ClassTexts
    name: str = "clip-zero-shot"

    def fit(self, vectors: Vectors, labels: Sequence[str], groups: Sequence[str], *, seed: int) -> LinearHead:
        """Take the texts of the classes as weights; nothing is learned."""
        del seed
        support = Support.of(vectors, labels, groups)
        return _head(support, SCALE * _text_of(support, self.texts))


@dataclass(frozen=True, slots=True)
class LinearProbePlus:
    """LP++: a linear probe from the class means, and a learned share of the text for each class."""

    texts: ClassTexts
    name: str = "lp++"

    def fit(self, vectors: Vectors, labels: Sequence[str], groups: Sequence[str], *, seed: int) -> LinearHead:
        """Minimise cross-entropy by 300 steps of momentum descent; step sizes follow from the data, no seed needed.

        The last step is kept: there is no validation set to choose another on.
        """
        del seed
        support = Support.of(vectors, labels, groups)
        text, seen = _text_of(support, self.texts), _unit(support.vectors.astype(float64))
        return _head(support, _descend(support, seen, text))


@dataclass(frozen=True, slots=True)
class TextTipAdapter:
    """Tip-Adapter with its first term: the similarity of a picture to the sentence of each class."""

    texts: ClassTexts
    name: str = "tip-adapter"

    def fit(self, vectors: Vectors, labels: Sequence[str], groups: Sequence[str], *, seed: int) -> CacheHead:
        """Keep the support set as keys, and the texts of its classes; the seed plays no part."""
        fitted = TipAdapter().fit(vectors, labels, groups, seed=seed)
        text = np.stack([self.texts.vectors[self.texts.classes.index(label)] for label in fitted.classes])
        settings = np.array([SHARPNESS, CACHE_WEIGHT, CACHE_TEMPERATURE], dtype=float32)
        return replace(fitted, text=np.asarray(text, dtype=float32), settings=settings)


def make_compared_head(name: ComparedHead, *, texts: ClassTexts | None) -> Head:
    """Return an unfitted head; BackboneUnusable where it needs a text tower and there are no texts."""
    if texts is None:
        if name in NEED_TEXT:
            raise BackboneUnusable(f"the head {name.value} needs a backbone with a text tower, such as CLIP")
        return make_head(HeadName(name.value))
    with_texts: Mapping[ComparedHead, Head] = {
        ComparedHead.TIP_ADAPTER: TextTipAdapter(texts),
        ComparedHead.LP_PLUS: LinearProbePlus(texts),
        ComparedHead.ZERO_SHOT: ZeroShot(texts),
    }
    return with_texts[name] if name in with_texts else make_head(HeadName(name.value))


def _descend(support: Support, seen: NDArray[float64], text: NDArray[float64]) -> NDArray[float64]:
    """Return the weights ``[k, d]`` of probe and text together."""
    truth = np.eye(len(support.classes))[support.targets]
    weight, velocity = support.means(seen), np.zeros_like(text)
    shots = len(seen) / len(support.classes)
    alpha = np.full(len(support.classes), 250.0 / shots * float(np.mean(np.sum(weight * text, axis=1))))
    pace = 4 * len(seen) / float(np.linalg.eigvalsh(seen @ seen.T)[-1])
    for step in range(_STEPS):
        wrong = _softmax(seen @ (weight + alpha[:, None] * text).T) - truth
        velocity = _MOMENTUM * velocity + wrong.T @ seen / len(seen)
        weight = weight - pace * velocity
        if step % _ALPHA_EVERY == 0:
            slope = np.mean(wrong * (seen @ text.T), axis=0)
            alpha = alpha - pace / len(support.classes) * slope
    return np.asarray(weight + alpha[:, None] * text)


def _text_of(support: Support, texts: ClassTexts) -> NDArray[float64]:
    return np.stack([texts.vectors[texts.classes.index(label)] for label in support.classes]).astype(float64)


def _head(support: Support, weight: NDArray[float64]) -> LinearHead:
    size = support.vectors.shape[1]
    zeros, ones = np.zeros(size, dtype=float32), np.ones(size, dtype=float32)
    return LinearHead(
        support.classes, zeros, ones, np.asarray(weight, dtype=float32), np.zeros(len(weight), dtype=float32)
    )


def _softmax(scores: NDArray[float64]) -> NDArray[float64]:
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _unit(vectors: NDArray[float64]) -> NDArray[float64]:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


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
