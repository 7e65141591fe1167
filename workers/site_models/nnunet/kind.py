"""nnU-Net v2 result folders, TotalSegmentator's among them: read as text, loaded without running what they carry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from storage.domain import Algorithm, LabelRole
from workers.errors import ModelUnsuitable, WeightsMismatch
from workers.site_models.card import UNKNOWN, SiteModelCard, SiteModelKind
from workers.site_models.conclusion import conclude
from workers.site_models.label_codes import code_labels
from workers.site_models.model_file import MODEL_FILE, ModelDescription, read_model_file
from workers.site_models.nnunet.array_axes import is_orientation, nearest_axes
from workers.site_models.nnunet.folder import ResultFolder, find_results, holds_results, label_names
from workers.weights import digest

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from storage.domain import Segmentation
    from storage.volumes import Volume
    from workers.site_models.kinds import AbortCheck
    from workers.site_models.nnunet.checkpoint import FoldCheckpoint
    from workers.site_models.nnunet.prediction import TilePredictor, Trained

PACKAGE = "nnunetv2"
DEFAULT_ORIENTATION = "LPS"
"""How SimpleITK writes and reads the NIfTI of an axial stack: z towards the head, y towards the back, x to the left."""
CANONICAL = "RAS"
_CANONICAL_READERS = ("NibabelIOWithReorient",)
_CANONICAL_MAKERS = ("TotalSegmentator",)
"""Names in a data set's own: their images were all turned to RAS before training, and are so before prediction."""
_MODALITIES = {"CT": "CT", "PET": "PT", "PT": "PT"} | dict.fromkeys(
    ("MR", "MRI", "FLAIR", "T1", "T1W", "T1C", "T1CE", "T1GD", "T2", "T2W", "DWI", "ADC"), "MR"
)
_INPUT_KEYS = {"orientation", "overlap"}


def recognises(folder: Path) -> bool:
    """Say by the names of its files alone whether a folder is an nnU-Net v2 result."""
    return holds_results(folder)


def read_card(folder: Path, described: ModelDescription | None) -> SiteModelCard:
    """Return the card: labels of dataset.json, modality of its input channel, and what model.toml says beside them.

    ModelUnsuitable where nnU-Net is not installed, where several models or none lie in the folder, where a fold is
    missing or where it takes several images; LabelsInvalid names the label that is wrong.
    """
    _require_package()
    said = described or _undescribed()
    _require_own_keys(folder, said)
    results = find_results(folder, said.nnunet.fold_names)
    if len(results.channels) > 1:
        raise ModelUnsuitable(
            f"{results.path.name} takes {len(results.channels)} images at once ({', '.join(results.channels)}): "
            "only models of one input channel are served"
        )
    modality = _MODALITIES.get(results.channels[0].upper().replace("-", ""))
    return SiteModelCard(
        kind=SiteModelKind.NNUNET,
        version=said.version if said.version != UNKNOWN else _text(results, "release"),
        licence=said.licence if said.licence != UNKNOWN else _text(results, "licence", "license"),
        modalities=said.modalities or ((modality,) if modality else ()),
        labels=code_labels(label_names(results.dataset), said.labels),
        limits=said.limits.limits(),
    )


def open_model(
    folder: Path, card: SiteModelCard, *, device: torch.device, dtype: torch.dtype, allow_code: bool
) -> NnunetModel:
    """Return the model with all its folds, loaded.

    A GPU computes in float16, as training did, unless ``dtype`` is float32, and mirrors as training did; a processor
    computes in float32 and mirrors only where ``nnunet.mirroring`` of model.toml asks: each axis doubles the time.
    CodeRefused, WeightsMismatch, LabelsInvalid and ModelUnsuitable name the file and the key.
    """
    _require_package()
    import torch

    from workers.site_models.nnunet.prediction import Running, TilePredictor

    said = read_model_file(folder) or _undescribed()
    _require_own_keys(folder, said)
    results = find_results(folder, said.nnunet.fold_names)
    mirrored = device.type == "cuda" if said.nnunet.mirroring is None else said.nnunet.mirroring
    trained = _load(results, device, mirrored=mirrored, allow_code=allow_code)
    half = device.type == "cuda" and dtype != torch.float32
    running = Running(device, half=half, step=1 - said.input.overlap)
    axes = said.input.orientation or _trained_orientation(results)
    facts = {"folds": results.folds, "mirroring": trained.mirroring, "step": running.step, "orientation": axes}
    algorithm = Algorithm(folder.name, card.version, _digest(results), json.dumps(facts, sort_keys=True))
    return NnunetModel(card, TilePredictor(trained, running), axes, algorithm)


@dataclass(frozen=True, slots=True, eq=False)
class NnunetModel:
    """A loaded nnU-Net. ``orientation`` says where x, y and z of the arrays run that it was trained on."""

    card: SiteModelCard
    predictor: TilePredictor
    orientation: str
    algorithm: Algorithm

    @property
    def megabytes(self) -> float:
        """Memory of the network and, where there are several, of the folds' weights, in 10^6 bytes."""
        folds = self.predictor.list_of_parameters
        sets = [self.predictor.network.state_dict(), *(folds if len(folds) > 1 else ())]
        return float(sum(value.nbytes for weights in sets for value in weights.values()) / 1e6)

    def segment(self, volume: Volume, *, prompt: str | None, check: AbortCheck) -> Segmentation:
        """Return labels and the probability of lesion on the volume's own grid; nnU-Net takes no prompt."""
        del prompt
        from workers.site_models.nnunet.prediction import predict

        axes = nearest_axes(volume.geometry, self.orientation)
        labels, probability = predict(
            self.predictor,
            np.ascontiguousarray(axes.turn(volume.voxels)),
            axes.pick(volume.geometry.spacing_mm),
            lesions={entry.value for entry in self.card.labels if entry.role is LabelRole.LESION},
            check=check,
        )
        return conclude(
            volume,
            np.ascontiguousarray(axes.turn_back(labels)),
            np.ascontiguousarray(axes.turn_back(probability)),
            table=self.card.labels,
            algorithm=self.algorithm,
        )


def _load(results: ResultFolder, device: torch.device, *, mirrored: bool, allow_code: bool) -> Trained:
    from workers.site_models.nnunet import network as nnunet_network
    from workers.site_models.nnunet.checkpoint import read_fold
    from workers.site_models.nnunet.prediction import Trained, quiet

    with quiet():
        folds = {fold: read_fold(results.checkpoint(fold), allow_code=allow_code) for fold in results.folds}
        first = _require_same(folds)
        plans, configuration = nnunet_network.configuration_of(results.plans, first.configuration)
        nnunet_network.require_known_parts(plans, configuration, allow_code=allow_code)
        dataset: dict[str, Any] = dict(results.dataset)
        heads = nnunet_network.outputs_of(plans, dataset)
        network = nnunet_network.build_network(configuration, heads=heads)
        for fold, checkpoint in reversed(folds.items()):
            place = f"{fold}/{results.checkpoint(fold).name}"
            nnunet_network.fill(network, checkpoint, place=place, heads=heads)
    network.to(device).eval()
    single = len(folds) == 1  # then the network's own tensors do, and no copy is kept
    weights = [network.state_dict()] if single else [fold.weights for fold in folds.values()]
    return Trained(plans, configuration, dataset, network, weights, first.mirroring if mirrored else ())


def _require_same(folds: dict[str, FoldCheckpoint]) -> FoldCheckpoint:
    first, *others = folds.items()
    for fold, checkpoint in others:
        if checkpoint.configuration != first[1].configuration:
            raise WeightsMismatch(
                f"{fold} is of configuration {checkpoint.configuration}, {first[0]} of {first[1].configuration}: "
                "one of them was copied from elsewhere"
            )
    return first[1]


def _trained_orientation(results: ResultFolder) -> str:
    reader = results.plans.get("image_reader_writer")
    made = str(results.plans.get("dataset_name", ""))
    canonical = reader in _CANONICAL_READERS or any(maker in made for maker in _CANONICAL_MAKERS)
    return CANONICAL if canonical else DEFAULT_ORIENTATION


def _require_package() -> None:
    if find_spec(PACKAGE) is None:
        raise ModelUnsuitable("nnU-Net is not installed here: install oncue with its nnunet extra")


def _require_own_keys(folder: Path, said: ModelDescription) -> None:
    """Refuse what nnU-Net's own files say already, and would say otherwise: ModelUnsuitable names the key."""
    foreign = [f"input.{key}" for key in said.input.model_fields_set - _INPUT_KEYS]
    foreign += [f"output.{key}" for key in said.output.model_fields_set] + (["file"] if said.file else [])
    if foreign:
        raise ModelUnsuitable(f"{MODEL_FILE} of {folder.name}: {min(foreign)}: nnU-Net's plans say this, leave it out")
    if said.input.orientation is not None and not is_orientation(said.input.orientation):
        raise ModelUnsuitable(f"{MODEL_FILE} of {folder.name}: input.orientation names an axis twice")


def _digest(results: ResultFolder) -> str:
    digests = "".join(f"{digest(results.checkpoint(fold))}  {fold}\n" for fold in results.folds)
    return hashlib.sha256(digests.encode()).hexdigest()


def _text(results: ResultFolder, *keys: str) -> str:
    found: Sequence[object] = [results.dataset.get(key) for key in keys]
    return next((str(value)[:64] for value in found if value), UNKNOWN)


def _undescribed() -> ModelDescription:
    return ModelDescription(format=1)
