"""MONAI bundles as a kind of site model: the configuration, weights and transforms of a folder.

Of the configuration four sections are read: network, preprocessing, inferer and postprocessing. Where none of them
needs code, nothing of the bundle is evaluated.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from storage.domain import Algorithm
from workers.errors import CodeRefused, LabelsInvalid, ModelUnsuitable, WeightsMismatch
from workers.site_models import bundle_weights
from workers.site_models.bundle_config import Component, Expression
from workers.site_models.bundle_metadata import METADATA, BundleMetadata, read_metadata
from workers.site_models.bundle_reading import Postprocessing, read_postprocessing
from workers.site_models.bundle_sections import BundleSections, config_path, read_sections
from workers.site_models.bundle_targets import build
from workers.site_models.card import UNKNOWN, Limits, SiteModelCard, SiteModelKind
from workers.site_models.label_codes import code_labels
from workers.site_models.open_bundle import OpenBundle

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


def read_card(folder: Path, described: ModelDescription | None) -> SiteModelCard:
    """Return the card that the metadata give, with what ``model.toml`` adds; MONAI is not needed for it.

    ``runs_code`` names only what a prediction would have to run. ModelUnsuitable or LabelsInvalid name the key or the
    label that is missing or wrong.
    """
    metadata, weights = read_metadata(folder), bundle_weights.require_weights(folder)
    sections = _sections(folder, metadata, weights)
    read_postprocessing(sections, offset=metadata.offset)
    pickled = bundle_weights.runs_code(weights)
    return SiteModelCard(
        kind=SiteModelKind.MONAI_BUNDLE,
        version=described.version if described and described.version != UNKNOWN else metadata.version,
        licence=described.licence if described and described.licence != UNKNOWN else metadata.licence,
        modalities=described.modalities if described and described.modalities else metadata.modalities,
        labels=code_labels(metadata.names, described.labels if described else ()),
        limits=described.limits.limits() if described else Limits(),
        runs_code=(*((pickled,) if pickled else ()), *sections.code),
    )


def _sections(folder: Path, metadata: BundleMetadata, weights: Path) -> BundleSections:
    """Return the sections after a look at what can be told without making anything."""
    sections = read_sections(folder, scripted=weights.suffix == bundle_weights.SCRIPT)
    by_slice = isinstance(sections.inferer, Component) and sections.inferer.target.endswith(IN_2D)
    if metadata.dims is not None and metadata.dims != DIMS and not by_slice:
        raise ModelUnsuitable(f"{METADATA}: spatial_shape has {metadata.dims} axes, and inferer is no {IN_2D}")
    arguments = sections.network.arguments if isinstance(sections.network, Component) else {}
    if arguments.get("in_channels", 1) not in (1, None) and not isinstance(arguments["in_channels"], Expression):
        raise ModelUnsuitable(f"{sections.config.path}: network_def takes {arguments['in_channels']} channels, not one")
    channels = arguments.get("out_channels")
    if isinstance(channels, int) and metadata.names and max(metadata.names) - metadata.offset >= channels:
        label = max(metadata.names)
        raise LabelsInvalid(f"{METADATA}: label {label} of channel_def lies beyond the network's {channels} channels")
    return sections


def open_model(
    folder: Path, card: SiteModelCard, *, device: torch.device, dtype: torch.dtype, allow_code: bool
) -> OpenBundle:
    """Return the model, loaded.

    ModelUnsuitable without MONAI or where a part cannot be made, CodeRefused where code is needed and not allowed,
    WeightsMismatch where the weights do not fit the network.
    """
    if find_spec("monai") is None:
        raise ModelUnsuitable(f"{folder.name} needs MONAI: install oncue with its monai extra")
    metadata, weights = read_metadata(folder), bundle_weights.require_weights(folder)
    sections = _sections(folder, metadata, weights)
    pickled = bundle_weights.runs_code(weights)
    needed = (*((pickled,) if pickled else ()), *sections.code)
    if needed and not allow_code:
        raise CodeRefused(
            f"{folder.name} runs code of its own ({needed[0]}): "
            "where it is trusted, set allow_code = true under [worker] of the site's oncue.toml"
        )
    make, said = _maker(sections, folder, device), read_postprocessing(sections, offset=metadata.offset)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI tells developers of defaults that changed
        return OpenBundle(
            network=_network(sections, weights, make, device=device, allow_code=allow_code),
            preprocessing=_made(sections.preprocessing.steps, make),
            inferer=make(sections.inferer),
            reading=said.reading,
            after=_made(said.after, make),
            input_key=sections.preprocessing.key(metadata.input_name),
            output_key=sections.postprocessing.key(PRED),
            table=card.labels,
            algorithm=_algorithm(folder, card, weights, sections, said),
            device=device,
            dtype=dtype,
        )


def _maker(sections: BundleSections, folder: Path, device: torch.device) -> Maker:
    if not sections.code:
        return partial(_make, path=sections.config.path)
    from workers.site_models.bundle_code import BundleCode

    return BundleCode(sections.config, folder, device=device).make


def _made(steps: Iterable[Component | Expression], make: Maker) -> tuple[Any, ...]:
    """Return transforms, but for those that switch themselves off."""
    return tuple(made for made in map(make, steps) if made is not None)


def _make(part: Component | Expression, *, path: str) -> Any:
    try:
        return build(part)
    except (TypeError, ValueError, AttributeError, RuntimeError, KeyError, ImportError) as error:
        raise ModelUnsuitable(f"{path}: {part.key} cannot be made: {error}") from error


def _network(
    sections: BundleSections, weights: Path, make: Maker, *, device: torch.device, allow_code: bool
) -> torch.nn.Module:
    import torch

    if sections.network is None:
        script: Any = torch.jit  # its functions carry no types
        try:
            program: torch.nn.Module = script.load(str(weights), map_location=device)
        except (RuntimeError, ValueError) as error:
            raise WeightsMismatch(f"models/{weights.name} is no TorchScript program, or broken") from error
        return program.eval()
    network = make(sections.network)
    if not isinstance(network, torch.nn.Module):
        raise ModelUnsuitable(f"{sections.config.path}: {sections.network.key} is no network")
    bundle_weights.fill(network, weights, allow_code=allow_code)
    return network.to(device).eval().requires_grad_(requires_grad=False)


def _algorithm(
    folder: Path, card: SiteModelCard, weights: Path, sections: BundleSections, said: Postprocessing
) -> Algorithm:
    from workers.weights import digest

    inferer = sections.inferer.target if isinstance(sections.inferer, Component) else sections.inferer.text
    parameters = {
        "activation": "softmax" if said.reading.softmax else "sigmoid",
        "inferer": inferer,
        "kind": card.kind.value,
        "threshold": said.reading.threshold,
    }
    return Algorithm(folder.name, card.version, digest(weights), json.dumps(parameters, sort_keys=True))
