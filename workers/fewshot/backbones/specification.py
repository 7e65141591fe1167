"""``backbone.json`` of a registered folder: everything beside the weights that decides a backbone's vectors."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from workers.errors import BackboneUnusable
from workers.fewshot.contracts import Fit, Interpolation, Preprocessing

SPECIFICATION_NAME = "backbone.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Specification:
    """What the registry wrote down when it took a folder in."""

    name: str
    commercial_use: bool
    preprocessing: Preprocessing
    dimensions: int
    grid_channels: int


def write_specification(folder: Path, specification: Specification) -> None:
    """Write it as JSON, with sorted keys: the same specification always gives the same bytes."""
    content = json.dumps({"format": _FORMAT, **asdict(specification)}, indent=2, sort_keys=True)
    (folder / SPECIFICATION_NAME).write_text(content + "\n", encoding="utf-8")


def read_specification(folder: Path) -> Specification:
    """Read it; BackboneUnusable where it is missing or not understood."""
    try:
        content = json.loads((folder / SPECIFICATION_NAME).read_text(encoding="utf-8"))
        if content.pop("format") != _FORMAT:
            raise ValueError("another format")  # noqa: TRY301 - one way out for everything that is wrong with the file
        look = content.pop("preprocessing")
        preprocessing = Preprocessing(
            int(look["size"]),
            tuple(look["mean"]),
            tuple(look["std"]),
            Interpolation(look["interpolation"]),
            Fit(look["fit"]),
        )
        return Specification(preprocessing=preprocessing, **content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackboneUnusable(
            f"{SPECIFICATION_NAME} of {folder.name} is missing or damaged: register the folder with `oncue models add`"
        ) from error
