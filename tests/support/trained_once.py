"""Models that tests train: once for all processes of a run, and anew only where what they are trained by changed.

A training is decided by its seed, so what one run made serves the next one. It lies in ``.pytest_cache``, or where
``ONCUE_TEST_TRAINED`` says, under the digest of the sources and the libraries that made it.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.metadata
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from tests.support.product import product_packages

Training = Callable[[Path], object]
"""Writes a model into an empty folder and trains it there."""

_ROOT = Path(__file__).resolve().parent.parent.parent
_KEPT = "ONCUE_TEST_TRAINED"
_LIBRARIES = ("torch", "numpy", "scipy", "diffusers", "transformers", "monai", "nnunetv2", "onnx", "onnxscript")


def trained_once(factory: pytest.TempPathFactory, name: str, train: Training) -> Path:
    """Return the folder of a model of this test run: whichever process comes first makes it, the others wait."""
    root = run_folder(factory)
    folder = root / name
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=root) as unfinished:
                made = Path(unfinished) / "made"
                _make(made, _kept(name, train), train)
                made.rename(folder)
    return folder


def run_folder(factory: pytest.TempPathFactory) -> Path:
    """Return the temporary folder that all processes of a test run share."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def _make(folder: Path, kept: Path, train: Training) -> None:
    """Copy what an earlier run kept, or train and keep it."""
    if kept.is_dir():
        shutil.copytree(kept, folder)
        return
    folder.mkdir()
    with _on_one_thread():
        train(folder)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as unfinished:
        copy = shutil.copytree(folder, Path(unfinished) / "copy")
        with contextlib.suppress(OSError):  # another run was here first
            copy.rename(kept)


def _kept(name: str, train: Training) -> Path:
    folder = Path(os.environ.get(_KEPT) or _ROOT / ".pytest_cache" / "trained")
    return folder / f"{name}-{_digest(train)[:16]}"


def _digest(train: Training) -> str:
    """Return a digest of every module of ours that a training imports, directly or not, and of its libraries."""
    made_by = hashlib.sha256(f"{train.__module__}.{train.__qualname__} on {platform.machine()}".encode())
    made_by.update(torch.backends.cpu.get_cpu_capability().encode())
    for library in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            made_by.update(f"{library} {importlib.metadata.version(library)}".encode())
    for source in sorted(sources(train.__module__)):
        made_by.update(f"{source.relative_to(_ROOT)}\n".encode() + source.read_bytes())
    return made_by.hexdigest()


def sources(module: str) -> set[Path]:
    """Return the files of a module and of every module of ours that it imports, directly or not."""
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        source = _source(waiting.pop())
        if source is not None and source not in found:
            found.add(source)
            waiting += _imported(source)
    return found


def _source(module: str) -> Path | None:
    path = _ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def _imported(source: Path) -> tuple[str, ...]:
    """Return the names of modules of ours that a file imports anywhere; some of the names may be no modules."""
    packages = {*product_packages(), "lab", "tests"}
    names = _names(ast.parse(source.read_bytes()))
    return tuple(name for name in names if name.partition(".")[0] in packages)


def _names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@contextlib.contextmanager
def _on_one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
