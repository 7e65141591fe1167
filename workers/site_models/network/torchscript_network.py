"""TorchScript archives: networks that come with their own code, and so run only where the site allows that."""

from __future__ import annotations

import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy import float32

from workers.errors import CodeRefused, ModelUnsuitable, WeightsMismatch
from workers.site_models.card import SiteModelCard, SiteModelKind
from workers.site_models.model_file import MODEL_FILE, ModelDescription, OutputSection, named_file
from workers.site_models.network.described_network import (
    Compute,
    DescribedNetwork,
    described_card,
    open_network,
    required_description,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_SUFFIXES = frozenset({".ts", ".torchscript", ".pt"})
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory")


def recognises(folder: Path) -> bool:
    """Say whether a file of a folder is called as TorchScript archives are."""
    return any(path.suffix in _SUFFIXES for path in folder.glob("*.*"))


def read_card(folder: Path, described: ModelDescription | None) -> SiteModelCard:
    """Return the card that ``model.toml`` gives; its archive is looked at, never loaded.

    ModelUnsuitable where the file is something else of torch's, WeightsMismatch where it is damaged.
    """
    name = described.file if described else None
    card = described_card(folder, described, kind=SiteModelKind.TORCHSCRIPT, runs_code=(name or "",))
    _require_archive(named_file(folder, name), name=folder.name)
    return card


def open_model(
    folder: Path, card: SiteModelCard, *, device: torch.device, dtype: torch.dtype, allow_code: bool
) -> DescribedNetwork:
    """Return the network, loaded; it computes in the number format that it was saved in.

    CodeRefused where the site does not allow code, WeightsMismatch where the archive cannot be loaded, else as
    ``open_network``.
    """
    del dtype
    description = required_description(folder)
    path = named_file(folder, description.file)
    _require_archive(path, name=folder.name)
    if not allow_code:
        raise CodeRefused(
            f"{path.name} of {folder.name} is TorchScript, which runs code of its own: "
            "where it is trusted, set allow_code = true under [worker] of the site's oncue.toml"
        )
    network = _load(path, device, name=folder.name)
    weights = [*network.parameters(), *network.buffers()]
    compute = _computing(network, device, description.output, name=folder.name)
    megabytes = sum(weight.numel() * weight.element_size() for weight in weights) / 1e6
    return open_network(folder, card, description, compute=compute, megabytes=megabytes)


def _require_archive(path: Path, *, name: str) -> None:
    """Refuse what is no TorchScript archive by what lies in it, without loading anything."""
    with path.open("rb") as file:
        begins = file.read(2)
    if begins[:1] == b"\x80":
        raise ModelUnsuitable(f"{path.name} of {name} is a pickle, no TorchScript: save it with torch.jit.save")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.partition("/")[2] for member in archive.namelist()}
    except (zipfile.BadZipFile, OSError) as error:
        raise WeightsMismatch(f"{path.name} of {name} is damaged, or no TorchScript archive: restore it") from error
    if "constants.pkl" not in members:
        held = "a pickle of weights" if "data.pkl" in members else "an archive"
        raise ModelUnsuitable(f"{path.name} of {name} is {held}, no TorchScript: save it with torch.jit.save")


def _load(path: Path, device: torch.device, *, name: str) -> torch.jit.ScriptModule:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".torch.jit.load. is deprecated", category=DeprecationWarning)
            network: torch.jit.ScriptModule = torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]  # torch has no types here
    except RuntimeError as error:
        _let_out_of_memory_through(error)
        raise WeightsMismatch(f"{path.name} of {name} cannot be loaded: {_last_line(error)}") from error
    return network.eval()


def _computing(network: torch.jit.ScriptModule, device: torch.device, output: OutputSection, *, name: str) -> Compute:
    floating = (weight.dtype for weight in network.parameters() if weight.is_floating_point())
    dtype = next(floating, torch.float32)

    def compute(patch: NDArray[float32]) -> NDArray[float32]:
        try:
            with torch.inference_mode():
                image = torch.tensor(patch, dtype=dtype, device=device)  # a copy: networks may work in place
                made = _chosen(network(image), output, name=name)
                return np.asarray(made.to("cpu", torch.float32).numpy(), dtype=float32)
        except (RuntimeError, torch.jit.Error) as error:  # the latter is what the network's own code raises
            _let_out_of_memory_through(error)
            sides = " x ".join(map(str, patch.shape))
            raise ModelUnsuitable(f"{name} cannot compute an input of {sides}: {_last_line(error)}") from error

    return compute


def _chosen(made: Any, output: OutputSection, *, name: str) -> torch.Tensor:
    """Return the output that ``model.toml`` asks for of a tensor, a list or a dictionary of them."""
    if isinstance(made, dict):
        made = made.get(output.name) if output.name else next(iter(made.values()), None)
    elif isinstance(made, tuple | list):
        made = made[output.index] if output.index < len(made) else None
    if not isinstance(made, torch.Tensor) or not made.is_floating_point():
        raise ModelUnsuitable(f"{name} has no such output of real numbers: correct [output] in {MODEL_FILE}")
    return made


def _let_out_of_memory_through(error: Exception) -> None:
    """Raise what the queue knows: networks in TorchScript give it no type of its own."""
    if isinstance(error, torch.OutOfMemoryError):
        raise error
    if any(words in str(error) for words in _OUT_OF_MEMORY):
        raise MemoryError("the network ran out of memory") from error


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].removeprefix("RuntimeError: ") if lines else type(error).__name__
