"""What lies in an nnU-Net v2 result folder: dataset.json, plans.json and one checkpoint for each fold, read as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.errors import LabelsInvalid, ModelUnsuitable

DATASET_FILE = "dataset.json"
PLANS_FILE = "plans.json"
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
BACKGROUND = "background"
IGNORED = "ignore"
HIGHEST_LABEL = 255
_DEPTH = 2
"""Results lie in the given folder, in ``TRAINER__PLANS__CONFIGURATION/``, or in that below ``DatasetNNN_NAME/``."""


@dataclass(frozen=True, slots=True)
class ResultFolder:
    """One trained configuration. ``folds`` are its folders with a checkpoint; the two files are as they were parsed."""

    path: Path
    folds: tuple[str, ...]
    dataset: Mapping[str, Any]
    plans: Mapping[str, Any]

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the input channels, in order; ``modality`` is what nnU-Net called them once."""
        named = self.dataset.get("channel_names", self.dataset.get("modality"))
        if not isinstance(named, dict) or not named:
            raise ModelUnsuitable(f"{DATASET_FILE} of {self.path.name}: channel_names is missing")
        return tuple(str(name) for name in named.values())

    def checkpoint(self, fold: str) -> Path:
        """Return the checkpoint of a fold, the final one where there is one."""
        return next(path for path in _checkpoints(self.path / fold) if path.is_file())


def holds_results(folder: Path) -> bool:
    """Say whether a folder holds nnU-Net's plans and data set description, by the names of its files alone."""
    return any(True for _ in _described(folder))


def find_results(folder: Path, folds: Sequence[str] = ()) -> ResultFolder:
    """Return the one trained configuration of a folder, with all its folds or those that are named (``0``, ``all``).

    ModelUnsuitable where there is none, where there are several, or where a fold or a file is missing or broken.
    """
    described = sorted(_described(folder))
    trained = [path for path in described if any(_trained_folds(path))]
    if len(trained) > 1:
        names = ", ".join(path.relative_to(folder).as_posix() for path in trained)
        raise ModelUnsuitable(f"{folder.name} holds several nnU-Net models ({names}): name the folder of one of them")
    if not described:
        raise ModelUnsuitable(f"{folder.name} holds no {PLANS_FILE} beside a {DATASET_FILE}: it is no nnU-Net result")
    if not trained:
        raise ModelUnsuitable(f"{described[0].name} holds no fold_0/{CHECKPOINTS[0]}, nor any other fold: copy one")
    (path,) = trained
    return ResultFolder(path, _folds(path, folds), _read(path / DATASET_FILE), _read(path / PLANS_FILE))


def label_names(dataset: Mapping[str, Any]) -> dict[int, str]:
    """Return the name of each label that a network draws, without background and without what training ignored.

    Of overlapping regions the value is what ``regions_class_order`` gives them. LabelsInvalid names what is wrong.
    """
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or labels.get(BACKGROUND) != 0:
        raise LabelsInvalid(f"{DATASET_FILE}: labels must map names to values, with {BACKGROUND} as 0")
    drawn = {str(name): value for name, value in labels.items() if name not in (BACKGROUND, IGNORED)}
    if any(isinstance(value, list) and len(value) > 1 for value in drawn.values()):
        return _by_value(dict(zip(drawn, _region_values(dataset, len(drawn)), strict=True)))
    named = _by_value({name: value[0] if isinstance(value, list) and value else value for name, value in drawn.items()})
    if beyond := [value for value in named if value > len(named)]:
        raise LabelsInvalid(
            f"{DATASET_FILE}: label {named[beyond[0]]} is {beyond[0]}, but the network that follows from {len(named)} "
            f"labels draws 1 to {len(named)}: number them without gaps"
        )
    return named


def _by_value(labels: Mapping[str, object]) -> dict[int, str]:
    named: dict[int, str] = {}
    for name, value in labels.items():
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= HIGHEST_LABEL:
            raise LabelsInvalid(f"{DATASET_FILE}: label {name} has no value from 1 to {HIGHEST_LABEL}")
        if value in named:
            raise LabelsInvalid(f"{DATASET_FILE}: labels {named[value]} and {name} have the same value {value}")
        named[value] = name
    return named


def _region_values(dataset: Mapping[str, Any], count: int) -> Sequence[object]:
    order = dataset.get("regions_class_order")
    if not isinstance(order, list) or len(order) != count:
        raise LabelsInvalid(f"{DATASET_FILE}: regions_class_order must give each of the {count} regions a value")
    return order


def _described(folder: Path) -> Iterator[Path]:
    for depth in range(_DEPTH + 1):
        for plans in folder.glob("/".join([*"*" * depth, PLANS_FILE])):
            if (plans.parent / DATASET_FILE).is_file():
                yield plans.parent


def _trained_folds(path: Path) -> Iterator[str]:
    for fold in sorted(path.glob("fold_*")):
        if any(checkpoint.is_file() for checkpoint in _checkpoints(fold)):
            yield fold.name


def _checkpoints(fold: Path) -> list[Path]:
    return [fold / name for name in CHECKPOINTS]


def _folds(path: Path, wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the folds to average: those wanted, else the numbered ones, else the one that was trained on all cases."""
    present = list(_trained_folds(path))
    if not wanted:
        return tuple(fold for fold in present if fold != "fold_all") or tuple(present)
    for number in wanted:
        if f"fold_{number}" not in present:
            raise ModelUnsuitable(f"{path.name} holds no fold_{number}/{CHECKPOINTS[0]}, which model.toml names")
    return tuple(f"fold_{number}" for number in wanted)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelUnsuitable(f"{path.name} of {path.parent.name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ModelUnsuitable(f"{path.name} of {path.parent.name} is no JSON object")
    return content
