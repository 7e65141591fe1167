"""What every frozen foundation model promises, whoever made it.

Images are float ``[n, c, *size]`` in the ``value_range`` of the card, ``size`` being ``[y, x]`` in two dimensions and
the model's own axis order in three (the card says which). Latents are float32 ``[n, latent_channels, *size / factor]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from workers.foundation.card import ModelCard
    from workers.foundation.noise import Denoised, NoiseSchedule


class BodyRegion(IntEnum):
    """The regions whose one-hot vectors MAISI's first version takes for the top and the bottom of a volume."""

    HEAD_AND_NECK = 0
    CHEST = 1
    ABDOMEN = 2
    LOWER = 3


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """What a denoiser is told besides the noised latent; each model takes what it knows and needs.

    ``tokens`` is ``[n or 1, tokens, width]`` as ``FoundationModel.describe`` gives it, ``vector`` ``[n or 1, width]``.
    ``spacing_mm`` has the axis order of the images; ``class_label`` is a number of the model's own list.
    """

    tokens: Tensor | None = None
    vector: Tensor | None = None
    class_label: int | None = None
    spacing_mm: tuple[float, ...] | None = None
    top: BodyRegion | None = None
    bottom: BodyRegion | None = None


UNCONDITIONED = Condition()


class FoundationModel(Protocol):
    """A frozen autoencoder and denoiser on one device and in one dtype, with where they come from."""

    @property
    def card(self) -> ModelCard:
        """Return what the model is, under what licence, and for which images it was trained."""
        ...

    @property
    def sha256(self) -> str:
        """Return the digest of all its files."""
        ...

    @property
    def device(self) -> torch.device:
        """Return the device of the weights."""
        ...

    @property
    def spatial_dims(self) -> int:
        """Return 2 or 3."""
        ...

    @property
    def image_channels(self) -> int:
        """Return the channels of a decoded image; a single channel is repeated where more are needed."""
        ...

    @property
    def latent_channels(self) -> int:
        """Return the channels of a latent."""
        ...

    @property
    def factor(self) -> int:
        """Return by how much each side of an image is larger than that of its latent."""
        ...

    @property
    def schedule(self) -> NoiseSchedule:
        """Return the noise schedule that the denoiser was trained with."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Return the scaled mean of the posterior: the same latents at every call, never a sample."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Return float32 images ``[n, image_channels, *size]``."""
        ...

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the frozen encoder's stages, shallow to deep: ``[n, channels, *size / 2^k]``."""
        ...

    def denoise(self, z_t: Tensor, step: int, condition: Condition = UNCONDITIONED) -> Denoised:
        """Return estimates of z_0 and e from latents noised to ``step`` of the schedule."""
        ...

    def describe(self, texts: list[str]) -> Tensor:
        """Return text tokens ``[n, tokens, width]``; raises ModelUnsuitable where the model has no text encoder."""
        ...
