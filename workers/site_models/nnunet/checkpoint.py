"""One fold's checkpoint, read without running what it might carry: tensors, plain values and numpy's scalars alone."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from workers.errors import CodeRefused, ModelUnsuitable, WeightsMismatch

if TYPE_CHECKING:
    from pathlib import Path


_PICKLE = b"\x80"


@dataclass(frozen=True, slots=True, eq=False)
class FoldCheckpoint:
    """Weights by name, on the processor, and what training noted beside them.

    ``mirroring`` are the axes of the network's input along which it was trained on mirrored images.
    """

    weights: Mapping[str, Tensor]
    configuration: str
    trainer: str
    mirroring: tuple[int, ...]


def read_fold(path: Path, *, allow_code: bool) -> FoldCheckpoint:
    """Return a checkpoint.

    CodeRefused where it holds anything that runs code when it is read, unless ``allow_code``; WeightsMismatch where it
    is broken, ModelUnsuitable where it was not written by nnU-Net v2.
    """
    content = _load(path, allow_code=allow_code)
    place = f"{path.parent.name}/{path.name}"
    try:
        weights, mirrored = content["network_weights"], content.get("inference_allowed_mirroring_axes")
        configuration, trainer = content["init_args"]["configuration"], content["trainer_name"]
        mirroring = tuple(int(axis) for axis in mirrored or ())
    except (KeyError, AttributeError) as error:
        raise ModelUnsuitable(f"{place} is no checkpoint of nnU-Net v2: it lacks {error}") from error
    except (TypeError, ValueError) as error:
        raise ModelUnsuitable(f"{place} is no checkpoint of nnU-Net v2: {error}") from error
    tensors = isinstance(weights, dict) and all(isinstance(value, Tensor) for value in weights.values())
    if not tensors or not weights:
        raise WeightsMismatch(f"{place}: network_weights does not map names to tensors")
    copies = {name: value.clone() for name, value in weights.items()}  # the file may go, or change, once it is read
    return FoldCheckpoint(copies, str(configuration), str(trainer), mirroring)


def _load(path: Path, *, allow_code: bool) -> Any:
    place = f"{path.parent.name}/{path.name}"
    try:
        with torch.serialization.safe_globals(_plain_values()):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if not _may_be_pickle(path):
            raise WeightsMismatch(f"{place} is no checkpoint of torch: copy it anew") from error
        if allow_code:
            return torch.load(path, map_location="cpu", weights_only=False)
        raise CodeRefused(
            f"{place} holds more than tensors and plain values and could run code when it is read: "
            "where it is trusted, set allow_code = true under [worker] of the site's oncue.toml"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsMismatch(f"{place} is missing or broken: copy it anew") from error


def _may_be_pickle(path: Path) -> bool:
    """Say whether a file begins as torch's do, and not as the pointer that git-lfs leaves where none was fetched."""
    with path.open("rb") as file:
        return zipfile.is_zipfile(path) or file.read(1) == _PICKLE


def _plain_values() -> list[Any]:
    """Return what nnU-Net's training log is made of: numpy's scalars, under the name of numpy 1 and that of numpy 2."""
    scalar: Any = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(code)) for code in "?bBhHiIlLqQefd"]
    return [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), np.dtype, *dtypes]
