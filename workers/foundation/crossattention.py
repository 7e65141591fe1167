"""Where a text-conditioned denoiser looks for each word: its cross-attention, recorded (DAAM, Tang et al. 2023).

The recorder computes an eager softmax beside the processor that is in place, which goes on giving the layer's output:
what the denoiser predicts does not change by a bit while it is being recorded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from workers.errors import ModelUnsuitable

FLAT = 2
DEEPEST = 8
"""Most times that a layer's grid is taken to have been halved from the latent grid."""


@dataclass(slots=True, eq=False)
class Recorder:
    """Text cross-attention of every forward pass so far, averaged over passes, layers and heads.

    ``grid`` is the spatial size of the latents of the last pass, in two or three dimensions.
    """

    grid: tuple[int, ...] = ()
    _sum: Tensor | None = None
    _count: int = field(default=0)

    def tokens(self) -> Tensor:
        """Give float32 ``[n, tokens, *grid]``: ``[n, tokens, h, w]`` in two dimensions. At each place they add up to 1.

        Raises ModelUnsuitable where nothing has been recorded.
        """
        if self._sum is None:
            raise ModelUnsuitable("no text cross-attention was recorded: run a text-conditioned denoiser first")
        return self._sum / self._count

    def maps(self, tokens_of_interest: Sequence[int]) -> Tensor:
        """Give float32 ``[n, *grid]``, the mean attention to the tokens at these positions: ``[n, h, w]`` in 2D."""
        return self.tokens()[:, list(tokens_of_interest)].mean(dim=1)

    def add(self, weights: Tensor) -> None:
        """Add the softmax ``[n, heads, h' w', tokens]`` of one layer."""
        rows = weights.float().mean(dim=1).transpose(1, 2)
        coarse = rows.reshape(*rows.shape[:2], *layer_grid(rows.shape[-1], self.grid))
        grown = functional.interpolate(coarse, self.grid, mode="bilinear" if len(self.grid) == FLAT else "trilinear")
        self._sum = grown if self._sum is None else self._sum + grown
        self._count += 1


def layer_grid(places: int, grid: tuple[int, ...]) -> tuple[int, ...]:
    """Find the spatial size of a layer with ``places`` queries, the latent ``grid`` being halved (rounded up)."""
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
    hook = unet.register_forward_pre_hook(_grid_reader(recorder, "sample"), with_kwargs=True)
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


def _grid_reader(recorder: Recorder, name: str) -> Any:
    def read(_module: torch.nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        sample = arguments[0] if arguments else named[name]
        recorder.grid = tuple(sample.shape[2:])

    return read


@contextmanager
def record_monai_cross_attention(unet: Any) -> Iterator[Recorder]:
    """Record the text cross-attention of every forward pass of MONAI's ``DiffusionModelUNet`` within the context.

    The layers keep the softmax that they compute anyway; one that would compute none (flash attention) does so here.
    """
    from monai.networks.blocks.crossattention import CrossAttentionBlock

    recorder = Recorder()
    layers = [part for part in unet.modules() if isinstance(part, CrossAttentionBlock)]
    before = [(layer.save_attn, layer.use_flash_attention) for layer in layers]
    hooks = [unet.register_forward_pre_hook(_grid_reader(recorder, "x"), with_kwargs=True)]
    hooks += [
        layer.register_forward_hook(lambda block, _inputs, _output: recorder.add(block.att_mat)) for layer in layers
    ]
    try:
        for layer in layers:
            layer.save_attn, layer.use_flash_attention = True, False
        yield recorder
    finally:
        for hook in hooks:
            hook.remove()
        for layer, (save, flash) in zip(layers, before, strict=True):
            layer.save_attn, layer.use_flash_attention, layer.att_mat = save, flash, torch.Tensor()
