"""Visual prompt tuning (Jia et al., 2022), shallow: a few learned tokens behind the patches of a vision transformer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from workers.errors import BackboneUnusable
from workers.fewshot.encoder_networks import TokenEncoder

TOKENS = 8


class VisualPrompts(torch.nn.Module):
    """The learned tokens ``[1, TOKENS, c]``; put behind the patches, and taken off the layers' output again."""

    def __init__(self, channels: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.tokens = torch.nn.Parameter(0.02 * torch.randn(1, TOKENS, channels, generator=generator))

    def append(self, _module: torch.nn.Module, _inputs: object, embedded: Tensor) -> Tensor:
        """Run as a forward hook of the embeddings."""
        return torch.cat([embedded, self.tokens.to(embedded).expand(len(embedded), -1, -1)], dim=1)


class PromptedTokens(torch.nn.Module):
    """Hides the learned tokens from what reads a transformer's layers."""

    def __init__(self, network: torch.nn.Module, prompts: VisualPrompts) -> None:
        super().__init__()
        self.network, self.prompts = network, prompts

    def forward(self, **inputs: object) -> object:
        """Run the network and cut the learned tokens off every layer."""
        output = self.network(**inputs)
        output.last_hidden_state = output.last_hidden_state[:, :-TOKENS]
        output.hidden_states = tuple(layer[:, :-TOKENS] for layer in output.hidden_states[1:])
        # The embeddings themselves are recorded before the hook or after it, depending on the family: not used.
        output.hidden_states = (output.hidden_states[0], *output.hidden_states)
        return output


def add_visual_prompts(encoder: torch.nn.Module, *, generator: torch.Generator) -> None:
    """Give a TokenEncoder learned tokens, in place; BackboneUnusable for anything else."""
    embeddings = getattr(getattr(encoder, "network", None), "embeddings", None)
    if not isinstance(encoder, TokenEncoder) or not isinstance(embeddings, torch.nn.Module):
        raise BackboneUnusable("learned tokens need a ViT or DINOv2 backbone: use another way of freezing than vpt")
    configured: Any = encoder.network
    channels = int(configured.config.hidden_size)
    prompts = VisualPrompts(channels, generator=generator)
    embeddings.register_forward_hook(prompts.append)
    encoder.network = PromptedTokens(encoder.network, prompts)
