"""Network definitions of MONAI bundles, read as plain data: expressions in them (``$...``) are never evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workers.errors import ModelUnsuitable
from workers.foundation.card import read_config

if TYPE_CHECKING:
    from pathlib import Path

AUTOENCODERS = ("autoencoder_def", "autoencoder")
DENOISERS = ("diffusion_unet_def", "diffusion_def", "network_def", "diffusion", "denoiser")
SCHEDULERS = ("noise_scheduler", "scheduler")
TARGET = "_target_"


@dataclass(frozen=True, slots=True)
class NetworkDefinition:
    """Constructor arguments of the autoencoder and the denoiser, and the scheduler's with its class in ``_target_``."""

    autoencoder: Mapping[str, Any]
    denoiser: Mapping[str, Any]
    scheduler: Mapping[str, Any]


def read_definition(path: Path) -> NetworkDefinition:
    """Read a bundle's JSON configuration; ModelUnsuitable names what is missing or is no plain value."""
    content = read_config(path)
    autoencoder, denoiser = (_part(content, names, path) for names in (AUTOENCODERS, DENOISERS))
    scheduler = _part(content, SCHEDULERS, path)
    return NetworkDefinition(_arguments(autoencoder), _arguments(denoiser), scheduler)


def _part(content: dict[str, Any], names: tuple[str, ...], path: Path) -> dict[str, Any]:
    for name in names:
        if isinstance(content.get(name), dict):
            return {key: _resolved(value, content, path) for key, value in content[name].items() if key != "_requires_"}
    raise ModelUnsuitable(f"{path.name} defines no {names[0]}: name the bundle's configuration in the card")


def _resolved(value: Any, content: dict[str, Any], path: Path) -> Any:
    if isinstance(value, str) and value.startswith("@"):
        if value[1:] not in content:
            raise ModelUnsuitable(f"{path.name} refers to {value}, which it does not define")
        return _resolved(content[value[1:]], content, path)
    if isinstance(value, str) and value.startswith("$"):
        raise ModelUnsuitable(f"{path.name} holds an expression, which is not evaluated: write its value instead")
    if isinstance(value, list):
        return [_resolved(item, content, path) for item in value]
    return value


def _arguments(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if not key.startswith("_")}
