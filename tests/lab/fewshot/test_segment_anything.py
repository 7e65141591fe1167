"""SAM2 from a folder: a box becomes a mask, a grid of points becomes segments. The network is tiny and random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lab.fewshot import segment_anything
from lab.fewshot.attention import Attention
from lab.fewshot.cache import EmbeddingCache
from lab.fewshot.regions import Saliency
from lab.fewshot.segment_anything import SegmentAnything
from tests.support.encoders import picture, write_pictures
from workers.errors import BackboneUnusable, MaskMissing
from workers.fewshot.contracts import MaskSource, PromptMode
from workers.fewshot.pictures import PictureSource, read_pictures
from workers.fewshot.visual_prompts import MaskedPicture, draw

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import (
        Sam2Config,
        Sam2HieraDetConfig,
        Sam2MaskDecoderConfig,
        Sam2Model,
        Sam2PromptEncoderConfig,
        Sam2VisionConfig,
    )

    hiera = Sam2HieraDetConfig(
        hidden_size=12,
        image_size=[128, 128],
        blocks_per_stage=[1, 2, 7, 2],
        embed_dim_per_stage=[12, 24, 48, 96],
        num_attention_heads_per_stage=[1, 2, 4, 8],
    )
    vision = Sam2VisionConfig(
        backbone_config=hiera,
        backbone_channel_list=[96, 48, 24, 12],
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
        fpn_hidden_size=32,
    )
    prompts = Sam2PromptEncoderConfig(image_size=128, patch_size=16, hidden_size=32, mask_input_channels=8)
    decoder = Sam2MaskDecoderConfig(hidden_size=32, mlp_dim=64, num_attention_heads=4, iou_head_hidden_dim=32)
    config = Sam2Config(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    place = tmp_path_factory.mktemp("sam2")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Sam2Model(config).save_pretrained(place)
    return place


def test_a_box_becomes_a_mask_of_the_pictures_size(folder: Path) -> None:
    sam2 = SegmentAnything.load(folder, device=CPU)
    mask = sam2.in_box(picture(shape=(60, 90)), (10, 20, 40, 50))
    assert mask.shape == (60, 90)
    assert mask.dtype == bool
    assert mask.any()
    np.testing.assert_array_equal(mask, sam2.in_box(picture(shape=(60, 90)), (10, 20, 40, 50)))


def test_the_automatic_mode_keeps_segments_that_hardly_overlap(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_anything, "LEAST_QUALITY", -1e9)
    monkeypatch.setattr(segment_anything, "LEAST_STABILITY", 0.0)
    monkeypatch.setattr(segment_anything, "POINTS_PER_SIDE", 4)
    segments = SegmentAnything.load(folder, device=CPU).everything(picture(shape=(40, 50)))
    for place, first in enumerate(segments):
        assert first.shape == (40, 50)
        for second in segments[place + 1 :]:
            union = np.count_nonzero(first | second)
            assert np.count_nonzero(first & second) <= segment_anything.MOST_OVERLAP * union
    if segments:
        assert draw(MaskedPicture(picture(shape=(40, 50)), segments[0], segments), PromptMode.OVERLAY).shape == (
            40,
            50,
            3,
        )


def test_a_folder_without_sam2_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackboneUnusable, match="Sam2Model"):
        SegmentAnything.load(tmp_path, device=CPU)


def test_the_automatic_source_needs_a_folder(tmp_path: Path) -> None:
    def no_saliency() -> Saliency:
        raise AssertionError("no region was to be looked for")

    listed = read_pictures([PictureSource(write_pictures(tmp_path / "discs", patients=2))])
    attention = Attention(MaskSource.AUTOMATIC, EmbeddingCache(tmp_path / "cache"), no_saliency)
    with pytest.raises(MaskMissing, match="--sam2"):
        attention.subjects(listed)[0]()
