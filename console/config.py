"""Settings of the console, and how every setting is read: flag over environment over file over default."""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings.exceptions import SettingsError

from console.moved_settings import PEERS, read_variable, refuse_moved
from dicom_gateway.config import GatewaySettings
from storage.config import AuditSettings, StorageSettings
from storage.domain import Lane
from storage.errors import ConfigurationError
from storage.retention.rules import RetentionSettings
from workers.config import WorkerSettings

PREFIX = "ONCUE_"
OTHER_VARIABLES = frozenset({"ONCUE_STATE", "ONCUE_CONFIG", "ONCUE_REQUIRE_PEERS"})
TEST_PREFIX = "ONCUE_TEST_"
"""Variables that only the tests read: ONCUE_TEST_DATA and its like."""
FILE_NAME = "oncue.toml"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

Layer = Mapping[str, Mapping[str, Any]]


class ConsoleSettings(BaseModel):
    """Where the pages and the HTTP API listen, and for whom."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="Address that the HTTP server binds to")
    port: int = Field(default=8104, ge=0, le=65535, description="Port of the HTTP server")
    allow_remote: bool = Field(
        default=False,
        description="Bind to other addresses than loopback. Tokens travel as they are: put a proxy with TLS in front",
    )
    read_with_token: bool = Field(
        default=False,
        description="Ask for a token for reading on loopback, too. On other addresses it is always asked for",
    )
    session_hours: float = Field(
        default=12, gt=0, le=24 * 31, description="Hours after which a browser has to sign in anew"
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=("127.0.0.1", "localhost", "[::1]"),
        description="Names that a browser may ask for in the Host header; anything else is refused (DNS rebinding)",
    )
    worklist_hours: float = Field(
        default=0,
        ge=0,
        description="Hours after its last image at which a study leaves the worklist unread; 0 is never",
    )

    unopened_minutes: float = Field(
        default=30,
        gt=0,
        description="Minutes after which `oncue doctor` names STAT studies that nobody has opened",
    )

    stored_lane: Lane = Field(
        default=Lane.ROUTINE, description="Lane of studies that are stored by STOW-RS: stat, routine or batch"
    )
    stored_megabytes: int = Field(
        default=16_384, ge=1, description="Largest request of STOW-RS; each instance is bound by the gateway's setting"
    )

    @property
    def is_on_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in _LOOPBACK

    @property
    def asks_readers(self) -> bool:
        """Whether reading needs a token, too."""
        return self.read_with_token or not self.is_on_loopback


class Settings(BaseSettings):
    """Every setting of oncue, one section per package."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="_", env_nested_max_split=1
    )

    storage: StorageSettings = Field(default_factory=StorageSettings)
    audit: AuditSettings = Field(default_factory=AuditSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    gateway: GatewaySettings = Field(default_factory=GatewaySettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    console: ConsoleSettings = Field(default_factory=ConsoleSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the constructor alone: ``read`` merges the layers, so that it knows each one's part."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


class SettingOrigin(StrEnum):
    """Which layer a value came from."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class EffectiveSetting:
    """One setting as it stands; ``value`` is text fit to be shown, with secrets masked."""

    key: str
    value: str
    origin: SettingOrigin
    description: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, the file that they were looked for in, and where each one came from."""

    settings: Settings
    file: Path
    origins: Mapping[str, SettingOrigin]

    def effective(self) -> tuple[EffectiveSetting, ...]:
        """Return every setting with its masked value and its origin."""
        return tuple(
            EffectiveSetting(
                key, _shown(self.settings, key), self.origins.get(key, SettingOrigin.DEFAULT), field.description or ""
            )
            for key, field in known_keys().items()
        )


def read(state: Path, *, file: Path | None = None, flags: Layer | None = None) -> Configuration:
    """Read all layers and merge them; ConfigurationError names the key, where it stands and what is wrong with it."""
    path = file or state / FILE_NAME
    if file is not None and not file.is_file():
        raise ConfigurationError(f"there is no configuration file {file}")
    layers: list[tuple[SettingOrigin, Layer]] = [
        (SettingOrigin.FILE, _file_layer(path)),
        (SettingOrigin.ENVIRONMENT, _environment_layer()),
        (SettingOrigin.FLAG, flags or {}),
    ]
    merged: dict[str, dict[str, Any]] = {}
    origins: dict[str, SettingOrigin] = {}
    for origin, layer in layers:
        for section, values in layer.items():
            merged.setdefault(section, {}).update(values)
            origins.update({f"{section}.{key}": origin for key in values})
    return Configuration(_validated(merged, origins), path, origins)


def known_keys() -> dict[str, FieldInfo]:
    """Return every key as ``section.key`` with its field."""
    return {
        f"{section}.{key}": field
        for section, model in Settings.model_fields.items()
        if isinstance(model.annotation, type) and issubclass(model.annotation, BaseModel)
        for key, field in model.annotation.model_fields.items()
    }


def variable(key: str) -> str:
    """Return the environment variable of a ``section.key``."""
    return PREFIX + key.replace(".", "_", 1).upper()


def as_variables(flags: Layer) -> dict[str, str]:
    """Write a layer as environment variables, for child processes."""
    return {
        variable(f"{section}.{key}"): json.dumps(value) if isinstance(value, list | tuple | dict) else str(value)
        for section, values in flags.items()
        for key, value in values.items()
    }


class _Environment(EnvSettingsSource):
    """Environment variables, where a list may be written with commas as well as in JSON."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        if isinstance(value, str) and not value.lstrip().startswith(("[", "{")):
            return [part.strip() for part in value.split(",") if part.strip()]
        return super().decode_complex_value(field_name, field, value)


def _environment_layer() -> Layer:
    _refuse_moved_variables()
    names = {variable(key): key for key in known_keys()}
    present = {name for name in map(str.upper, os.environ) if name.startswith(PREFIX)}
    present = {name for name in present if not name.startswith(TEST_PREFIX)}
    unknown = min(present - names.keys() - OTHER_VARIABLES, default=None)
    if unknown is not None:
        raise ConfigurationError(f"unknown variable {unknown}{_nearest(unknown, [*names, *OTHER_VARIABLES])}")
    try:
        return dict(_Environment(Settings)())
    except SettingsError as error:
        raise ConfigurationError(f"an {PREFIX}* variable cannot be read: {error}") from error


def _refuse_moved_variables() -> None:
    moved = {key: variable(f"gateway.{key}") for key in PEERS}
    held = {key: read_variable(os.environ[name]) for key, name in moved.items() if name in os.environ}
    refuse_moved(held, where=" and ".join(moved[key] for key in held))


def _file_layer(path: Path) -> Layer:
    try:
        values = TomlConfigSettingsSource(Settings, toml_file=path)()
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    gateway = values.get("gateway")
    refuse_moved(gateway if isinstance(gateway, Mapping) else {}, where=str(path))
    known = known_keys()
    unknown = next((key for key in _keys_of(values) if key not in known), None)
    if unknown is not None:
        near = _nearest(unknown, [*Settings.model_fields, *known])
        raise ConfigurationError(f"unknown key {unknown} in {path}{near}")
    return values


def _keys_of(values: Mapping[str, Any]) -> Iterator[str]:
    """Name the keys of a file as ``section.key``; what stands outside a section comes out as it is."""
    for section, content in values.items():
        if isinstance(content, Mapping) and section in Settings.model_fields:
            yield from (f"{section}.{key}" for key in content)
        else:
            yield section


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else "; `oncue config` lists the known ones"


def _validated(merged: Layer, origins: Mapping[str, SettingOrigin]) -> Settings:
    try:
        return Settings.model_validate({section: dict(values) for section, values in merged.items()})
    except ValidationError as error:
        # The library's own text quotes the value, which may be a secret: only its message is passed on.
        problems = [_problem(item["loc"], item["msg"], origins) for item in error.errors(include_input=False)]
        raise ConfigurationError("; ".join(problems)) from None


def _problem(location: tuple[int | str, ...], message: str, origins: Mapping[str, SettingOrigin]) -> str:
    message = message.removeprefix("Value error, ")
    key = ".".join(str(part) for part in location[:2])
    if "." not in key:
        return message  # of several settings of a section together: it names them itself
    within = "".join(f", {part + 1 if isinstance(part, int) else part}" for part in location[2:4])
    return f"{key} ({origins.get(key, SettingOrigin.DEFAULT)}{within}): {message}"


def _shown(settings: Settings, key: str) -> str:
    section, _, name = key.partition(".")
    value = getattr(getattr(settings, section), name)
    if isinstance(value, tuple | list):
        return ", ".join(str(part) for part in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={part}" for name, part in value.items())
    return "" if value is None else str(value)
