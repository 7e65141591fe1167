"""MONAI bundles find what they were trained for, on drawn CT with a bundle that is trained once per run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from storage.domain import Code, LabelRole, Site
from storage.objects import ObjectStore
from tests.support import drawn_ct, tiny_bundle
from tests.support.ct_images import ct_images
from tests.support.dicom import put_all
from tests.support.drawn_ct import ANISOTROPIC, AXIAL, FLIPPED, OBLIQUE, SAGITTAL, TUMOUR, Grid, dice, draw
from tests.support.tiny_bundle import (
    INFERENCE_FILE,
    METADATA_FILE,
    WEIGHTS_FILE,
    card_of,
    change,
    nothing,
    opened,
    tumour_dice,
)
from workers.errors import FieldOfViewMismatch, ModelUnsuitable, UnsuitableVolume
from workers.imaging.best_volume import build_best
from workers.imaging.instances import read_headers
from workers.imaging.series import SelectionRules, select_series
from workers.site_models.bundle import kind as monai_bundle
from workers.site_models.bundle.grid import as_loaded
from workers.site_models.card import SiteModelCard

pytestmark = pytest.mark.slow
pytest.importorskip("monai")


def test_a_network_that_gives_no_numbers_is_no_image_without_a_finding(folder: Path) -> None:
    weights = torch.load(folder / WEIGHTS_FILE)["model"]
    damaged = {name: value * float("nan") if value.is_floating_point() else value for name, value in weights.items()}
    torch.save({"model": damaged}, folder / WEIGHTS_FILE)
    with pytest.raises(UnsuitableVolume, match="no numbers"):
        opened(folder).segment(draw(1).volume, prompt=None, check=nothing)


def test_an_inferer_that_cannot_be_used_is_named(folder: Path) -> None:
    change(folder, INFERENCE_FILE, inferer__overlap=1.0)
    with pytest.raises(ModelUnsuitable, match="inferer of bundle cannot be used: overlap must be"):
        opened(folder).segment(draw(1).volume, prompt=None, check=nothing)


def test_a_bundle_is_recognised_and_its_card_read_without_monai(trained: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from workers.site_models.bundle import kind as kind;"
        f"folder = Path({str(trained)!r}); assert kind.recognises(folder); kind.read_card(folder, None);"
        "sys.exit('monai' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    card = card_of(trained)
    assert (card.kind.value, card.version, card.licence, card.modalities) == (
        "monai-bundle",
        "0.3.1",
        "CC0-1.0",
        ("CT",),
    )
    liver, tumour = card.labels
    assert (liver.value, liver.role, liver.concept.meaning) == (1, LabelRole.ORGAN, "Liver")
    assert (tumour.value, tumour.role, tumour.site) == (2, LabelRole.LESION, Site(Code("10200004", "SCT", "Liver")))
    assert card.runs_code == ()
    assert SiteModelCard.from_json(card.to_json()) == card


GRIDS = {"axial": AXIAL, "flipped": FLIPPED, "sagittal": SAGITTAL, "oblique": OBLIQUE, "thick": ANISOTROPIC}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_liver_and_tumour_of_held_out_volumes_are_found_in_place(trained: Path, grid: Grid) -> None:
    model = opened(trained)
    for seed in (1, 2, 3):
        case = draw(seed, grid)
        found = model.segment(case.volume, prompt=None, check=nothing)
        assert found.labelled is not None
        labels = found.labelled.labels
        assert labels.shape == case.volume.voxels.shape
        assert dice(labels > 0, case.truth > 0) > 0.93
        assert dice(labels == TUMOUR, case.truth == TUMOUR) > 0.75
        assert np.array_equal(found.mask, labels == TUMOUR)
        assert 0 <= found.score_map.min() <= found.score_map.max() <= 1
        assert found.case_score > 0.8


def test_images_as_they_are_received_give_the_same(trained: Path, objects: ObjectStore) -> None:
    case, model = draw(1, SAGITTAL), opened(trained)
    stored = put_all(objects, ct_images(case.volume))
    received = select_series(read_headers(stored, objects), rules=SelectionRules())
    volume, _, _ = build_best(received, objects)
    assert volume.geometry.origin_mm == pytest.approx(case.volume.geometry.origin_mm)
    found = model.segment(volume, prompt=None, check=nothing).mask
    assert dice(found, case.truth == TUMOUR) > 0.75


@pytest.mark.parametrize("grid", [FLIPPED, OBLIQUE, ANISOTROPIC], ids=["flipped", "oblique", "thick"])
def test_labels_are_those_that_monais_own_inverse_gives(trained: Path, grid: Grid) -> None:
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms.compose import Compose
    from monai.transforms.post.dictionary import Invertd

    model, case = opened(trained), draw(2, grid)
    whole: Any = Compose(list(model.preprocessing))
    image = whole({"image": as_loaded(case.volume, channel_first=False)})["image"]
    with torch.inference_mode():
        output = model.inferer(image.as_tensor()[None], model.network)[0].softmax(dim=0)
    pred = MetaTensor(output.clone(), meta=dict(image.meta))
    pred.applied_operations = image.applied_operations
    inverse: Any = Invertd(keys="pred", transform=whole, orig_keys="image", nearest_interp=False)
    theirs = inverse({"image": image, "pred": pred})["pred"].argmax(dim=0).numpy().transpose(2, 1, 0)
    labelled = model.segment(case.volume, prompt=None, check=nothing).labelled
    assert labelled is not None
    for value in (drawn_ct.LIVER, TUMOUR):
        assert dice(labelled.labels == value, theirs == value) > 0.98


def test_a_channel_that_the_loader_was_to_add_is_there(folder: Path) -> None:
    load, _, *others = tiny_bundle.PREPROCESSING
    change(folder, INFERENCE_FILE, preprocessing=[load | {"ensure_channel_first": True}, *others])
    assert tumour_dice(opened(folder), draw(2, SAGITTAL)) > 0.75


def test_a_network_in_two_dimensions_is_shown_a_volume_slice_by_slice(folder: Path) -> None:
    from monai.networks.nets.unet import UNet

    flat = dict(tiny_bundle.UNET) | {"spatial_dims": 2}
    change(folder, METADATA_FILE, network_data_format__inputs__image__spatial_shape=[32, 32])
    inferer = {"_target_": "SliceInferer", "roi_size": [32, 32], "spatial_dim": 2}
    change(folder, INFERENCE_FILE, network_def=flat, inferer=inferer)
    torch.save(
        UNet(**{name: value for name, value in flat.items() if name != "_target_"}).state_dict(), folder / WEIGHTS_FILE
    )
    case = draw(1, SAGITTAL)
    labelled = opened(folder).segment(case.volume, prompt=None, check=nothing).labelled
    assert labelled is not None
    assert labelled.labels.shape == case.volume.voxels.shape


def test_nothing_is_found_in_a_healthy_liver(trained: Path) -> None:
    found = opened(trained).segment(draw(5, sick=False).volume, prompt=None, check=nothing)
    assert found.mask.sum() < 5
    assert found.case_score < 0.8


def test_what_the_check_raises_between_windows_ends_the_work(trained: Path) -> None:
    class NoLongerWantedError(Exception):
        pass

    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked > 3:
            raise NoLongerWantedError

    with pytest.raises(NoLongerWantedError):
        opened(trained).segment(draw(1).volume, prompt=None, check=check)


def test_model_toml_adds_roles_and_limits(folder: Path) -> None:
    (folder / "model.toml").write_text(
        'format = 1\nkind = "monai-bundle"\nmodalities = ["CT", "MR"]\n'
        '[[labels]]\nvalue = 1\nname = "liver"\nrole = "lesion"\n'
        "[limits]\ntime_seconds = 9\nextent_mm = {low = [400.0, 100.0, 100.0]}\n"
    )
    card = card_of(folder)
    assert [label.role for label in card.labels] == [LabelRole.LESION, LabelRole.LESION]
    assert (card.modalities, card.limits.time_seconds, card.version) == (("CT", "MR"), 9, "0.3.1")
    with pytest.raises(FieldOfViewMismatch, match="extent"):
        card.require(draw(1).volume, name="bundle")


def test_a_volume_of_another_modality_is_excluded_by_the_card(trained: Path) -> None:
    with pytest.raises(FieldOfViewMismatch, match="for CT, not MR"):
        card_of(trained).require(draw(1, modality="MR").volume, name="bundle")


def test_configuration_in_yaml_and_weights_as_safetensors_say_the_same(folder: Path) -> None:
    import yaml
    from safetensors.torch import save_file

    case = draw(1)
    expected = opened(folder).segment(case.volume, prompt=None, check=nothing)
    content = json.loads((folder / INFERENCE_FILE).read_text())
    (folder / INFERENCE_FILE).unlink()
    (folder / "configs" / "inference.yaml").write_text(yaml.safe_dump(content))
    weights = torch.load(folder / WEIGHTS_FILE, weights_only=True)["model"]
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "models" / "model.safetensors")
    (folder / WEIGHTS_FILE).unlink()
    assert monai_bundle.recognises(folder)
    found = opened(folder).segment(case.volume, prompt=None, check=nothing)
    assert np.array_equal(found.mask, expected.mask)


def test_transforms_for_arrays_and_a_whole_image_at_once_do_as_well(folder: Path) -> None:
    steps = [
        {name: value for name, value in step.items() if name != "keys"}
        | {"_target_": step["_target_"].removesuffix("d")}
        for step in tiny_bundle.PREPROCESSING
    ]
    pad = {"_target_": "monai.transforms.DivisiblePad", "k": 4}
    change(folder, INFERENCE_FILE, preprocessing=[*steps, pad], inferer={"_target_": "monai.inferers.SimpleInferer"})
    assert tumour_dice(opened(folder), draw(2)) > 0.75


def test_what_the_postprocessing_does_to_labels_is_done(folder: Path) -> None:
    keep = {"_target_": "KeepLargestConnectedComponentd", "keys": "pred", "applied_labels": [2]}
    change(
        folder,
        INFERENCE_FILE,
        postprocessing={"_target_": "Compose", "transforms": [*tiny_bundle.POSTPROCESSING, keep]},
    )
    case = draw(1)
    case.volume.voxels[2:5, 18:22, 12:16] = 200.0  # a second one, far away
    assert opened(folder).segment(case.volume, prompt=None, check=nothing).mask[2:5, 18:22, 12:16].sum() == 0
