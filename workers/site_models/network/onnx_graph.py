"""What lies in an ONNX file, read without running it: operators of its own, and weights in other files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workers.errors import CodeRefused, ModelUnsuitable, WeightsMismatch
from workers.site_models.file_digests import take_files

STANDARD_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Operators that onnxruntime itself brings; all others would need a library of the model's, which is code."""


def check_graph(path: Path, folder: Path) -> tuple[Path, ...]:
    """Return all files that hold weights of an ONNX file, itself first.

    CodeRefused names an operator that is not standard, WeightsMismatch a file that is damaged or missing,
    ModelUnsuitable one that is not among the model's own files.
    """
    model = _read(path, folder)
    defined = {(function.domain, function.name) for function in model.functions}
    bodies = [model.graph, *model.functions]
    for body in bodies:
        for node in _nodes(body):
            if node.domain not in STANDARD_DOMAINS and (node.domain, node.op_type) not in defined:
                raise CodeRefused(
                    f"{path.name} of {folder.name} uses the operator {node.domain}.{node.op_type}, which is not "
                    "standard and would need a library of its own: export it with standard operators"
                )
    places = dict.fromkeys(_external(tensor) for body in bodies for tensor in _tensors(body))
    known = {file.path for file in take_files(folder)}
    return (path, *(_weights(place, path, folder, known) for place in places if place is not None))


def _read(path: Path, folder: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError) as error:
        raise WeightsMismatch(f"{path.name} of {folder.name} is damaged, or no ONNX file: restore it") from error
    if not model.graph.node:
        raise WeightsMismatch(f"{path.name} of {folder.name} holds no network: restore it")
    return model


def _nodes(body: Any) -> Iterator[Any]:
    """Yield the nodes of a graph or function, those of its branches and loops included."""
    for node in body.node:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _nodes(graph)


def _tensors(body: Any) -> Iterator[Any]:
    """Yield every tensor that is stored with a graph or function: its weights, and constants in its nodes."""
    yield from getattr(body, "initializer", ())
    for sparse in getattr(body, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in body.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors, attribute.sparse_tensor.values)
            for graph in (attribute.g, *attribute.graphs):
                yield from _tensors(graph)


def _external(tensor: Any) -> str | None:
    """Return where a tensor's values lie, relative to its file; None where they are in it."""
    if tensor.data_location != tensor.EXTERNAL:
        return None
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _weights(place: str, path: Path, folder: Path, known: set[str]) -> Path:
    file = path.parent / place
    root = folder.resolve()
    if not place or not file.resolve().is_relative_to(root):
        raise ModelUnsuitable(f"{path.name} of {folder.name} has weights outside the folder: put them beside it")
    relative = file.resolve().relative_to(root).as_posix()
    if not file.is_file():
        raise WeightsMismatch(f"{relative} of {folder.name}, which {path.name} names, is missing: restore it")
    if relative not in known:
        raise ModelUnsuitable(f"{relative} of {folder.name} is hidden, so it would not be hashed: rename it")
    return file
