"""What of a MONAI bundle runs code is named by its key, and runs only where the site allows it."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import tiny_bundle
from tests.support.drawn_ct import draw
from tests.support.tiny_bundle import INFERENCE_FILE, WEIGHTS_FILE, card_of, change, opened, tumour_dice
from workers.errors import CodeRefused, ModelUnsuitable

pytestmark = pytest.mark.slow
pytest.importorskip("monai")

SCALE = "preprocessing::transforms::4"


def test_an_expression_in_the_preprocessing_runs_only_where_the_site_allows_it(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    change(
        folder,
        INFERENCE_FILE,
        preprocessing__transforms__4__a_min=f"$[open({str(marker)!r}, 'w').close(), @lowest][1]",
        lowest="$-100.0 - 60",
    )
    card = card_of(folder)
    assert card.runs_code[:2] == (f"{INFERENCE_FILE}: {SCALE}::a_min", f"{INFERENCE_FILE}: lowest")
    assert f"{INFERENCE_FILE}: imports::0" in card.runs_code
    with pytest.raises(CodeRefused, match=rf"{INFERENCE_FILE}: {SCALE}::a_min.*allow_code"):
        opened(folder)
    assert not marker.exists()
    assert tumour_dice(opened(folder, allow_code=True), draw(2)) > 0.75
    assert marker.exists()


def test_a_list_of_transforms_that_is_an_expression_runs_only_where_allowed(folder: Path) -> None:
    steps = tiny_bundle.PREPROCESSING
    halves = {"first": [tiny_bundle.transform("LoadImaged"), *steps[1:3]], "second": steps[3:]}
    change(folder, INFERENCE_FILE, preprocessing__transforms="$@first + @second", **halves)
    with pytest.raises(CodeRefused, match="preprocessing::transforms"):
        opened(folder)
    assert tumour_dice(opened(folder, allow_code=True), draw(2)) > 0.75


def test_each_bundle_gets_its_own_scripts_and_only_where_allowed(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    for place, factor in ((folder, 1.0), (other, 0.0)):
        (place / "scripts").mkdir()
        (place / "scripts" / "__init__.py").write_text("")
        (place / "scripts" / "grey.py").write_text(
            "class Scaled:\n    def __init__(self, keys):\n        self.key = keys\n"
            f"    def __call__(self, data):\n        return data | {{self.key: data[self.key] * {factor}}}\n"
        )
        change(place, INFERENCE_FILE, preprocessing__transforms__5=tiny_bundle.transform("scripts.grey.Scaled"))
    with pytest.raises(CodeRefused, match="preprocessing::transforms::5::_target_"):
        opened(folder)
    assert tumour_dice(opened(folder, allow_code=True), draw(2)) > 0.75
    assert tumour_dice(opened(other, allow_code=True), draw(2)) == 0.0
    assert "scripts" not in sys.modules


class Planted:
    """Pickled, it makes a file where it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, int]]:
        return os.open, (str(self.marker), os.O_CREAT)


def test_a_pickle_of_more_than_tensors_is_read_only_where_allowed(folder: Path, tmp_path: Path) -> None:
    weights = torch.load(folder / WEIGHTS_FILE, weights_only=True)
    marker = tmp_path / "ran"
    torch.save(weights | {"trainer": Planted(marker)}, folder / WEIGHTS_FILE, pickle_module=pickle)
    assert card_of(folder).runs_code == (f"{WEIGHTS_FILE}: a pickle of more than tensors",)
    with pytest.raises(CodeRefused, match=WEIGHTS_FILE):
        opened(folder)
    assert not marker.exists()
    assert tumour_dice(opened(folder, allow_code=True), draw(2)) > 0.75
    assert marker.exists()


def test_a_torchscript_program_runs_only_where_allowed(folder: Path) -> None:
    network = opened(folder).network
    script: Any = torch.jit
    with pytest.warns(DeprecationWarning, match="torch.jit.trace"):
        script.trace(network, torch.zeros(1, 1, 32, 32, 32)).save(folder / "models" / "model.ts")
    (folder / WEIGHTS_FILE).unlink()
    change(folder, INFERENCE_FILE, network_def="$build()")
    assert card_of(folder).runs_code == ("models/model.ts: a TorchScript program",)
    with pytest.raises(CodeRefused, match="TorchScript"):
        opened(folder)
    assert tumour_dice(opened(folder, allow_code=True), draw(2)) > 0.75


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"preprocessing__transforms__4": {"_target_": "os.system", "command": "true"}}, f"{SCALE}::_target_"),
        ({"preprocessing__transforms__4": {"_target_": "monai.bundle.run"}}, f"{SCALE}::_target_"),
        ({"preprocessing__transforms__4": {"_target_": "Lambdad", "keys": "image"}}, f"{SCALE}::_target_"),
        ({"preprocessing__transforms__4": {"_target_": "evil.monai.transforms.Spacingd"}}, f"{SCALE}::_target_"),
        ({"preprocessing__transforms__4": {"_target_": "$print"}}, f"{SCALE}::_target_"),
        ({"preprocessing__transforms__4___mode_": "debug"}, f"{SCALE}::_mode_"),
        ({"preprocessing__transforms__4___disabled_": "$True"}, f"{SCALE}::_disabled_"),
        ({"network_def__act": {"_target_": "torch.hub.load"}}, "network_def::act::_target_"),
        ({"network_def": {"_target_": "mine.Net"}}, "network_def::_target_"),
        ({"network_def__channels": "$[8, 16, 32]"}, "network_def::channels"),
        ({"inferer__roi_size": "@size", "size": "$(32, 32, 32)"}, "size"),
        ({"inferer": {"_target_": "SaliencyInferer"}}, "inferer::_target_"),
        ({"postprocessing__transforms__3": {"_target_": "os.remove"}}, "postprocessing::transforms::3::_target_"),
    ],
)
def test_what_runs_code_is_named_by_its_key(folder: Path, changed: dict[str, Any], key: str) -> None:
    change(folder, INFERENCE_FILE, **changed)
    assert f"{INFERENCE_FILE}: {key}" in card_of(folder).runs_code
    with pytest.raises(CodeRefused, match=key):
        opened(folder)


def test_code_that_fails_is_a_refusal_that_names_its_key(folder: Path) -> None:
    change(folder, INFERENCE_FILE, network_def__channels="$1 / 0")
    with pytest.raises(ModelUnsuitable, match=r"network_def cannot be made: ZeroDivisionError"):
        opened(folder, allow_code=True)


def test_every_class_that_a_bundle_may_name_is_one_of_monais_or_pytorchs() -> None:
    from importlib import import_module

    from workers.site_models.bundle.targets import ROOMS

    missing = [
        f"{room}.{name}"
        for room, names in ROOMS.items()
        for name in names
        if not any(hasattr(import_module(room), version) for version in (name, f"{name}d"))
    ]
    assert not missing
