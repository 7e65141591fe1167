"""Tiny random encoders of every family, saved to disk as they are published, and pictures to show them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy import uint8
from numpy.typing import NDArray
from PIL import Image

SIDE = 32
_TRANSFORMER = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
_PATCHES = {"image_size": SIDE, "patch_size": 8}
_TEXT = {
    **_TRANSFORMER,
    "num_hidden_layers": 2,
    "vocab_size": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
_DINO = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "mlp_ratio": 2,
    "image_size": 56,
    "patch_size": 56,
}
_REGISTERS = {**_DINO, "num_register_tokens": 2}
_SWIN = {
    "image_size": SIDE,
    "patch_size": 2,
    "embed_dim": 8,
    "depths": [1, 2],
    "num_heads": [1, 2],
    "window_size": 4,
}
_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
_CONVNEXT = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "image_size": SIDE}
_EFFICIENTNET = {"image_size": SIDE, "width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 128}
_VISION = _TRANSFORMER | _PATCHES
_PROJECTED = {"projection_dim": 16} | _VISION
_CLIP = {"projection_dim": 16, "vision_config": _VISION, "text_config": _TEXT}
_MADE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "clip": ("CLIPModel", "CLIPConfig", _CLIP),
    "clip_vision_projected": ("CLIPVisionModelWithProjection", "CLIPVisionConfig", _PROJECTED),
    "clip_vision_model": ("CLIPVisionModel", "CLIPVisionConfig", _VISION),
    "vit": ("ViTModel", "ViTConfig", _VISION),
    "dinov2": ("Dinov2Model", "Dinov2Config", _DINO),
    "dinov2_with_registers": ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", _REGISTERS),
    "swin": ("SwinModel", "SwinConfig", _SWIN),
    "resnet": ("ResNetModel", "ResNetConfig", _RESNET),
    "convnext": ("ConvNextModel", "ConvNextConfig", _CONVNEXT),
    "convnextv2": ("ConvNextV2Model", "ConvNextV2Config", _CONVNEXT),
    "efficientnet": ("EfficientNetModel", "EfficientNetConfig", _EFFICIENTNET),
}
FAMILIES = tuple(_MADE)


def save_encoder(folder: Path, family: str) -> Path:
    """Save a random network of a family with safetensors and config.json; the same one every time."""
    kind, config, options = _MADE[family]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = getattr(transformers, kind)(getattr(transformers, config)(**options))
    network.save_pretrained(folder)
    return folder


def save_clip_tokenizer(folder: Path) -> None:
    """Put a tokenizer of single letters beside a CLIP folder."""
    letters = [chr(code) for code in range(97, 123)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    transformers.CLIPTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt")).save_pretrained(
        folder
    )


def picture(seed: int = 0, *, shape: tuple[int, int] = (48, 40)) -> NDArray[uint8]:
    """Draw colour noise."""
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3)).astype(uint8)


def disc(
    shape: tuple[int, int] = (48, 40), *, centre: tuple[int, int] = (30, 14), radius: int = 6
) -> NDArray[np.bool_]:
    """Draw a disc as a mask."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.asarray((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2)


def write_pictures(folder: Path, *, patients: int = 12, seed: int = 0, masks: bool = True) -> Path:
    """Write a folder of labelled pictures: a striped or a plain disc on noise, two pictures of each patient."""
    (folder / "images").mkdir(parents=True)
    rng, lines = np.random.default_rng(seed), ["image,mask,class,patient,sex"]
    for patient in range(patients):
        for view in range(2):
            label, name = ("striped", "plain")[patient % 2], f"images/{patient}-{view}.png"
            grey = rng.normal(90, 25, (64, 64))
            centre = (int(rng.integers(20, 44)), int(rng.integers(20, 44)))
            mask = disc((64, 64), centre=centre, radius=12)
            stripes = (
                70 * np.sign(np.sin(1.5 * np.mgrid[:64, :64][1])) if label == "striped" else np.full((64, 64), 70.0)
            )
            grey[mask] += stripes[mask]
            Image.fromarray(np.clip(grey, 0, 255).astype(uint8)).save(folder / name)
            Image.fromarray(mask.astype(uint8) * 255).save(folder / f"images/{patient}-{view}-mask.png")
            listed = f"images/{patient}-{view}-mask.png" if masks else ""
            lines.append(f"{name},{listed},{label},p{seed}-{patient},{'F' if patient % 4 < 2 else 'M'}")
    (folder / "images.csv").write_text("\n".join(lines) + "\n")
    return folder
