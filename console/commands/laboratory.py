"""The edge between the product and the laboratory, which an installation from the wheel does not have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from storage.errors import ConfigurationError

NEEDED = ("lab", "jinja2", "matplotlib", "sklearn")
"""Looked for before anything is loaded: reports import some of these only after hours of work."""
_PRODUCT = frozenset({"console", "dicom_gateway", "phantom", "storage", "workers"})


class LaboratoryMissing(ConfigurationError):
    """The laboratory, which trains and evaluates models, or a library that it needs is not installed."""

    code = "laboratory_missing"


@contextmanager
def laboratory() -> Iterator[None]:
    """Import parts of the laboratory inside; raises LaboratoryMissing, which says how to install what is not there.

    A missing module of the product itself is a defect, and passes through as it is.
    """
    for name in NEEDED:
        if find_spec(name) is None:
            raise _missing(name)
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "lab").partition(".")[0]
        if name in _PRODUCT:
            raise
        raise _missing(name) from error


def _missing(name: str) -> LaboratoryMissing:
    return LaboratoryMissing(
        f"{name} is not installed: training and evaluation run from a checkout of oncue, "
        "after make setup or pip install -e '.[lab]'"
    )
