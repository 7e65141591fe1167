"""The network that nnU-Net's plans describe, built from classes of known libraries, with its weights."""

from __future__ import annotations

import pydoc
from collections.abc import Mapping
from math import inf
from types import UnionType
from typing import TYPE_CHECKING, Any

import nnunetv2
from nnunetv2.preprocessing.normalization.default_normalization_schemes import ImageNormalization
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import Tensor, nn

from workers.errors import CodeRefused, LabelsInvalid, ModelUnsuitable, WeightsMismatch

if TYPE_CHECKING:
    from workers.site_models.nnunet.checkpoint import FoldCheckpoint

NETWORKS = "dynamic_network_architectures."
_UNETS = "dynamic_network_architectures.architectures.unet"
PARTS = (NETWORKS, "torch.nn.")
_HEADS = ".seg_layers."
_NEEDED = (
    (PlansManager, "transpose_forward"),
    (PlansManager, "transpose_backward"),
    (PlansManager, "foreground_intensity_properties_per_channel"),
    (ConfigurationManager, "patch_size"),
    (ConfigurationManager, "spacing"),
    (ConfigurationManager, "normalization_schemes"),
)
_RESAMPLING = "nnunetv2.preprocessing.resampling."


def configuration_of(plans: Mapping[str, Any], name: str) -> tuple[PlansManager, ConfigurationManager]:
    """Return nnU-Net's view of the plans and of one configuration; plans of its first years are brought up to date.

    ModelUnsuitable where a key is missing, or where the configuration needs what another one drew before.
    """
    manager = PlansManager(dict(plans))
    try:
        configuration = manager.get_configuration(name)
        for owner, key in _NEEDED:
            getattr(manager if owner is PlansManager else configuration, key)
    except KeyError as error:
        raise ModelUnsuitable(f"plans.json, configuration {name}: {error} is missing") from error
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise ModelUnsuitable(f"plans.json, configuration {name}: {error}") from error
    _require_grid(manager, configuration)
    if configuration.previous_stage_name is not None:
        raise ModelUnsuitable(
            f"{name} is the second stage of a cascade and needs what {configuration.previous_stage_name} draws: "
            "add a configuration that stands alone"
        )
    return manager, configuration


def require_known_parts(manager: PlansManager, configuration: ConfigurationManager, *, allow_code: bool) -> None:
    """Raise CodeRefused, naming the key of plans.json, where a part is not of nnU-Net's own or torch's own classes."""
    network = _current_name(str(_found(configuration, "network_arch_class_name")))
    if not allow_code and not (network.startswith(NETWORKS) and _is_module_class(network)):
        raise _refusal("architecture.network_class_name", configuration.network_arch_class_name)
    for key in configuration.network_arch_init_kwargs_req_import:
        name = configuration.network_arch_init_kwargs.get(key)
        if name is not None and not allow_code and not _is_module_class(name):
            raise _refusal(f"architecture.arch_kwargs.{key}", name)
    if not _is_subclass(_found(manager, "label_manager_class"), LabelManager):
        raise _unknown("label_manager", manager.plans.get("label_manager"))
    if not _is_subclass(_found(configuration, "preprocessor_class"), DefaultPreprocessor):
        raise _unknown("preprocessor_name", configuration.preprocessor_name)
    for key in ("resampling_fn_data", "resampling_fn_seg", "resampling_fn_probabilities"):
        function = getattr(_found(configuration, key), "func", None)
        if not str(getattr(function, "__module__", "")).startswith(_RESAMPLING):
            raise _unknown(key, configuration.configuration.get(key))
    for name in configuration.normalization_schemes:
        if not _is_subclass(_normalization(name), ImageNormalization):
            raise _unknown("normalization_schemes", name)


def outputs_of(manager: PlansManager, dataset: dict[str, Any]) -> int:
    """Return how many channels the network puts out; LabelsInvalid where nnU-Net refuses the table of labels."""
    try:
        return int(manager.get_label_manager(dataset).num_segmentation_heads)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise LabelsInvalid(f"dataset.json: labels: {error}") from error


def build_network(configuration: ConfigurationManager, *, heads: int) -> nn.Module:
    """Return the untrained network of a configuration: one image channel in, ``heads`` channels out."""
    name = _current_name(configuration.network_arch_class_name)
    try:
        network: nn.Module = get_network_from_plans(
            name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            1,
            heads,
            allow_init=False,
            deep_supervision=False,
        )
    except (ImportError, AttributeError, TypeError, KeyError, AssertionError) as error:
        raise ModelUnsuitable(f"plans.json: the network {name} cannot be built as described: {error}") from error
    return network


def fill(network: nn.Module, fold: FoldCheckpoint, *, place: str, heads: int) -> None:
    """Load a fold's weights.

    LabelsInvalid where the network draws another number of labels than dataset.json names, WeightsMismatch names the
    first key that the network lacks, that the file lacks, or that has another shape.
    """
    expected: Mapping[str, Tensor] = network.state_dict()
    for key in [*expected, *(key for key in fold.weights if key not in expected)]:
        held, wanted = fold.weights.get(key), expected.get(key)
        if held is None or wanted is None:
            side = "lacks" if held is None else "holds an unknown"
            raise WeightsMismatch(f"{place} {side} {key}: the weights are of another network than plans.json describes")
        if held.shape != wanted.shape and _HEADS in key:
            raise LabelsInvalid(
                f"dataset.json has labels for {heads} outputs of the network, {place} draws {len(held)}: "
                f"the table is not the one that it was trained with"
            )
        if held.shape != wanted.shape:
            shapes = f"{tuple(held.shape)} instead of {tuple(wanted.shape)}"
            raise WeightsMismatch(f"{place}: {key} has the shape {shapes}: plans.json describes another network")
    network.load_state_dict(dict(fold.weights))


def _require_grid(manager: PlansManager, configuration: ConfigurationManager) -> None:
    """Refuse sides, steps and axes that no image has, which nnU-Net would meet in the midst of a job."""
    arguments = _found(configuration, "network_arch_init_kwargs")
    flat = isinstance(arguments, dict) and str(arguments.get("conv_op")).endswith("2d")
    count = 2 if flat else 3
    patch, spacing = configuration.patch_size, configuration.spacing
    axes = (manager.transpose_forward, manager.transpose_backward)
    fits = {
        "patch_size": _are(patch, int) and len(patch) == count and min(patch) > 0,
        "spacing": _are(spacing, int | float) and len(spacing) == count and all(0 < step < inf for step in spacing),
        "transpose_forward": _are(axes[0], int) and sorted(axes[0]) == [0, 1, 2],
        "transpose_backward": _are(axes[1], int) and sorted(axes[1]) == [0, 1, 2],
        "normalization_schemes": _are(configuration.normalization_schemes, str),
    }
    wrong = next((key for key, right in fits.items() if not right), None)
    if wrong is not None:
        raise ModelUnsuitable(f"plans.json: {wrong} is not what a network of {count} axes and one image needs")


def _are(values: object, kind: type | UnionType) -> bool:
    return isinstance(values, list | tuple) and len(values) > 0 and all(isinstance(value, kind) for value in values)


def _is_module_class(name: object) -> bool:
    if not isinstance(name, str) or not name.startswith(PARTS):
        return False
    found = _located(name)
    return _is_subclass(found, nn.Module) and str(getattr(found, "__module__", "")).startswith(PARTS)


def _current_name(name: str) -> str:
    """Return where a network class lies now: its module was renamed since plans of nnU-Net's first years were made."""
    moved = f"{_UNETS}.{name.rpartition('.')[2]}"
    is_known = name.startswith(NETWORKS) and _located(name) is None and _located(moved) is not None
    return moved if is_known else name


def _located(name: str) -> object:
    try:
        return pydoc.locate(name)
    except pydoc.ErrorDuringImport as error:
        raise ModelUnsuitable(f"plans.json: {name} needs a package that is not installed: {error.value}") from error


def _is_subclass(found: object, parent: type) -> bool:
    return isinstance(found, type) and issubclass(found, parent)


def _found(owner: object, attribute: str) -> object:
    """Return what nnU-Net finds in its own package under a name of the plans; ModelUnsuitable where it fails."""
    try:
        return getattr(owner, attribute)
    except (KeyError, RuntimeError, TypeError) as error:
        raise ModelUnsuitable(f"plans.json: {attribute}: {error}") from error


def _normalization(name: str) -> object:
    folder = f"{nnunetv2.__path__[0]}/preprocessing/normalization"
    return recursive_find_python_class(folder, name, "nnunetv2.preprocessing.normalization")


def _refusal(key: str, name: object) -> CodeRefused:
    return CodeRefused(
        f"plans.json: {key} names {name}, which is none of {NETWORKS}* or torch.nn.*: where it is trusted, "
        "set allow_code = true under [worker] of the site's oncue.toml"
    )


def _unknown(key: str, name: object) -> ModelUnsuitable:
    return ModelUnsuitable(f"plans.json: {key} names {name}, which nnU-Net does not have")
