from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from lab.cases import LabelledCase, as_volume
from lab.segmentation.ablation import AblationTable, ablate
from lab.segmentation.parts import PARTS, AblationPart, attention, head, with_both_residuals
from lab.segmentation.predictions import EvaluationSetup
from storage.volumes import Volume
from workers.segmentation.calibration import Mode
from workers.segmentation.grid import find_orientation, skull_masks
from workers.segmentation.mask import MaskRule

RULE = MaskRule(threshold=0.5, peak=0.9, minimum_ml=0.05, smoothing_mm=3.0, share=0.4)
CHOSEN = (
    AblationPart("attention", attention, smoothed=False, sifted=False),
    AblationPart("head", head),
    AblationPart("residuals", with_both_residuals),
)


@dataclass(frozen=True)
class Settings:
    mirrored: bool
    rule: MaskRule


@dataclass(frozen=True)
class Numbers:
    modes: dict[Mode, Settings]


@dataclass(frozen=True)
class KnownMaps:
    """A segmenter whose maps are the image itself, weakened where a map is a residual: every figure is known."""

    calibration: Numbers = field(default_factory=lambda: Numbers({Mode.FAST: Settings(False, RULE)}))
    weights_sha256: str = "ab"

    def score(self, volume: Volume, *, prompt: str, mode: Mode, residuals: bool) -> Any:
        assert residuals
        assert (prompt, mode) == ("tumor", Mode.FAST)
        image = volume.voxels
        maps = SimpleNamespace(
            attention=image, cross_attention=image, head=image, pixel_residual=image * 0.3,
            feature_residual=image * 0.2, residual=image * 0.25,
        )  # fmt: skip # reads by its lines
        turn, images = find_orientation(volume.geometry), image * 2 - 1
        grid = SimpleNamespace(
            spacing_mm=(5.0, 1.0, 1.0), orientation=turn, to_volume=lambda stack: stack, to_stored=turn.undo
        )
        return SimpleNamespace(maps=maps, stack=SimpleNamespace(images=images, skull=skull_masks(images), grid=grid))


@dataclass(frozen=True)
class Given:
    """A case that need not be read."""

    name: str
    seed: int

    @property
    def patient(self) -> str:
        return self.name

    def read(self) -> LabelledCase:
        rng = np.random.default_rng(self.seed)
        mask = np.zeros((12, 32, 32), bool)
        mask[4:7, 8:16, 8:16] = True
        image = (mask * 0.6 + rng.random(mask.shape) * 0.35).astype(np.float32)
        return LabelledCase(self.name, as_volume(image, (5.0, 1.0, 1.0)), mask, self.name)


def compare(*, tuned: bool, parts: tuple[AblationPart, ...] = CHOSEN) -> AblationTable:
    setup = cast("EvaluationSetup", SimpleNamespace(segmenter=KnownMaps(), plain=None, mode=Mode.FAST, prompt="tumor"))
    tuning = [Given("t", 9), Given("u", 10)] if tuned else []
    return ablate([Given("a", 1), Given("b", 2)], setup, tuning=tuning, parts=parts)


def test_every_part_gets_a_level_of_its_own_from_the_tuning_cases() -> None:
    table = compare(tuned=True)
    assert (table.cases, table.tuning_cases) == (2, 2)
    levels = {row.part: row.level for row in table.rows}
    # The residuals are weaker copies of the same image, so the level that suits the head would be too high for them.
    assert levels["residuals"] < levels["head"]
    for row in table.rows:
        assert row.figures.dice is not None
        assert row.figures.dice.mean > 0.95


def test_only_parts_with_the_component_rule_have_a_peak() -> None:
    assert [row.peak > 0 for row in compare(tuned=True).rows] == [False, True, True]


def test_without_tuning_cases_every_part_has_the_modes_own_numbers() -> None:
    table = compare(tuned=False)
    assert table.tuning_cases == 0
    assert {row.level for row in table.rows} == {RULE.threshold}
    assert {row.peak for row in table.rows} == {0.0, RULE.peak}


def test_every_shipped_part_can_be_compared_and_written_as_json() -> None:
    table = compare(tuned=False, parts=PARTS)
    assert len({row.part for row in table.rows}) == len(PARTS)
    assert len(json.loads(json.dumps(table.to_json(), allow_nan=False))["rows"]) == len(PARTS)
