"""A foundation model of which nothing but its card and its factor is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from workers.foundation.card import Bounds, Conditioning, FieldOfView, ModelCard, ModelKind
from workers.foundation.contract import FoundationModel

ANY = FieldOfView(None, None)


@dataclass(frozen=True, slots=True)
class CardOnly:
    """Has a card and a factor."""

    card: ModelCard
    factor: int = 2


def card_only(
    *,
    axes: str | None = None,
    view: FieldOfView | None = ANY,
    conditioning: Conditioning = Conditioning.NONE,
    factor: int = 2,
    **options: Any,
) -> FoundationModel:
    """Return such a model of volumes where ``axes`` are given, else of images."""
    kind = ModelKind.MAISI if axes else ModelKind.DIFFUSERS_LATENT
    card = ModelCard("framed", kind, field_of_view=view, axes=axes, conditioning=conditioning, options=options)
    return cast("FoundationModel", CardOnly(card, factor))


def bounds(low: float, high: float, axes: int) -> Bounds:
    """Return the same limits in millimetres for every axis."""
    return Bounds((low,) * axes, (high,) * axes)
