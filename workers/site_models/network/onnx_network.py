"""ONNX files, run by onnxruntime (extra ``onnx``): standard operators only, so nothing of the model's is code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy import float32

from workers.errors import ModelUnsuitable, WeightsMismatch
from workers.site_models.card import SiteModelCard, SiteModelKind
from workers.site_models.model_file import MODEL_FILE, InputSection, ModelDescription, OutputSection, named_file
from workers.site_models.network.described_network import (
    Compute,
    DescribedNetwork,
    described_card,
    open_network,
    required_description,
)
from workers.site_models.network.onnx_graph import check_graph

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_NUMBERS: dict[str, type[np.floating[Any]]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
_FAILURES = (
    "EPFail",
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "NoModel",
    "NoSuchFile",
    "NotImplemented",
    "RuntimeException",
)
_OUT_OF_MEMORY = ("bad_alloc", "out of memory", "Failed to allocate memory")
_QUIET = 4
"""onnxruntime's own log: only what ends the process. What matters is raised."""


def recognises(folder: Path) -> bool:
    """Say whether a file of a folder is called as ONNX files are."""
    return any(folder.glob("*.onnx"))


def read_card(folder: Path, described: ModelDescription | None) -> SiteModelCard:
    """Return the card that ``model.toml`` gives; ModelUnsuitable where there is none or it names no file."""
    card = described_card(folder, described, kind=SiteModelKind.ONNX)
    named_file(folder, described.file if described else None)
    return card


def open_model(
    folder: Path, card: SiteModelCard, *, device: torch.device, dtype: torch.dtype, allow_code: bool
) -> DescribedNetwork:
    """Return the network in a session of onnxruntime; it computes in the number format that it was exported in.

    CodeRefused names an operator of the model's own, WeightsMismatch a file that is missing or damaged,
    ModelUnsuitable an input or output that does not fit ``model.toml``; else as ``open_network``.
    """
    del dtype, allow_code
    description = required_description(folder)
    path = named_file(folder, description.file)
    files = check_graph(path, folder)
    session = _session(path, device, name=folder.name)
    source = _input(session, description.input, name=folder.name)
    compute = _computing(session, source, _output(session, description.output, name=folder.name), name=folder.name)
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    return open_network(folder, card, description, compute=compute, megabytes=megabytes)


def _session(path: Path, device: torch.device, *, name: str) -> Any:
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _QUIET
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in runtime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    try:
        return runtime.InferenceSession(path, options, providers=providers)
    except _failures() as error:
        _let_out_of_memory_through(error)
        if type(error).__name__ == "NotImplemented":
            raise ModelUnsuitable(f"{path.name} of {name} cannot be run: {_first_line(error)}") from error
        raise WeightsMismatch(f"{path.name} of {name} cannot be loaded: {_first_line(error)}") from error


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelUnsuitable("ONNX models need onnxruntime, the extra onnx: pip install 'oncue[onnx]'") from error
    return onnxruntime


def _failures() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return tuple(getattr(state, failure) for failure in _FAILURES)


def _input(session: Any, wanted: InputSection, *, name: str) -> Any:
    """Return the session's one input, checked against what ``model.toml`` says of it."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        listed = ", ".join(entry.name for entry in inputs)
        raise ModelUnsuitable(f"{name} has the inputs {listed}: only networks of one input are run")
    source = inputs[0]
    if source.type not in _NUMBERS:
        raise ModelUnsuitable(f"input {source.name} of {name} is of {source.type}: real numbers are needed")
    asked = [1, 1, *(wanted.patch or [None] * len(wanted.axes))]
    if len(source.shape) != len(asked) or not all(map(_fits, source.shape, asked)):
        has, asks = (" x ".join(str(side or "any") for side in sides) for sides in (source.shape, asked))
        raise ModelUnsuitable(
            f"input {source.name} of {name} is {has}, which is not one image of one channel "
            f"with input.patch and input.axes of {MODEL_FILE}: {asks}"
        )
    return source


def _fits(side: int | str | None, asked: int | None) -> bool:
    """Say whether a side that the file fixes is the one that it will get; sides without a number may be any."""
    return not isinstance(side, int) or side == asked


def _output(session: Any, wanted: OutputSection, *, name: str) -> str:
    names = [entry.name for entry in session.get_outputs()]
    chosen = wanted.name or (names[wanted.index] if wanted.index < len(names) else f"number {wanted.index}")
    if chosen not in names:
        raise ModelUnsuitable(
            f"{name} has no output {chosen}, but {', '.join(names)}: correct [output] in {MODEL_FILE}"
        )
    return chosen


def _computing(session: Any, source: Any, output: str, *, name: str) -> Compute:
    failures, number = _failures(), _NUMBERS[source.type]

    def compute(patch: NDArray[float32]) -> NDArray[float32]:
        try:
            made = session.run([output], {source.name: patch.astype(number, copy=False)})[0]
        except failures as error:
            _let_out_of_memory_through(error)
            sides = " x ".join(map(str, patch.shape))
            raise ModelUnsuitable(f"{name} cannot compute an input of {sides}: {_first_line(error)}") from error
        if not isinstance(made, np.ndarray) or made.dtype.kind != "f":
            raise ModelUnsuitable(f"output {output} of {name} holds no real numbers: choose another in {MODEL_FILE}")
        return made.astype(float32, copy=False)

    return compute


def _let_out_of_memory_through(error: Exception) -> None:
    if any(words in str(error) for words in _OUT_OF_MEMORY):
        raise MemoryError("onnxruntime ran out of memory") from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
