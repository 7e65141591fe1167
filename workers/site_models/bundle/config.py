"""A bundle's configuration as data: files read, references followed, expressions found and never evaluated.

Ids are MONAI's own, ``section::key::0``; ``@id`` refers to what another key makes, ``%id`` copies what it says, and a
text that begins with ``$`` is Python.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workers.errors import ModelUnsuitable

SEPARATOR = "::"
TARGET, DISABLED, MODE = "_target_", "_disabled_", "_mode_"
MOST_BYTES = 10_000_000
MOST_VALUES = 100_000
"""Values that references may unfold to: a bundle of a hundred labels has some thousand."""
MOST_DEPTH = 100
DEVICES = frozenset({"device", "sw_device", "pretrained"})
"""Arguments that are left out: on which device a model runs is the worker's business, and nothing is downloaded."""
NOT_ARGUMENTS = frozenset({TARGET, DISABLED, MODE, "_desc_", "_requires_"})
_REFERENCE = re.compile(r"@(\w+(?:(?:::|#)\w+)*)")


class KeyTwice(ValueError):
    """A JSON object has the same key twice; stands behind the ModelUnsuitable that ``read_file`` raises."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {key} stands twice")
        self.key = key


@dataclass(frozen=True, slots=True)
class Component:
    """A class that a configuration names, with its arguments; ``key`` is its id."""

    key: str
    target: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Expression:
    """Python text that stands where a value is wanted."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class BundleConfig:
    """One configuration file: its path in the bundle, and its content as it stands there."""

    path: str
    content: Mapping[str, Any]

    def raw(self, key: str) -> Any:
        """Return what stands under an id; ModelUnsuitable where nothing does."""
        value: Any = self.content
        for part in key.split(SEPARATOR):
            try:
                value = value[int(part)] if isinstance(value, list) else value[part]
            except (KeyError, IndexError, ValueError, TypeError) as error:
                raise ModelUnsuitable(f"{self.path} refers to {key}, which it does not define") from error
        return value

    def followed(self, key: str) -> tuple[str, Any]:
        """Return the id and the value that an id leads to when plain references are followed."""
        for _ in range(MOST_DEPTH):
            value = self.raw(key)
            if not _is_reference(value):
                return key, value
            key = self.referred(value)
        raise ModelUnsuitable(f"{self.path}: {key} refers to itself")

    def is_disabled(self, value: Any) -> bool:
        """Say whether a component is switched off, by itself or by what it refers to."""
        switch: Any = value.get(DISABLED, False) if isinstance(value, Mapping) else False
        if _is_reference(switch):
            _, switch = self.followed(self.referred(switch))
        return str(switch).strip().lower() == "true"

    def referred(self, reference: str) -> str:
        """Return the id that ``@id`` or ``%id`` names; references into other files and relative ones are refused."""
        key = reference[1:].replace("#", SEPARATOR)
        if not re.fullmatch(r"\w+(?:::\w+)*", key):
            raise ModelUnsuitable(f"{self.path} refers to {reference}: only ids of the same file are followed")
        return key


@dataclass(slots=True)
class Resolver:
    """Resolves values of one configuration, and notes every expression that it meets by its id."""

    config: BundleConfig
    expressions: dict[str, None] = field(default_factory=dict)
    targets: list[Component] = field(default_factory=list)
    left: int = MOST_VALUES

    def resolved(self, key: str) -> Any:
        """Return what stands under an id: data, with Component and Expression where MONAI would make something."""
        return self._value(self.config.raw(key), key, 0)

    def _value(self, value: Any, key: str, depth: int) -> Any:
        self.left -= 1
        if self.left < 0 or depth > MOST_DEPTH:
            raise ModelUnsuitable(f"{self.config.path}: {key} refers to itself, or unfolds without end")
        if isinstance(value, str) and value.startswith("$"):
            return self._expression(value, key, depth)
        if _is_reference(value):
            place, found = self.config.followed(self.config.referred(value))
            return self._value(found, place, depth + 1)
        if isinstance(value, list):
            return [self._value(part, f"{key}{SEPARATOR}{number}", depth + 1) for number, part in enumerate(value)]
        if isinstance(value, Mapping):
            return self._mapping(value, key, depth)
        return value

    def _mapping(self, value: Mapping[str, Any], key: str, depth: int) -> Any:
        if TARGET not in value:
            return {name: self._value(part, f"{key}{SEPARATOR}{name}", depth + 1) for name, part in value.items()}
        target = value[TARGET]
        arguments = {
            name: self._value(part, f"{key}{SEPARATOR}{name}", depth + 1)
            for name, part in value.items()
            if name not in NOT_ARGUMENTS | DEVICES
        }
        if DISABLED in value:
            self._value(value[DISABLED], f"{key}{SEPARATOR}{DISABLED}", depth + 1)
        if not isinstance(target, str) or target[:1] in ("$", "@", "%") or value.get(MODE, "default") != "default":
            self.expressions[f"{key}{SEPARATOR}{MODE if MODE in value else TARGET}"] = None
            return Expression(key, str(target))
        component = Component(key, target, arguments)
        self.targets.append(component)
        return component

    def _expression(self, value: str, key: str, depth: int) -> Expression:
        self.expressions[key] = None
        for name in _REFERENCE.findall(value):
            place, found = self.config.followed(name.replace("#", SEPARATOR))
            if place not in self.expressions:
                self._value(found, place, depth + 1)
        return Expression(key, value)


def import_keys(config: BundleConfig) -> Iterator[str]:
    """Yield the ids of import statements, which run as soon as any expression does."""
    for section in ("imports", "_imports_"):
        value = config.content.get(section)
        for number, _ in enumerate(value if isinstance(value, list) else []):
            yield f"{section}{SEPARATOR}{number}"


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and len(value) > 1 and value[0] in "@%"


def read_file(path: Path, name: str) -> dict[str, Any]:
    """Return a JSON or YAML file's object; ModelUnsuitable, naming it by ``name``, where it cannot be read."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ModelUnsuitable(f"{name} is larger than {MOST_BYTES // 10**6} MB: no configuration is")
        text = path.read_text(encoding="utf-8-sig")
        content = _yaml(text, name) if path.suffix in (".yaml", ".yml") else json.loads(text, object_pairs_hook=_once)
    except (OSError, ValueError, RecursionError) as error:
        raise ModelUnsuitable(f"{name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ModelUnsuitable(f"{name} holds no keys with values")
    return content


def _yaml(text: str, name: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ModelUnsuitable(f"{name} needs PyYAML: install oncue with its monai extra") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ModelUnsuitable(f"{name} cannot be read: {error}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise KeyTwice(key)
        found[key] = value
    return found
