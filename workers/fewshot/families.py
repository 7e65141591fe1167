"""Which families of encoders are known, and how a network of each becomes an encoder. Read from ``config.json``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers.errors import BackboneUnusable
from workers.fewshot.contracts import Interpolation, Preprocessing
from workers.fewshot.encoder_networks import (
    ContrastiveEncoder,
    Feature,
    MapEncoder,
    TokenEncoder,
    TokenPart,
    load_optional,
)
from workers.fewshot.preprocessing import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    import torch

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Family:
    """One family: the class in ``transformers``, how it encodes, and what its pictures look like by default."""

    network: str
    encode: Callable[[torch.nn.Module, Mapping[str, Any]], torch.nn.Module]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    size: int | None = None
    """Side in pixels where the trained one would be too slow or the configuration names none."""
    has_text: bool = False
    extra_package: str | None = None
    """timm or open_clip, where ``transformers`` does not hold the family."""

    def preprocessing(self, config: Mapping[str, Any]) -> Preprocessing:
        """Return the default specification for a network with this configuration."""
        trained = config.get("vision_config", config).get("image_size")
        side = trained[0] if isinstance(trained, list) else trained
        return Preprocessing(self.size or side or 224, self.mean, self.std, Interpolation.BICUBIC)


def family_of(config: Mapping[str, Any], *, folder: str) -> Family:
    """Find the family of a configuration; BackboneUnusable names what is known."""
    if "auto_map" in config:
        raise BackboneUnusable(f"{folder} asks for code of its own (auto_map in config.json): such folders are not run")
    kind = config.get("model_type") or _other_library(config)
    if kind == "clip_vision_model" and "CLIPVisionModelWithProjection" in config.get("architectures", ()):
        kind = "clip_vision_projected"
    try:
        return FAMILIES[str(kind)]
    except KeyError:
        known = ", ".join(sorted(FAMILIES))
        raise BackboneUnusable(f"{folder} holds a model of type {kind}; known are {known}") from None


def load_network(family: Family, folder: Path) -> torch.nn.Module:
    """Load the weights from safetensors in the folder, never from the network, never from a pickle."""
    import transformers

    if family.extra_package is not None:
        return load_optional(folder, family.extra_package)
    # A bar for every load would end up in what programs read.
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # shipped unannotated
    kind = getattr(transformers, family.network)
    options = {"local_files_only": True, "use_safetensors": True, "output_loading_info": True}
    try:
        network, told = kind.from_pretrained(folder, **options)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise BackboneUnusable(f"{folder.name} cannot be loaded as {family.network}: {type(error).__name__}") from error
    missing = sorted(key for key in told["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise BackboneUnusable(f"{folder.name} lacks weights that {family.network} needs, first {missing[0]}")
    loaded: torch.nn.Module = network
    return loaded


def _other_library(config: Mapping[str, Any]) -> str | None:
    if "architecture" in config:
        return "timm"
    return "open_clip" if "model_cfg" in config else None


def _tokens(prefix: int, *parts: TokenPart) -> Callable[[torch.nn.Module, Mapping[str, Any]], torch.nn.Module]:
    def encode(network: torch.nn.Module, config: Mapping[str, Any]) -> torch.nn.Module:
        registers = int(config.get("num_register_tokens", 0))
        return TokenEncoder(network, Feature(parts=parts), prefix=prefix + registers)

    return encode


def _maps(network: torch.nn.Module, _config: Mapping[str, Any]) -> torch.nn.Module:
    return MapEncoder(network)


def _as_loaded(network: torch.nn.Module, _config: Mapping[str, Any]) -> torch.nn.Module:
    return network


def _projected(network: torch.nn.Module, _config: Mapping[str, Any]) -> torch.nn.Module:
    return ContrastiveEncoder(network)


FAMILIES: Mapping[str, Family] = {
    "clip": Family("CLIPModel", _projected, CLIP_MEAN, CLIP_STD, has_text=True),
    "clip_vision_projected": Family("CLIPVisionModelWithProjection", _projected, CLIP_MEAN, CLIP_STD),
    "clip_vision_model": Family("CLIPVisionModel", _tokens(1, TokenPart.CLASS), CLIP_MEAN, CLIP_STD),
    "vit": Family("ViTModel", _tokens(1, TokenPart.CLASS), _HALF, _HALF),
    "dinov2": Family("Dinov2Model", _tokens(1, TokenPart.CLASS, TokenPart.MEAN), size=224),
    "dinov2_with_registers": Family("Dinov2WithRegistersModel", _tokens(1, TokenPart.CLASS, TokenPart.MEAN), size=224),
    "swin": Family("SwinModel", _maps),
    "swinv2": Family("Swinv2Model", _maps),
    "resnet": Family("ResNetModel", _maps),
    "convnext": Family("ConvNextModel", _maps),
    "convnextv2": Family("ConvNextV2Model", _maps),
    "efficientnet": Family("EfficientNetModel", _maps),
    "timm": Family("timm", _as_loaded, extra_package="timm"),
    "open_clip": Family("open_clip", _as_loaded, CLIP_MEAN, CLIP_STD, extra_package="open_clip"),
}
"""``model_type`` of a ``config.json`` -> family. SwinModel and the CNNs pool by their own last norm."""
