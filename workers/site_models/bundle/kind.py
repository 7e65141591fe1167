"""MONAI bundles as a kind of site model: the configuration, weights and transforms of a folder.

Of the configuration four sections are read: network, preprocessing, inferer and postprocessing. Where none of them
needs code, nothing of the bundle is evaluated.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from storage.domain import Algorithm
from workers.errors import CodeRefused, LabelsInvalid, ModelUnsuitable, WeightsMismatch
from workers.site_models.bundle import weights as bundle_weights
from workers.site_models.bundle.config import Component, Expression
from workers.site_models.bundle.metadata import METADATA, BundleMetadata, read_metadata
from workers.site_models.bundle.open_bundle import OpenBundle
from workers.site_models.bundle.reading import Postprocessing, read_postprocessing
from workers.site_models.bundle.sections import BundleSections, config_path, read_sections
from workers.site_models.bundle.targets import build
from workers.site_models.card import UNKNOWN, Limits, SiteModelCard, SiteModelKind
from workers.site_models.label_codes import code_labels

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from workers.site_models.model_file import ModelDescription

FOUNDATION_CARD = "backbone.json"
PRED = "pred"
IN_2D = "SliceInferer"
DIMS = 3


class Maker(Protocol):
    """Makes what a part of a configuration stands for."""

    def __call__(self, part: Component | Expression) -> Any:
        """Return it; ModelUnsuitable where it cannot be made."""
        ...


def recognises(folder: Path) -> bool:
    """Say whether a folder has a bundle's metadata, configuration for inference, and weights."""
    if (folder / FOUNDATION_CARD).is_file():
        return False
    return (
        (folder / METADATA).is_file()
        and config_path(folder) is not None
        and bundle_weights.weights_path(folder) is not None
    )


@dataclass(frozen=True, slots=True)
class BundleParts:
    """A bundle as it was read, before anything of it is made; ``code`` names what of it would run code."""

    folder: Path
    metadata: BundleMetadata
    weights: Path
    sections: BundleSections
    said: Postprocessing
    code: tuple[str, ...]


def read_card(folder: Path, described: ModelDescription | None) -> SiteModelCard:
    """Return the card that the metadata give, with what ``model.toml`` adds; MONAI is not needed for it.

    ``runs_code`` names only what a prediction would have to run. ModelUnsuitable or LabelsInvalid name the key or the
    label that is missing or wrong.
    """
    parts = _read(folder)
    metadata = parts.metadata
    return SiteModelCard(
        kind=SiteModelKind.MONAI_BUNDLE,
        version=described.version if described and described.version != UNKNOWN else metadata.version,
        licence=described.licence if described and described.licence != UNKNOWN else metadata.licence,
        modalities=described.modalities if described and described.modalities else metadata.modalities,
        labels=code_labels(metadata.names, described.labels if described else ()),
        limits=described.limits.limits() if described else Limits(),
        runs_code=parts.code,
    )


def _read(folder: Path) -> BundleParts:
    metadata, weights = read_metadata(folder), bundle_weights.require_weights(folder)
    sections = read_sections(folder, scripted=weights.suffix == bundle_weights.SCRIPT)
    _require_agreement(metadata, sections)
    said = read_postprocessing(sections, offset=metadata.offset)
    pickled = bundle_weights.runs_code(weights)
    return BundleParts(folder, metadata, weights, sections, said, (*((pickled,) if pickled else ()), *sections.code))


def _require_agreement(metadata: BundleMetadata, sections: BundleSections) -> None:
    """Refuse a network that takes or gives something else than the metadata say, where its definition tells."""
    by_slice = isinstance(sections.inferer, Component) and sections.inferer.target.endswith(IN_2D)
    if metadata.dims not in (None, DIMS) and not by_slice:
        raise ModelUnsuitable(f"{METADATA}: spatial_shape has {metadata.dims} axes, and inferer is no {IN_2D}")
    arguments = sections.network.arguments if isinstance(sections.network, Component) else {}
    taken, drawn = arguments.get("in_channels"), arguments.get("out_channels")
    if isinstance(taken, int) and taken != 1:
        raise ModelUnsuitable(f"{sections.config.path}: network_def takes {taken} channels, oncue gives it one series")
    label = max(metadata.names, default=0)
    if isinstance(drawn, int) and label - metadata.offset >= drawn:
        raise LabelsInvalid(f"{METADATA}: label {label} of channel_def lies beyond the network's {drawn} channels")


def open_model(
    folder: Path, card: SiteModelCard, *, device: torch.device, dtype: torch.dtype, allow_code: bool
) -> OpenBundle:
    """Return the model, loaded.

    ModelUnsuitable without MONAI or where a part cannot be made, CodeRefused where code is needed and not allowed,
    WeightsMismatch where the weights do not fit the network.
    """
    if find_spec("monai") is None:
        raise ModelUnsuitable(f"{folder.name} needs MONAI: install oncue with its monai extra")
    parts = _read(folder)
    if parts.code and not allow_code:
        raise CodeRefused(
            f"{folder.name} runs code of its own ({parts.code[0]}): "
            "where it is trusted, set allow_code = true under [worker] of the site's oncue.toml"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI tells developers of defaults that changed
        return _opened(parts, card, device=device, dtype=dtype)


def _opened(parts: BundleParts, card: SiteModelCard, *, device: torch.device, dtype: torch.dtype) -> OpenBundle:
    """Return the bundle with every part made, whatever it runs."""
    sections, said, make = parts.sections, parts.said, _maker(parts, device)
    return OpenBundle(
        network=_network(parts, make, device),
        preprocessing=_made(sections.preprocessing.steps, make),
        inferer=make(sections.inferer),
        reading=said.reading,
        after=_made(said.after, make),
        input_key=sections.preprocessing.key(parts.metadata.input_name),
        output_key=sections.postprocessing.key(PRED),
        table=card.labels,
        algorithm=_algorithm(parts, card),
        device=device,
        dtype=dtype,
    )


def _maker(parts: BundleParts, device: torch.device) -> Maker:
    if not parts.sections.code:
        return partial(_make, path=parts.sections.config.path)
    from workers.site_models.bundle.code import BundleCode

    return BundleCode(parts.sections.config, parts.folder, device=device).make


def _made(steps: Iterable[Component | Expression], make: Maker) -> tuple[Any, ...]:
    """Return transforms, but for those that switch themselves off."""
    return tuple(made for made in map(make, steps) if made is not None)


def _make(part: Component | Expression, *, path: str) -> Any:
    try:
        return build(part)
    except (TypeError, ValueError, AttributeError, RuntimeError, KeyError, ImportError) as error:
        raise ModelUnsuitable(f"{path}: {part.key} cannot be made: {error}") from error


def _network(parts: BundleParts, make: Maker, device: torch.device) -> torch.nn.Module:
    import torch

    wanted, name = parts.sections.network, parts.weights.name
    if wanted is None:
        script: Any = torch.jit  # its functions carry no types
        try:
            program: torch.nn.Module = script.load(str(parts.weights), map_location=device)
        except (RuntimeError, ValueError) as error:
            raise WeightsMismatch(f"models/{name} is no TorchScript program, or broken: restore the file") from error
        return program.eval()
    network = make(wanted)
    if not isinstance(network, torch.nn.Module):
        raise ModelUnsuitable(f"{parts.sections.config.path}: {wanted.key} is no network")
    bundle_weights.fill(network, parts.weights, allow_code=bool(parts.code))
    return network.to(device).eval().requires_grad_(requires_grad=False)


def _algorithm(parts: BundleParts, card: SiteModelCard) -> Algorithm:
    from workers.weights import digest

    inferer = parts.sections.inferer
    parameters = {
        "activation": "softmax" if parts.said.reading.softmax else "sigmoid",
        "inferer": inferer.target if isinstance(inferer, Component) else inferer.text,
        "kind": card.kind.value,
        "threshold": parts.said.reading.threshold,
    }
    text = json.dumps(parameters, sort_keys=True)
    return Algorithm(parts.folder.name, card.version, digest(parts.weights), text)
