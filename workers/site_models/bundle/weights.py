"""A bundle's weights: plain tensors into the network that its configuration defines, or a TorchScript program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workers.errors import ModelUnsuitable, PickleRefused, WeightsMismatch

MODELS = "models"
SCRIPT = ".ts"
SUFFIXES = (".safetensors", ".pt", SCRIPT)
"""In the order in which they are preferred: safetensors cannot run code, a TorchScript file is nothing else."""
WRAPPERS = ("model", "state_dict")


def weights_path(folder: Path) -> Path | None:
    """Return the weight file that is read, None where there is none."""
    paths = (folder / MODELS / f"model{suffix}" for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def require_weights(folder: Path) -> Path:
    """Return the weight file; ModelUnsuitable where there is none."""
    path = weights_path(folder)
    if path is None:
        raise ModelUnsuitable(f"{folder.name} has no {MODELS}/model.safetensors, model.pt or model.ts")
    return path


def runs_code(path: Path) -> str | None:
    """Return what of a weight file would run code when it is read, None where it holds tensors alone."""
    from workers.foundation.weight_files import read_checkpoint

    if path.suffix == SCRIPT:
        return f"{MODELS}/{path.name}: a TorchScript program"
    try:
        read_checkpoint(path)
    except PickleRefused:
        return f"{MODELS}/{path.name}: a pickle of more than tensors"
    return None


def fill(network: Any, path: Path, *, allow_code: bool) -> None:
    """Load the weights; WeightsMismatch names the first that the network lacks, wants, or has in another shape."""
    weights, wanted = _read(path, allow_code=allow_code), network.state_dict()
    for name, tensor in wanted.items():
        if name not in weights:
            raise WeightsMismatch(f"{MODELS}/{path.name} lacks {name}, which network_def wants")
        if weights[name].shape != tensor.shape:
            has, wants = tuple(weights[name].shape), tuple(tensor.shape)
            raise WeightsMismatch(f"{MODELS}/{path.name} has {name} as {has}, network_def wants {wants}")
    stray = next((name for name in weights if name not in wanted), None)
    if stray is not None:
        raise WeightsMismatch(f"{MODELS}/{path.name} has {stray}, which network_def does not know")
    network.load_state_dict(weights)


def _read(path: Path, *, allow_code: bool) -> Mapping[str, Any]:
    from workers.foundation.weight_files import read_checkpoint

    try:
        return read_checkpoint(path).weights
    except PickleRefused:
        if not allow_code:
            raise
    return _run(path)


def _run(path: Path) -> Mapping[str, Any]:
    """Return the tensors of a pickle that may run what it likes: the site's own settings allow it."""
    import torch

    content = torch.load(path, map_location="cpu", weights_only=False)
    inner = next((content[name] for name in WRAPPERS if isinstance(content, dict) and name in content), content)
    state = inner.state_dict() if isinstance(inner, torch.nn.Module) else inner
    if not isinstance(state, Mapping):
        raise WeightsMismatch(f"{MODELS}/{path.name} does not map names to tensors")
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
