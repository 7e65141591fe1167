from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from storage.domain import Segmentation
from tests.support.ct_phantoms import ct_phantom
from tests.support.tiny_networks import save_torchscript
from workers.errors import CodeRefused, LabelsInvalid, ModelUnsuitable, UnsuitableVolume, WeightsMismatch
from workers.site_models.card import SiteModelKind
from workers.site_models.kinds import recognise
from workers.site_models.network.described_network import DescribedNetwork
from workers.site_models.network.torchscript_network import open_model

MODEL_TOML = """\
format = 1
kind = "torchscript"
file = "model.ts"
[input]
multiple = 4
[output]
activation = "sigmoid"
[[labels]]
value = 1
name = "tumour"
"""


class Scaling(nn.Module):
    """Multiplies by 10, takes 5 off; ``twice`` puts out a second, coarse map first."""

    def __init__(self, form: str = "tensor") -> None:
        super().__init__()
        self.form = form
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, image: Tensor) -> object:
        logits = self.scale * image - 5
        coarse = nn.functional.max_pool3d(logits, 2)
        return {"tensor": logits, "list": (coarse, logits), "dictionary": {"coarse": coarse, "out": logits}}[self.form]


class Failing(Scaling):
    """Takes sides that are multiples of 3 only, as a network whose own shapes do not fit."""

    def forward(self, image: Tensor) -> object:
        return nn.functional.pixel_unshuffle(image[0], 3).sum() + image


class InPlace(Scaling):
    """Works on the very tensor that it is given."""

    def forward(self, image: Tensor) -> object:
        return image.mul_(10).sub_(5)


class Vast(Scaling):
    """Wants two terabytes for what is larger than eight voxels a side."""

    def forward(self, image: Tensor) -> object:
        side = image.shape[-1] // 16
        return image + torch.zeros(1, device=image.device).expand(side << 39).contiguous()[:0].sum()


class Rooted(Scaling):
    """Puts out what is no number where the image is dark."""

    def forward(self, image: Tensor) -> object:
        return torch.sqrt(image - 0.5 + (image == 0))


class Asserting(Scaling):
    """Raises an error of its own where the image is not empty."""

    def forward(self, image: Tensor) -> Tensor:
        assert float(image.max()) <= 0
        return image


def written(folder: Path, network: nn.Module, described: str = MODEL_TOML, *, side: int = 8) -> Path:
    folder.mkdir()
    save_torchscript(network, torch.zeros(1, 1, side, side, side), folder / "model.ts")
    (folder / "model.toml").write_text(described)
    return folder


def opened(folder: Path, *, allow_code: bool = True) -> DescribedNetwork:
    return open_model(folder, recognise(folder), device=torch.device("cpu"), dtype=torch.float32, allow_code=allow_code)


def found(folder: Path) -> Segmentation:
    """Show the network values 0 to 1 in a scan of 6 x 9 x 10 voxels."""
    values = np.linspace(0, 1, 540, dtype=np.float32).reshape(6, 9, 10)
    volume = replace(ct_phantom(0).volume, voxels=values)
    return opened(folder).segment(volume, prompt=None, check=lambda: None)


def test_a_network_without_a_patch_sees_the_whole_scan(tmp_path: Path) -> None:
    mask = found(written(tmp_path / "m", Scaling())).mask
    assert mask.ravel()[272:].all()
    assert not mask.ravel()[:267].any()


def test_its_card_says_that_it_runs_code_and_it_is_refused_where_that_is_not_allowed(tmp_path: Path) -> None:
    folder = written(tmp_path / "m", Scaling())
    card = recognise(folder)
    assert card.kind is SiteModelKind.TORCHSCRIPT
    assert card.runs_code == ("model.ts",)
    with pytest.raises(CodeRefused, match=r"model\.ts of m is TorchScript.*allow_code = true under \[worker\]"):
        opened(folder, allow_code=False)


@pytest.mark.parametrize(("form", "output"), [("list", "index = 1"), ("dictionary", 'name = "out"')])
def test_one_of_several_outputs_is_chosen(tmp_path: Path, form: str, output: str) -> None:
    folder = written(tmp_path / "m", Scaling(form), MODEL_TOML.replace("[output]", f"[output]\n{output}"))
    assert found(folder).mask.any()
    (folder / "model.toml").write_text(MODEL_TOML)
    with pytest.raises(ModelUnsuitable, match=r"m puts out 1 x 1 x 16 x 16 x 16 for an input of 1 x 1 x 32 x 32 x 32"):
        opened(folder)


@pytest.mark.parametrize(("form", "output"), [("list", "index = 2"), ("dictionary", 'name = "mask"')])
def test_an_output_that_the_network_does_not_have_is_refused(tmp_path: Path, form: str, output: str) -> None:
    folder = written(tmp_path / "m", Scaling(form), MODEL_TOML.replace("[output]", f"[output]\n{output}"))
    with pytest.raises(ModelUnsuitable, match=r"m has no such output of real numbers: correct \[output\]"):
        opened(folder)


def test_a_network_in_half_precision_is_run_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    save_torchscript(Scaling().half(), torch.zeros(1, 1, 8, 8, 8, dtype=torch.float16), folder / "model.ts")
    (folder / "model.toml").write_text(MODEL_TOML)
    assert found(folder).mask.mean() == pytest.approx(0.5, abs=0.02)


def test_a_network_that_works_in_place_leaves_the_scan_alone(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 512, dtype=np.float32).reshape(8, 8, 8)
    values.flags.writeable = False
    model = opened(written(tmp_path / "m", InPlace()))
    segmentation = model.segment(replace(ct_phantom(0).volume, voxels=values), prompt=None, check=lambda: None)
    assert segmentation.mask.mean() == pytest.approx(0.5)
    np.testing.assert_array_equal(values, np.linspace(0, 1, 512, dtype=np.float32).reshape(8, 8, 8))


def test_labels_that_the_network_does_not_have_are_named(tmp_path: Path) -> None:
    described = MODEL_TOML + '[[labels]]\nvalue = 2\nname = "liver"\n'
    with pytest.raises(LabelsInvalid, match=r"label 2 \(liver\) is none of the sigmoid output of 1 channel of m"):
        opened(written(tmp_path / "m", Scaling(), described))


def test_a_network_that_cannot_compute_its_patch_is_named_with_the_shape(tmp_path: Path) -> None:
    with pytest.raises(ModelUnsuitable, match="m cannot compute an input of 1 x 1 x 32 x 32 x 32: "):
        opened(written(tmp_path / "m", Failing(), side=9))


def test_a_network_that_raises_an_error_of_its_own_is_named(tmp_path: Path) -> None:
    folder = written(tmp_path / "m", Scaling())
    with pytest.warns(DeprecationWarning, match="deprecated"):  # tracing, as elsewhere here, drops assertions
        torch.jit.save(torch.jit.script(Asserting()), folder / "model.ts")
    with pytest.raises(ModelUnsuitable, match="m cannot compute an input of"):
        found(folder)


def test_a_network_that_puts_out_no_numbers_for_a_scan_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(UnsuitableVolume, match="no numbers"):
        found(written(tmp_path / "m", Rooted()))


def test_a_pickle_of_weights_is_named_and_never_loaded(tmp_path: Path) -> None:
    folder = written(tmp_path / "m", Scaling())
    torch.save(Scaling().state_dict(), folder / "model.ts")
    with pytest.raises(ModelUnsuitable, match=r"model\.ts of m is a pickle of weights, no TorchScript"):
        recognise(folder)
    (folder / "model.ts").write_bytes(pickle.dumps({"run": 1}))
    with pytest.raises(ModelUnsuitable, match=r"model\.ts of m is a pickle, no TorchScript"):
        recognise(folder)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "m", Scaling())
    content = (folder / "model.ts").read_bytes()
    for damaged in (content[:-200], b"", b"text"):
        (folder / "model.ts").write_bytes(damaged)
        with pytest.raises(WeightsMismatch, match=r"model\.ts of m"):
            recognise(folder)


def test_code_that_is_damaged_inside_the_archive_is_refused(tmp_path: Path) -> None:
    import zipfile

    folder = written(tmp_path / "m", Scaling())
    with zipfile.ZipFile(folder / "model.ts") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(folder / "model.ts", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, b"def forward(:" if name.endswith(".py") else content)
    with pytest.raises(WeightsMismatch, match=r"model\.ts of m cannot be loaded"):
        opened(folder)


def test_a_network_without_room_lets_the_queue_know(tmp_path: Path) -> None:
    with pytest.raises(MemoryError):
        found(written(tmp_path / "m", Vast()))
