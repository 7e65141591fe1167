"""What pyproject.toml says of the project: its packages, and the libraries that an installation brings."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

LABORATORY = "lab"
_ROOT = Path(__file__).resolve().parent.parent.parent


def project() -> Mapping[str, Any]:
    """Return pyproject.toml."""
    return tomllib.loads((_ROOT / "pyproject.toml").read_text())


def product_packages() -> tuple[str, ...]:
    """Return every package of the repository except the laboratory."""
    packages: list[str] = project()["tool"]["importlinter"]["root_packages"]
    return tuple(package for package in packages if package != LABORATORY)


def modules_of(package: str) -> tuple[str, ...]:
    """Return the dotted names of a package and of every module below it."""
    files = sorted((_ROOT / package).rglob("*.py"))
    parts = [file.relative_to(_ROOT).with_suffix("").parts for file in files]
    return tuple(".".join(part for part in names if part != "__init__") for names in parts)


def pins() -> dict[str, str]:
    """Return the version of each distribution in constraints.txt, by normalised name."""
    lines = (_ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {normalised(name): version for name, version in pairs}


def requirements(*extras: str) -> tuple[Requirement, ...]:
    """Return what the project asks for, and what these extras of it ask for besides."""
    optional: Mapping[str, list[str]] = project()["project"]["optional-dependencies"]
    texts = [*project()["project"]["dependencies"], *(text for extra in extras for text in optional[extra])]
    return tuple(Requirement(text) for text in texts)


def libraries(*extras: str) -> frozenset[str]:
    """Return the importable names that an installation with these extras brings, directly or not."""
    distributions = _closure(requirements(*extras))
    owners = importlib.metadata.packages_distributions()
    return frozenset(
        module
        for module, names in owners.items()
        if not module.startswith("_") and {normalised(name) for name in names} & distributions
    )


def normalised(name: str) -> str:
    """Return a distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _closure(wanted: Iterable[Requirement]) -> set[str]:
    """Return the installed distributions that these need; one that is not installed ends its branch."""
    found: set[tuple[str, str]] = set()
    waiting = [(normalised(one.name), extra) for one in wanted for extra in ("", *one.extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found or not _is_installed(name):
            continue
        found.add((name, extra))
        for one in map(Requirement, importlib.metadata.requires(name) or ()):
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                waiting += [(normalised(one.name), further) for further in ("", *one.extras)]
    return {name for name, _ in found}


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
