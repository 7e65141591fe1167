from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from storage.domain import Segmentation
from tests.support.ct_phantoms import ct_phantom
from tests.support.onnx_files import ANY, MODEL_TOML, save, scaling, write_onnx
from workers.errors import CodeRefused, LabelsInvalid, ModelUnsuitable, UnsuitableVolume, WeightsMismatch
from workers.site_models.card import SiteModelKind
from workers.site_models.kinds import recognise
from workers.site_models.model_file import read_model_file
from workers.site_models.network.described_network import DescribedNetwork
from workers.site_models.network.onnx_network import open_model, read_card

WITHOUT_PATCH = MODEL_TOML.replace("patch = [8, 8, 8]", "multiple = 8")
TWO_LABELS = MODEL_TOML + '[[labels]]\nvalue = 2\nname = "liver"\n'


def opened(folder: Path) -> DescribedNetwork:
    return open_model(folder, recognise(folder), device=torch.device("cpu"), dtype=torch.float32, allow_code=False)


def found(folder: Path) -> Segmentation:
    """Show the network values 0 to 1 in a scan of 6 x 9 x 10 voxels."""
    volume = ct_phantom(0).volume
    values = np.linspace(0, 1, 540, dtype=np.float32).reshape(6, 9, 10)
    return opened(folder).segment(replace(volume, voxels=values), prompt=None, check=lambda: None)


@pytest.mark.parametrize("described", [MODEL_TOML, WITHOUT_PATCH])
@pytest.mark.parametrize("number", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_a_network_is_run_in_the_number_format_it_was_exported_in(tmp_path: Path, described: str, number: int) -> None:
    graph = scaling()
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(number))
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    folder = write_onnx(tmp_path / "m", graph, number=number, described=described)
    assert recognise(folder).kind is SiteModelKind.ONNX
    mask = found(folder).mask
    assert mask.ravel()[272:].all()
    assert not mask.ravel()[:267].any()


def test_a_network_of_planes_is_run_slice_by_slice(tmp_path: Path) -> None:
    described = MODEL_TOML.replace("patch = [8, 8, 8]", 'axes = "yx"\npatch = [8, 8]')
    folder = write_onnx(tmp_path / "m", image=(1, 1, 8, 8), described=described)
    mask = found(folder).mask
    assert mask.mean() == pytest.approx(0.5, abs=0.01)


def test_weights_beside_the_file_are_read_and_counted(tmp_path: Path) -> None:
    folder = write_onnx(tmp_path / "m")
    model = onnx.load(folder / "model.onnx")
    save(model, folder, save_as_external_data=True, location="model.weights", size_threshold=0)
    assert (folder / "model.weights").is_file()
    opened_model = opened(folder)
    assert opened_model.megabytes == pytest.approx(
        sum((folder / name).stat().st_size for name in ("model.onnx", "model.weights")) / 1e6
    )
    assert found(folder).mask.any()


def test_an_operator_of_the_models_own_is_refused_by_its_name(tmp_path: Path) -> None:
    graph = scaling()
    graph.node.append(helper.make_node("Blur", ["logits"], ["blurred"], domain="our.lab"))
    with pytest.raises(CodeRefused, match=r"model\.onnx of m uses the operator our\.lab\.Blur"):
        opened(write_onnx(tmp_path / "m", graph))


def test_an_operator_of_the_models_own_is_found_in_a_branch(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Blur", ["logits"], ["inner"], domain="our.lab")],
        "branch", [], [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )  # fmt: skip # reads by its lines
    graph = scaling()
    graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    graph.node.append(helper.make_node("If", ["always"], ["chosen"], then_branch=inner, else_branch=inner))
    with pytest.raises(CodeRefused, match=r"our\.lab\.Blur"):
        opened(write_onnx(tmp_path / "m", graph))


def test_a_function_that_the_file_itself_spells_out_is_no_code(tmp_path: Path) -> None:
    folder = write_onnx(tmp_path / "m")
    model = onnx.load(folder / "model.onnx")
    body = [helper.make_node("Identity", ["a"], ["b"])]
    model.functions.append(helper.make_function("our.lab", "Same", ["a"], ["b"], body, [helper.make_opsetid("", 18)]))
    model.opset_import.append(helper.make_opsetid("our.lab", 1))
    model.graph.node[0].output[0] = "before"
    model.graph.node.append(helper.make_node("Same", ["before"], ["logits"], domain="our.lab"))
    save(model, folder)
    assert found(folder).mask.any()


@pytest.mark.parametrize(
    ("location", "error", "message"),
    [
        ("../weights.bin", ModelUnsuitable, "has weights outside the folder"),
        ("/etc/hostname", ModelUnsuitable, "has weights outside the folder"),
        ("gone.bin", WeightsMismatch, r"gone\.bin of m, which model\.onnx names, is missing"),
        (".hidden.bin", ModelUnsuitable, r"\.hidden\.bin of m is hidden"),
    ],
)
def test_weights_elsewhere_are_refused(tmp_path: Path, location: str, error: type[Exception], message: str) -> None:
    folder = write_onnx(tmp_path / "m")
    (tmp_path / "weights.bin").write_bytes(bytes(4))
    (folder / ".hidden.bin").write_bytes(bytes(4))
    model = onnx.load(folder / "model.onnx")
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(error, match=message):
        opened(folder)


def test_weights_that_are_cut_off_are_refused(tmp_path: Path) -> None:
    folder = write_onnx(tmp_path / "m")
    save(onnx.load(folder / "model.onnx"), folder, save_as_external_data=True, location="w.bin", size_threshold=0)
    (folder / "w.bin").write_bytes((folder / "w.bin").read_bytes()[:2])
    with pytest.raises(WeightsMismatch, match=r"model\.onnx of m cannot be loaded"):
        opened(folder)


@pytest.mark.parametrize("content", [b"", b"no network at all", bytes(64)])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = write_onnx(tmp_path / "m")
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(WeightsMismatch, match=r"model\.onnx of m"):
        opened(folder)


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    folder = write_onnx(tmp_path / "m")
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsMismatch, match=r"model\.onnx of m"):
        opened(folder)


def test_weights_that_do_not_fit_the_network_are_refused(tmp_path: Path) -> None:
    graph = scaling()
    graph.initializer[0].dims[1] = 4
    with pytest.raises(WeightsMismatch, match=r"model\.onnx of m cannot be loaded: .*weights"):
        opened(write_onnx(tmp_path / "m", graph))


def test_a_network_that_cannot_compute_its_patch_is_named_with_the_shape(tmp_path: Path) -> None:
    with pytest.raises(ModelUnsuitable, match=r"m cannot compute an input of 1 x 1 x 8 x 8 x 8: .*channels"):
        opened(write_onnx(tmp_path / "m", scaling(inputs=4)))


def test_an_operator_that_onnxruntime_does_not_have_is_named(tmp_path: Path) -> None:
    graph = scaling()
    for tensor in graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    with pytest.raises(ModelUnsuitable, match=r"model\.onnx of m cannot be run: .*Conv"):
        opened(write_onnx(tmp_path / "m", graph, number=TensorProto.DOUBLE))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ((1, 1, 16, 8, 8), r"input image of m is 1 x 1 x 16 x 8 x 8, .* input\.patch .*: 1 x 1 x 8 x 8 x 8"),
        (("n", 4, "z", "y", "x"), r"input image of m is n x 4 x z x y x x"),
        ((2, 1, 8, 8, 8), r"input image of m is 2 x 1"),
        ((1, 1, 8, 8), r"input image of m is 1 x 1 x 8 x 8, "),
    ],
)
def test_an_input_that_does_not_fit_the_patch_is_named_with_its_shape(
    tmp_path: Path, image: tuple[int | str, ...], message: str
) -> None:
    graph = scaling(inputs=image[1] if isinstance(image[1], int) else 1, dimensions=len(image) - 2)
    with pytest.raises(ModelUnsuitable, match=message):
        opened(write_onnx(tmp_path / "m", graph, image=image))


def test_a_file_that_takes_one_size_only_needs_a_patch(tmp_path: Path) -> None:
    folder = write_onnx(tmp_path / "m", image=(1, 1, 8, 8, 8), described=WITHOUT_PATCH)
    with pytest.raises(ModelUnsuitable, match=r"is 1 x 1 x 8 x 8 x 8, .*: 1 x 1 x any x any x any"):
        opened(folder)


def test_an_input_of_whole_numbers_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph([helper.make_node("Identity", ["image"], ["logits"])], "network", [], [])
    with pytest.raises(ModelUnsuitable, match=r"input image of m is of tensor\(int64\)"):
        opened(write_onnx(tmp_path / "m", graph, number=TensorProto.INT64))


def test_a_second_input_is_named(tmp_path: Path) -> None:
    graph = scaling()
    graph.input.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, [1]))
    graph.node.append(helper.make_node("Identity", ["age"], ["old"]))
    with pytest.raises(ModelUnsuitable, match="m has the inputs age, image"):
        opened(write_onnx(tmp_path / "m", graph))


def test_a_label_that_the_network_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelsInvalid, match=r"label 2 \(liver\) is none of the sigmoid output of 1 channel of m"):
        opened(write_onnx(tmp_path / "m", described=TWO_LABELS))
    with pytest.raises(LabelsInvalid, match="sigmoid output of 3 channels of n has a label 3"):
        opened(write_onnx(tmp_path / "n", scaling(3), described=TWO_LABELS))


def test_one_of_several_outputs_is_chosen_by_its_name_or_number(tmp_path: Path) -> None:
    described = MODEL_TOML.replace("[output]", '[output]\nname = "{}"')
    graph = scaling()
    graph.node.append(helper.make_node("ReduceMax", ["logits"], ["coarse"], keepdims=0))
    graph.output.append(helper.make_tensor_value_info("coarse", TensorProto.FLOAT, None))
    folder = write_onnx(tmp_path / "m", graph, described=described.format("logits"))
    assert found(folder).mask.any()
    (folder / "model.toml").write_text(MODEL_TOML.replace("[output]", "[output]\nindex = 1"))
    assert found(folder).mask.any()
    (folder / "model.toml").write_text(MODEL_TOML)
    with pytest.raises(ModelUnsuitable, match=r"m puts out .* for an input of 1 x 1 x 8 x 8 x 8"):
        opened(folder)
    (folder / "model.toml").write_text(described.format("mask"))
    with pytest.raises(ModelUnsuitable, match="m has no output mask, but coarse, logits"):
        opened(folder)


def test_a_network_that_puts_out_no_numbers_for_a_scan_is_stopped(tmp_path: Path) -> None:
    graph = scaling()
    graph.node[0].output[0] = "before"
    graph.node.append(helper.make_node("Sqrt", ["before"], ["logits"]))
    with pytest.raises(UnsuitableVolume, match="no numbers"):
        found(write_onnx(tmp_path / "m", graph))


def test_a_network_without_room_lets_the_queue_know(tmp_path: Path) -> None:
    graph = scaling()
    graph.initializer.append(numpy_helper.from_array(np.array([1 << 30, 1, 8, 8, 8]), "vast"))
    graph.node[0].output[0] = "before"
    graph.node.append(helper.make_node("Expand", ["before", "vast"], ["huge"]))
    graph.node.append(helper.make_node("ReduceMax", ["huge"], ["logits"], keepdims=1))
    with pytest.raises(MemoryError):
        opened(write_onnx(tmp_path / "m", graph))


def test_the_extra_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_onnx(tmp_path / "m")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelUnsuitable, match=r"pip install 'oncue\[onnx\]'"):
        opened(folder)


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (None, r"m has no model\.toml"),
        (MODEL_TOML.replace("model.onnx", "other.onnx"), r"there is no file other\.onnx"),
        (MODEL_TOML.replace("model.onnx", "../model.onnx"), "file lies outside the folder"),
        (MODEL_TOML.replace("model.onnx", ".model.onnx"), "file is hidden"),
        (MODEL_TOML.replace('file = "model.onnx"\n', ""), r"names no weights: add file"),
        (MODEL_TOML.replace("patch = [8, 8, 8]", "patch = [8, 8]"), r"model\.toml of m: input: .*3 sides"),
        (MODEL_TOML.replace("sigmoid", "relu"), r"model\.toml of m: output\.activation"),
        (MODEL_TOML.replace("patch = [8, 8, 8]", 'intensity = "window"'), "needs range"),
        (MODEL_TOML.replace("patch = [8, 8, 8]", "spacing_mm = [1.0, 0.0, 1.0]"), "spacing_mm must be at least 0.01"),
    ],
)
def test_what_is_wrong_in_the_description_is_named(tmp_path: Path, described: str | None, message: str) -> None:
    folder = write_onnx(tmp_path / "m")
    if described is None:
        (folder / "model.toml").unlink()
    else:
        (folder / "model.toml").write_text(described)
    with pytest.raises(ModelUnsuitable, match=message):
        read_card(folder, read_model_file(folder))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("", "no label beside the background"),
        ('[[labels]]\nvalue = 1\nname = "tumour"\n' * 2, "label value 1 stands twice"),
        ('[[labels]]\nvalue = 1\nname = "flux capacitor"\n', r"label 1 \(flux capacitor\) has no code"),
    ],
)
def test_what_is_wrong_in_the_labels_is_named(tmp_path: Path, labels: str, message: str) -> None:
    folder = write_onnx(tmp_path / "m", described=MODEL_TOML[: MODEL_TOML.index("[[labels]]")] + labels)
    with pytest.raises(LabelsInvalid, match=message):
        recognise(folder)


def test_names_of_sides_are_free(tmp_path: Path) -> None:
    assert opened(write_onnx(tmp_path / "m", image=("batch", 1, *ANY[2:]))).channels.table[0].name == "tumour"
