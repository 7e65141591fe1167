"""Which places of a slice the frozen denoiser's text cross-attention gives to the words of a finding.

Latents are lightly noised and denoised once with the abnormal and once with the normal caption. The attention to the
words that say "abnormal" is then compared with the attention to those that say "normal". This extends the paper after
DAAM (Tang et al. 2023); the paper's own attention maps come from the encoder (``networks``).

The recorder computes an eager softmax beside the processor that is in place, which goes on giving the layer's output:
what the denoiser predicts does not change by a bit while it is being recorded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from workers.errors import ModelUnsuitable
from workers.foundation.noise import cosine_alpha_bars
from workers.segmentation import sampling

if TYPE_CHECKING:
    from workers.segmentation.model import LatentDiffusion
    from workers.segmentation.prompts import PromptPair

STEPS = (100, 250)
"""Training steps of 1000 at which the denoiser is run: little noise, so that the lesion is still visible."""
NOISE_SEED = 20230714
DEEPEST = 8
"""Most times that a layer's grid is taken to have been halved from the latent grid."""


@torch.inference_mode()
def attention_ranks(model: LatentDiffusion, latents: Tensor, prompt: PromptPair) -> Tensor:
    """Return ``[n, 1, 128, 128]`` in 0..1: the rank of each place within its slice by attention to the finding."""
    abnormal = _attention(model, latents, prompt.abnormal_tokens, prompt.abnormal_positions)
    normal = _attention(model, latents, prompt.normal_tokens, prompt.normal_positions)
    ranks = _ranked(abnormal - normal)
    size = (latents.shape[-2] * 4, latents.shape[-1] * 4)
    return functional.interpolate(ranks[:, None], size, mode="bilinear")


def _attention(model: LatentDiffusion, latents: Tensor, tokens: Tensor, positions: tuple[int, ...]) -> Tensor:
    """Return the attention to the tokens at ``positions``, averaged over layers, heads and steps: ``[n, h, w]``."""
    alpha_bars = cosine_alpha_bars().to(latents)
    generator = torch.Generator().manual_seed(NOISE_SEED)
    noise = torch.randn(latents.shape[1:], generator=generator).to(latents).expand_as(latents)
    with record_cross_attention(model.denoiser) as recorder:
        for step in STEPS:
            noised = sampling.noise_to(latents, noise, alpha_bars[step])
            model.velocity(noised, step, tokens.expand(len(latents), -1, -1))
    return recorder.maps(positions)


def _ranked(values: Tensor) -> Tensor:
    """Return the rank of each value within its slice, 0 lowest and 1 highest."""
    flat = values.flatten(1)
    ranks = flat.argsort(dim=1).argsort(dim=1).float() / max(1, flat.shape[1] - 1)
    return ranks.view_as(values)


@dataclass(slots=True, eq=False)
class Recorder:
    """Text cross-attention of every forward pass so far, averaged over passes, layers and heads.

    ``grid`` is the spatial size of the latents of the last pass.
    """

    grid: tuple[int, ...] = ()
    _sum: Tensor | None = None
    _count: int = field(default=0)

    def tokens(self) -> Tensor:
        """Return float32 ``[n, tokens, h, w]``; at each place the tokens add up to 1.

        Raises ModelUnsuitable where nothing has been recorded.
        """
        if self._sum is None:
            raise ModelUnsuitable("no text cross-attention was recorded: run a text-conditioned denoiser first")
        return self._sum / self._count

    def maps(self, tokens_of_interest: Sequence[int]) -> Tensor:
        """Return float32 ``[n, h, w]``, the mean attention to the tokens at these positions."""
        return self.tokens()[:, list(tokens_of_interest)].mean(dim=1)

    def add(self, weights: Tensor) -> None:
        """Add the softmax ``[n, heads, h' w', tokens]`` of one layer."""
        rows = weights.float().mean(dim=1).transpose(1, 2)
        coarse = rows.reshape(*rows.shape[:2], *layer_grid(rows.shape[-1], self.grid))
        grown = functional.interpolate(coarse, self.grid, mode="bilinear")
        self._sum = grown if self._sum is None else self._sum + grown
        self._count += 1


def layer_grid(places: int, grid: tuple[int, ...]) -> tuple[int, ...]:
    """Return the spatial size of a layer with ``places`` queries, the latent ``grid`` being halved (rounded up)."""
    halved = grid
    for _ in range(DEEPEST):
        if math.prod(halved) == places:
            return halved
        halved = tuple(-(-size // 2) for size in halved)
    raise ModelUnsuitable(f"a cross-attention layer has {places} places, which no halving of {grid} gives")


@contextmanager
def record_cross_attention(unet: Any) -> Iterator[Recorder]:
    """Record the text cross-attention of every forward pass of a ``UNet2DConditionModel`` within the context.

    All passes must have one batch size. The processors that were in place are put back at the end, whatever happens.
    """
    recorder = Recorder()
    layers = _cross_attention_layers(unet)
    before = [layer.processor for layer in layers]
    hook = unet.register_forward_pre_hook(_grid_reader(recorder), with_kwargs=True)
    try:
        for layer in layers:
            layer.processor = _RecordingProcessor(recorder, layer.processor)
        yield recorder
    finally:
        hook.remove()
        for layer, processor in zip(layers, before, strict=True):
            layer.processor = processor


@dataclass(frozen=True, slots=True, eq=False)
class _RecordingProcessor:
    """Tells the recorder what a layer attends to and leaves the output to the processor that was there before."""

    recorder: Recorder
    inner: Any

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if attn.norm_cross:
            text = attn.norm_encoder_hidden_states(text)
        count = len(hidden_states)
        mask = attn.prepare_attention_mask(attention_mask, text.shape[1], count)
        queries = attn.head_to_batch_dim(attn.to_q(hidden_states))
        keys = attn.head_to_batch_dim(attn.to_k(text))
        weights: Tensor = attn.get_attention_scores(queries, keys, mask)
        self.recorder.add(weights.reshape(count, attn.heads, *weights.shape[1:]))
        output: Tensor = self.inner(attn, hidden_states, encoder_hidden_states, attention_mask, **options)
        return output


def _cross_attention_layers(unet: Any) -> list[Any]:
    from diffusers.models.attention_processor import Attention

    return [part for part in unet.modules() if isinstance(part, Attention) and part.is_cross_attention]


def _grid_reader(recorder: Recorder) -> Any:
    def read(_module: torch.nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        sample = arguments[0] if arguments else named["sample"]
        recorder.grid = tuple(sample.shape[2:])

    return read
