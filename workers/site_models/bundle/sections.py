"""What of a bundle's configuration a prediction needs, and which parts of that would run code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workers.errors import ModelUnsuitable
from workers.site_models.bundle.config import (
    SEPARATOR,
    TARGET,
    BundleConfig,
    Component,
    Expression,
    Resolver,
    import_keys,
    read_file,
)
from workers.site_models.bundle.targets import (
    GENERATIVE,
    OWN_BUSINESS,
    SEGMENTERS,
    room_of,
    transform_name,
)

CONFIGS = "configs"
SUFFIXES = (".json", ".yaml", ".yml")
NETWORKS = ("network_def", "network")
GENERATIVE_PARTS = ("autoencoder_def", "diffusion_unet_def", "diffusion_def", "noise_scheduler")


@dataclass(frozen=True, slots=True)
class Section:
    """One list of transforms, as they resolve."""

    steps: tuple[Component | Expression, ...]

    def key(self, default: str) -> str | None:
        """Return the dictionary key that the transforms work on, None where they are those for arrays."""
        components = [step for step in self.steps if isinstance(step, Component)]
        named = next((step.arguments["keys"] for step in components if "keys" in step.arguments), None)
        if named is None:
            return default if not components else None
        first = named[0] if isinstance(named, list) and named else named
        return first if isinstance(first, str) else default


@dataclass(frozen=True, slots=True)
class BundleSections:
    """The four sections that a prediction needs; ``network`` is None where the weights are a program (TorchScript).

    ``code`` names each key that would run code, as ``file: id``.
    """

    config: BundleConfig
    network: Component | Expression | None
    preprocessing: Section
    inferer: Component | Expression
    postprocessing: Section
    code: tuple[str, ...]


def config_path(folder: Path) -> Path | None:
    """Return the configuration for inference, None where there is none."""
    paths = (folder / CONFIGS / f"inference{suffix}" for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def read_sections(folder: Path, *, scripted: bool) -> BundleSections:
    """Return what a bundle's inference needs; ``scripted`` weights bring their own network.

    ModelUnsuitable names a section that is missing, or a network that is none for segmentation.
    """
    path = config_path(folder)
    if path is None:
        raise ModelUnsuitable(f"{folder.name} has no {CONFIGS}/inference.json, .yaml or .yml")
    name = f"{CONFIGS}/{path.name}"
    resolver = Resolver(BundleConfig(name, read_file(path, name)))
    network = None if scripted else _network(resolver)
    before, after = (_section(resolver, key) for key in ("preprocessing", "postprocessing"))
    inferer = _inferer(resolver)
    return BundleSections(resolver.config, network, before, inferer, after, tuple(_code(resolver)))


def _network(resolver: Resolver) -> Component | Expression:
    config = resolver.config
    key = next((name for name in NETWORKS if name in config.content), None)
    if key is None:
        generative = next((name for name in GENERATIVE_PARTS if name in config.content), None)
        raise _generative(config, generative) if generative else _missing(config, NETWORKS[0])
    network = resolver.resolved(key)
    if not isinstance(network, Component | Expression):
        raise ModelUnsuitable(f"{config.path}: {key} has no {TARGET}")
    if isinstance(network, Component):
        _require_segmenter(config, network)
    return network


def _require_segmenter(config: BundleConfig, network: Component) -> None:
    """Refuse what MONAI has for other work, and what it does not have; classes of other makers count as code."""
    module, _, name = network.target.rpartition(".")
    if name in GENERATIVE or module.startswith("generative"):
        raise _generative(config, network.key)
    if name not in SEGMENTERS and (not module or module.startswith("monai.networks")):
        raise ModelUnsuitable(
            f"{config.path}: {network.key} names {network.target}, which is no network of MONAI that draws labels: "
            "save it as TorchScript, or name the class with its module"
        )


def _generative(config: BundleConfig, key: str) -> ModelUnsuitable:
    return ModelUnsuitable(
        f'{config.path}: {key} draws images, not labels: add the folder with kind = "foundation" in model.toml'
    )


def _missing(config: BundleConfig, section: str) -> ModelUnsuitable:
    return ModelUnsuitable(f"{config.path} has no {section}, which inference needs")


def _inferer(resolver: Resolver) -> Component | Expression:
    if "inferer" not in resolver.config.content:
        return Component("inferer", "SimpleInferer", {})
    inferer = resolver.resolved("inferer")
    if not isinstance(inferer, Component | Expression):
        raise ModelUnsuitable(f"{resolver.config.path}: inferer has no {TARGET}")
    return inferer


def _section(resolver: Resolver, name: str) -> Section:
    if name not in resolver.config.content:
        raise _missing(resolver.config, name)
    steps: list[Component | Expression] = []
    for place in _listed(resolver.config, name):
        step = resolver.resolved(place)
        if not isinstance(step, Component | Expression):
            raise ModelUnsuitable(f"{resolver.config.path}: {place} is no transform")
        steps.append(step)
    return Section(tuple(steps))


def _listed(config: BundleConfig, key: str) -> Iterator[str]:
    """Yield the ids of the transforms that a section composes, but for those that oncue does itself."""
    place, value = config.followed(key)
    if isinstance(value, list):
        for number in range(len(value)):
            yield from _listed(config, f"{place}{SEPARATOR}{number}")
    elif isinstance(value, Mapping) and transform_name(str(value.get(TARGET))) == "Compose":
        if "transforms" in value:
            yield from _listed(config, f"{place}{SEPARATOR}transforms")
    elif not config.is_disabled(value) and not _is_own_business(value):
        yield place


def _is_own_business(value: Any) -> bool:
    return isinstance(value, Mapping) and transform_name(str(value.get(TARGET))) in OWN_BUSINESS


def _code(resolver: Resolver) -> Iterator[str]:
    """Yield the keys that would run code: expressions, classes that are not allowed, and the imports for them."""
    path = resolver.config.path
    foreign = [component.key for component in resolver.targets if room_of(component.target) is None]
    yield from (f"{path}: {key}" for key in resolver.expressions)
    yield from dict.fromkeys(f"{path}: {key}{SEPARATOR}{TARGET}" for key in foreign)
    if resolver.expressions:
        yield from (f"{path}: {key}" for key in import_keys(resolver.config))
