"""What a frozen model is told to see: a healthy image, and one with what the prompt names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from storage.errors import ConfigurationError
from workers.errors import ModelUnsuitable
from workers.foundation.card import Conditioning
from workers.foundation.contract import BodyRegion, Condition
from workers.segmentation.prompts import LONGEST_PROMPT, plain_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workers.foundation.contract import FoundationModel

NORMAL_CAPTION = "a normal {modality} image"
ABNORMAL_CAPTION = "an abnormal {modality} image with {finding}"


@dataclass(frozen=True, slots=True, eq=False)
class ConditionPair:
    """A finding and its normal counterpart as a model takes them; ``abnormal`` is None where it cannot be told both."""

    normal: Condition
    abnormal: Condition | None


def condition_pair(
    model: FoundationModel, prompt: str, *, modality: str, spacing_mm: tuple[float, ...]
) -> ConditionPair:
    """Return what the model is told for a prompt; ``spacing_mm`` in the model's own axis order.

    The card's options say how the model was captioned (``captions``), or which of its ``classes`` or ``vectors`` are
    ``normal`` and ``abnormal``, or which ``regions`` it shows (top, bottom). ConfigurationError for an empty or
    overlong prompt, ModelUnsuitable where an option cannot be read.
    """
    words = plain_words(prompt)
    if not words or len(words) > LONGEST_PROMPT:
        raise ConfigurationError(f"the prompt has {len(words)} characters: name a finding in 1 to {LONGEST_PROMPT}")
    options = model.card.options
    try:
        match model.card.conditioning:
            case Conditioning.TEXT:
                return _captioned(model, _captions(options, modality=modality, finding=words), spacing_mm)
            case Conditioning.CLASS:
                return _classed(options.get("classes"), spacing_mm)
            case Conditioning.VECTOR:
                return _vectored(options["vectors"], spacing_mm)
            case Conditioning.REGIONS:
                top, bottom = (BodyRegion[str(name).upper()] for name in options["regions"])
                return ConditionPair(Condition(spacing_mm=spacing_mm, top=top, bottom=bottom), None)
            case Conditioning.NONE:
                return ConditionPair(Condition(spacing_mm=spacing_mm), None)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ModelUnsuitable(
            f"the card of {model.card.name} does not say what stands for normal: "
            f"correct captions, classes, vectors or regions in its options ({error})"
        ) from error


def _captions(options: Mapping[str, Any], *, modality: str, finding: str) -> list[str]:
    told = options.get("captions", {"normal": NORMAL_CAPTION, "abnormal": ABNORMAL_CAPTION})
    return [str(told[state]).format(modality=modality, finding=finding) for state in ("normal", "abnormal")]


def _captioned(model: FoundationModel, captions: list[str], spacing_mm: tuple[float, ...]) -> ConditionPair:
    tokens = model.describe(captions)
    normal, abnormal = tokens[:1], tokens[1:]
    return ConditionPair(
        Condition(tokens=normal, spacing_mm=spacing_mm), Condition(tokens=abnormal, spacing_mm=spacing_mm)
    )


def _classed(told: Mapping[str, Any] | None, spacing_mm: tuple[float, ...]) -> ConditionPair:
    if told is None:  # the loader takes the card's ``class_label``
        return ConditionPair(Condition(spacing_mm=spacing_mm), None)
    normal, abnormal = (
        Condition(class_label=int(told[state]), spacing_mm=spacing_mm) for state in ("normal", "abnormal")
    )
    return ConditionPair(normal, abnormal)


def _vectored(told: Mapping[str, Any], spacing_mm: tuple[float, ...]) -> ConditionPair:
    normal = Condition(vector=torch.tensor([told["normal"]], dtype=torch.float32), spacing_mm=spacing_mm)
    if "abnormal" not in told:
        return ConditionPair(normal, None)
    vector = torch.tensor([told["abnormal"]], dtype=torch.float32)
    return ConditionPair(normal, Condition(vector=vector, spacing_mm=spacing_mm))
