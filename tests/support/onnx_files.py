"""ONNX files of one operator, sound and odd, with their ``model.toml``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MODEL_TOML = """\
format = 1
kind = "onnx"
file = "model.onnx"
[input]
patch = [8, 8, 8]
[output]
activation = "sigmoid"
[[labels]]
value = 1
name = "tumour"
"""
ANY = ("n", 1, "z", "y", "x")


def scaling(channels: int = 1, *, inputs: int = 1, dimensions: int = 3) -> Any:
    """Return the operator that multiplies each channel's copy of the image by 10 and takes 5 off."""
    shape = (channels, inputs, *(1,) * dimensions)
    weights = numpy_helper.from_array(np.full(shape, 10, np.float32), "weights")
    offset = numpy_helper.from_array(np.full(channels, -5, np.float32), "offset")
    node = helper.make_node("Conv", ["image", "weights", "offset"], ["logits"])
    return helper.make_graph([node], "network", [], [], initializer=[weights, offset])


def write_onnx(
    folder: Path,
    graph: Any | None = None,
    *,
    image: Sequence[int | str] = ANY,
    number: int = TensorProto.FLOAT,
    described: str = MODEL_TOML,
) -> Path:
    """Write a folder with a network of one image and one output, and return it."""
    graph = graph or scaling(dimensions=len(image) - 2)
    graph.input.append(helper.make_tensor_value_info("image", number, image))
    graph.output.append(helper.make_tensor_value_info("logits", number, None))
    imports = {domain: helper.make_opsetid(domain, 1) for domain in {node.domain for node in graph.node} - {""}}
    opsets = [helper.make_opsetid("", 18), *imports.values()]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=9), folder, described)
    return folder


def save(model: Any, folder: Path, described: str = MODEL_TOML, **options: Any) -> None:
    """Write a model and its ``model.toml``; ``options`` are those of ``onnx.save``."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx", **options)
    (folder / "model.toml").write_text(described)
