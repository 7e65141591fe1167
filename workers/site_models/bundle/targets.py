"""Which classes of MONAI and PyTorch a bundle may name: none of them runs code, reads a file or opens a connection.

Names are those of ``_target_``: bare, or with the module's path. Transforms stand without the ``d`` of the versions for
dictionaries.
"""

from __future__ import annotations

from collections.abc import Mapping

from workers.site_models.bundle.config import Component

SEGMENTERS = frozenset(
    (
        "AHNet", "AHnet", "Ahnet", "AttentionUnet", "BasicUNet", "BasicUNetPlusPlus", "BasicUnet", "BasicUnetPlusPlus",
        "BasicunetPlusPlus", "Basicunet", "DAF3D", "DynUNet", "DynUnet", "Dynunet", "FlexUNet", "FlexibleUNet",
        "HighResNet", "MedNeXt", "MedNeXtB", "MedNeXtL", "MedNeXtLarge", "MedNeXtM", "MedNeXtMedium",
        "MedNeXtS", "MedNeXtSmall", "MedNext", "MedNextB", "MedNextBase", "MedNextL", "MedNextLarge", "MedNextM",
        "MedNextMedium", "MedNextS", "MedNextSmall", "Quicknat", "SegResNet", "SegResNetDS", "SegResNetDS2",
        "SegResNetVAE", "SwinUNETR", "UNETR", "UNet", "Unet", "VNet",
    )
)  # fmt: skip # reads by its lines
"""Networks that draw labels on the grid of what they are shown."""
GENERATIVE = frozenset(
    (
        "AutoencoderKL", "AutoencoderKlMaisi", "ControlNet", "ControlNetMaisi", "DecoderOnlyTransformer",
        "DiffusionModelUNet", "DiffusionModelUNetMaisi", "SPADEAutoencoderKL", "SPADEDiffusionModelUNet", "SPADENet",
        "VQVAE",
    )
)  # fmt: skip # reads by its lines
"""Networks that draw images: foundation models, not segmenters."""
TRANSFORMS = frozenset(
    (
        "Activations", "AdjustContrast", "AsDiscrete", "BorderPad", "CastToType", "CenterSpatialCrop",
        "ClipIntensityPercentiles", "Compose", "CopyItems", "CropForeground", "DeleteItems", "DivisiblePad",
        "EnsureChannelFirst", "EnsureType", "FillHoles", "Flip", "GaussianSmooth", "HistogramNormalize", "Identity",
        "KeepLargestConnectedComponent", "LabelFilter", "MedianSmooth", "NormalizeIntensity", "Orientation",
        "RemoveSmallObjects", "Resize", "ResizeWithPadOrCrop", "Rotate90", "ScaleIntensity", "ScaleIntensityRange",
        "ScaleIntensityRangePercentiles", "SelectItems", "ShiftIntensity", "Spacing", "SpatialPad", "SqueezeDim",
        "ThresholdIntensity", "ToTensor", "Zoom",
    )
)  # fmt: skip # reads by its lines
OWN_BUSINESS = frozenset({"LoadImage", "SaveImage", "Invert", "ToDevice"})
"""Transforms that are passed over: volumes come from the PACS, and results are brought onto their grid here."""
INFERERS = frozenset({"SimpleInferer", "SliceInferer", "SlidingWindowInferer", "SlidingWindowInfererAdapt"})
LAYERS = frozenset(
    {"BatchNorm3d", "ELU", "GELU", "GroupNorm", "InstanceNorm3d", "LeakyReLU", "PReLU", "ReLU", "SiLU", "Sigmoid"}
)
ROOMS: Mapping[str, frozenset[str]] = {
    "monai.networks.nets": SEGMENTERS,
    "monai.transforms": TRANSFORMS,
    "monai.inferers": INFERERS,
    "torch.nn": LAYERS,
}


def bare_name(target: str) -> str:
    """Return the name of a class without its module."""
    return target.rpartition(".")[2]


def transform_name(target: str) -> str:
    """Return a transform's bare name without what marks the version for dictionaries."""
    name = bare_name(target)
    for ending in ("Dict", "D", "d"):
        if name.endswith(ending) and name.removesuffix(ending) in TRANSFORMS | OWN_BUSINESS:
            return name.removesuffix(ending)
    return name


def room_of(target: str) -> str | None:
    """Return the module that offers an allowed class, None for every other target."""
    name, module = bare_name(target), target.rpartition(".")[0]
    for room, names in ROOMS.items():
        plain = transform_name(target) if room == "monai.transforms" else name
        of_room = module == room or module.startswith(f"{room}.") or (not module and room != "torch.nn")
        if plain in names and of_room:
            return room
    return None


def build(value: object) -> object:
    """Return a resolved value with each component in it made; nothing outside ``ROOMS`` is ever imported."""
    from importlib import import_module

    if isinstance(value, Component):
        room = room_of(value.target)
        if room is None:
            raise TypeError(f"{value.target} is no class that may be made")
        arguments = {name: build(part) for name, part in value.arguments.items()}
        return getattr(import_module(room), bare_name(value.target))(**arguments)
    if isinstance(value, Mapping):
        return {name: build(part) for name, part in value.items()}
    return [build(part) for part in value] if isinstance(value, list) else value
