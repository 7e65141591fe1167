"""Shrunken foundation models with random weights, saved to disk as their makers would save them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lab.training import untrained
from workers.foundation.card import CARD_FORMAT, CARD_NAME

library: Any = diffusers  # its classes carry only part of their types

MAISI_VIEW = {"extent_mm": {"low": [16.0] * 3, "high": [64.0] * 3}, "spacing_mm": {"low": [0.5] * 3, "high": [5.0] * 3}}
FLAT_VIEW = {"extent_mm": {"low": [20.0] * 2, "high": [40.0] * 2}, "spacing_mm": None}
AUTOENCODER_2D = {"spatial_dims": 2, "in_channels": 1, "out_channels": 1, "latent_channels": 3}
MONAI_CODER = {
    "num_channels": [8, 16],
    "num_res_blocks": 1,
    "norm_num_groups": 4,
    "norm_eps": 1e-6,
    "attention_levels": [False, False],
    "with_encoder_nonlocal_attn": True,
    "with_decoder_nonlocal_attn": True,
}
MONAI_UNET = {
    "num_channels": [8, 16],
    "num_res_blocks": 1,
    "norm_num_groups": 4,
    "attention_levels": [False, True],
    "num_head_channels": [0, 8],
}
BETAS = {"num_train_timesteps": 1000, "beta_start": 0.0015, "beta_end": 0.0195}
MAISI_CODER = {
    "spatial_dims": "@spatial_dims",
    "in_channels": "@image_channels",
    "out_channels": "@image_channels",
    "latent_channels": "@latent_channels",
    "num_channels": [8, 16, 16],
    "num_res_blocks": [2, 2, 2],
    "norm_num_groups": 8,
    "norm_eps": 1e-6,
    "attention_levels": [False, False, False],
    "norm_float16": True,
    "num_splits": 4,
    "dim_split": 1,
}
MAISI_UNET = {
    "spatial_dims": "@spatial_dims",
    "in_channels": "@latent_channels",
    "out_channels": "@latent_channels",
    "num_channels": [8, 16],
    "attention_levels": [False, True],
    "num_head_channels": [0, 8],
    "num_res_blocks": 1,
    "norm_num_groups": 8,
    "use_flash_attention": True,
    "include_top_region_index_input": "@include_body_region",
    "include_bottom_region_index_input": "@include_body_region",
    "include_spacing_input": True,
}


def seeded(build: Any, seed: int = 0) -> Any:
    """Build a network with every weight drawn from ``seed``, but for the scales of normalisations, which stay 1."""
    network = build()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1 or not bool((parameter == 1).all()):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return network.eval()


def write_card(folder: Path, kind: str, **fields: Any) -> None:
    """Write ``backbone.json``."""
    content = {
        "format": CARD_FORMAT,
        "name": f"tiny {kind}",
        "kind": kind,
        "licence": "CC0-1.0",
        "commercial_use": True,
    }
    (folder / CARD_NAME).write_text(json.dumps(content | fields))


def tiny_autoencoder(**changes: Any) -> Any:
    """Make a 2D autoencoder of diffusers, factor 2."""
    return library.AutoencoderKL(
        **{
            "in_channels": 3,
            "out_channels": 3,
            "down_block_types": ("DownEncoderBlock2D",) * 2,
            "up_block_types": ("UpDecoderBlock2D",) * 2,
            "block_out_channels": (8, 16),
            "latent_channels": 4,
            "norm_num_groups": 4,
            "sample_size": 32,
        }
        | changes
    )


def tiny_text_unet(width: int = 16, **changes: Any) -> Any:
    """Make a text-conditioned U-Net of diffusers."""
    return library.UNet2DConditionModel(
        **{
            "sample_size": 16,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "block_out_channels": (8, 16),
            "layers_per_block": 1,
            "norm_num_groups": 4,
            "attention_head_dim": 8,
            "cross_attention_dim": width,
        }
        | changes
    )


def stable_diffusion(
    folder: Path, *, text: bool = True, scheduler: dict[str, Any] | None = None, safe: bool = True
) -> Path:
    """Save a pipeline's folder: vae, unet, scheduler and, with ``text``, a CLIP text encoder with its tokenizer."""
    seeded(tiny_autoencoder).save_pretrained(folder / "vae", safe_serialization=safe)
    seeded(tiny_text_unet).save_pretrained(folder / "unet", safe_serialization=safe)
    library.PNDMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, **(scheduler or {})
    ).save_pretrained(folder / "scheduler")
    if text:
        clip(folder)
    return folder


def clip(folder: Path) -> None:
    """Save a CLIP text encoder of random weights and its tokenizer of letters."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    files = folder / "tokenizer"
    files.mkdir()
    (files / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (files / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(files / "vocab.json"), str(files / "merges.txt"), model_max_length=12).save_pretrained(files)
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=12,
        bos_token_id=words.index("<|startoftext|>"),
        eos_token_id=words.index("<|endoftext|>"),
    )
    seeded(lambda: CLIPTextModel(config)).save_pretrained(folder / "text_encoder")


def monai(
    folder: Path,
    *,
    dims: int = 2,
    wide: bool = False,
    safe: bool = True,
    text: bool = True,
    coder_changes: dict[str, Any] | None = None,
    unet_changes: dict[str, Any] | None = None,
) -> Path:
    """Save a MONAI bundle with the argument names of GenerativeModels; ``wide`` also tells the vector as channels."""
    from monai.networks.nets.autoencoderkl import AutoencoderKL
    from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet

    coder = AUTOENCODER_2D | MONAI_CODER | {"spatial_dims": dims} | (coder_changes or {})
    width = 16 if text else 4
    unet = (
        MONAI_UNET
        | {
            "spatial_dims": dims,
            "in_channels": 3 + (4 if wide else 0),
            "out_channels": 3,
            "with_conditioning": True,
            "cross_attention_dim": width,
        }
        | (unet_changes or {})
    )
    scheduler = {"_target_": "generative.networks.schedulers.DDIMScheduler", "beta_schedule": "scaled_linear"} | BETAS
    definition = {
        "imports": ["$import torch"],
        "autoencoder_def": {"_target_": "generative.networks.nets.AutoencoderKL"} | coder,
        "network_def": {"_target_": "generative.networks.nets.DiffusionModelUNet"} | unet,
        "noise_scheduler": scheduler | {"_requires_": ["@load_diffusion"], "prediction_type": "v_prediction"},
    }
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "inference.json").write_text(json.dumps(definition))
    networks = (
        ("autoencoder", seeded(lambda: AutoencoderKL(**_current(coder)))),
        ("denoiser", seeded(lambda: DiffusionModelUNet(**_current(unet)))),
    )
    suffix = ".safetensors" if safe else ".pt"
    for name, network in networks:
        save_weights(network, folder / f"{name}{suffix}")
    options = {"definition": "configs/inference.json", "scale_factor": 0.3}
    options |= {name: f"{name}{suffix}" for name, _ in networks}
    write_card(
        folder,
        "monai-latent",
        value_range=[0, 1],
        modalities=["MR"],
        conditioning="text" if text else "vector",
        options=options,
        field_of_view=FLAT_VIEW if dims == 2 else None,
    )
    return folder


def save_weights(network: nn.Module, path: Path) -> None:
    """Save a network's weights in the format that the suffix names."""
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path)


def rename_as_generative_models(path: Path) -> None:
    """Give the weights of a MONAI network the names that MONAI GenerativeModels saved them under."""
    renamed = {}
    for name, value in load_file(path).items():
        old = name.replace(".attn.out_proj.", ".proj_attn.").replace("postconv", "conv")
        if "transformer_blocks" in old:
            old = old.replace(".out_proj.", ".to_out.0.")
        else:
            old = re.sub(r"\.attn\.(to_[qkv])", r".\1", old)
        renamed[old.replace(".attn1.proj_attn.", ".attn1.to_out.0.")] = value
    save_file(renamed, path)


def maisi(
    folder: Path,
    *,
    flow: bool = True,
    coder_changes: dict[str, Any] | None = None,
    unet_changes: dict[str, Any] | None = None,
) -> Path:
    """Save MAISI shrunken to an eighth: by rectified flow with classes, or by diffusion with body regions."""
    from monai.apps.generation.maisi.networks.autoencoderkl_maisi import AutoencoderKlMaisi
    from monai.apps.generation.maisi.networks.diffusion_model_unet_maisi import DiffusionModelUNetMaisi

    plain = {"spatial_dims": 3, "image_channels": 1, "latent_channels": 4, "include_body_region": not flow}
    flowing = {"num_class_embeds": 128, "resblock_updown": True, "include_fc": True} if flow else {}
    unet: dict[str, Any] = MAISI_UNET | flowing | (unet_changes or {})
    scheduler: dict[str, Any] = (
        {
            "_target_": "monai.networks.schedulers.rectified_flow.RFlowScheduler",
            "num_train_timesteps": 1000,
            "use_discrete_timesteps": False,
            "use_timestep_transform": True,
            "sample_method": "uniform",
            "scale": 1.4,
        }
        if flow
        else {"_target_": "monai.networks.schedulers.ddpm.DDPMScheduler", "schedule": "scaled_linear_beta"} | BETAS
    )
    coding: dict[str, Any] = MAISI_CODER | (coder_changes or {})
    definition = plain | {"autoencoder_def": coding, "diffusion_unet_def": unet, "noise_scheduler": scheduler}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(definition))
    resolved = {key: plain.get(value[1:], value) if isinstance(value, str) else value for key, value in coding.items()}
    coder = seeded(lambda: AutoencoderKlMaisi(**resolved))
    told = {key: plain.get(value[1:], value) if isinstance(value, str) else value for key, value in unet.items()}
    denoiser = seeded(lambda: DiffusionModelUNetMaisi(**told | {"use_flash_attention": False}))
    torch.save(coder.state_dict(), folder / "autoencoder.pt")
    torch.save({"unet_state_dict": denoiser.state_dict(), "scale_factor": torch.tensor(0.97)}, folder / "unet.pt")
    write_card(
        folder,
        "maisi",
        value_range=[0, 1],
        modalities=["CT"],
        conditioning="class" if flow else "regions",
        axes="RAS",
        field_of_view=MAISI_VIEW,
        options={"autoencoder": "autoencoder.pt", "denoiser": "unet.pt"},
    )
    return folder


def own(folder: Path) -> Path:
    """Save the project's own model untrained."""

    seeded(untrained.build_autoencoder).save_pretrained(folder / "vae")
    config = json.loads((folder / "vae" / "config.json").read_text())
    config |= {"latents_mean": [0.1, -0.2, 0.0, 0.3], "latents_std": [0.5, 0.9, 0.6, 1.4]}
    (folder / "vae" / "config.json").write_text(json.dumps(config))
    seeded(untrained.build_denoiser).save_pretrained(folder / "unet")
    (folder / "adapters").mkdir()
    (folder / "calibration.json").write_text("{}")
    return folder


def _current(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"channels" if key == "num_channels" else key: value for key, value in arguments.items()}
