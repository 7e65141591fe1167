"""CPU-seconds and peak memory from volume to mask, on one phantom study, for each mode and beside its peers.

Each way runs in a child process of its own with its model loaded and warm, one after another, so that peak memory is
that way's alone and CPU-seconds can be compared. Peers: a fixed intensity threshold, the plain U-Net where its weights
are installed, float32 beside bfloat16, and slices one by one beside batches.

Run: ``python benchmarks/segmentation.py [--slices N] [--size N] [--repeats N] [--without WAY ...] [--json]``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.volumes import Volume
    from workers.segmentation.mask import MaskRule
    from workers.segmentation.segmenter import ZeroShotSegmenter

MOST_CPU_SECONDS = 10.0
LEAST_RATIO = 20.0
MOST_MEGABYTES = 2000.0
WAYS = (
    "threshold",
    "plain U-Net",
    "fast",
    "fast, explained",
    "fast, float32",
    "fast, one by one",
    "balanced",
    "paper",
)
PAPER = "paper"
_WARM_SLICES = 2


@dataclass(frozen=True, slots=True)
class Cost:
    """What one way costs on one study: the median of the repeats, and what the process held at most."""

    way: str
    cpu_seconds: float
    wall_seconds: float
    peak_megabytes: float
    dice: float
    ratio_to_fast: float = 1.0


@dataclass(frozen=True, slots=True)
class Study:
    """The phantom that is segmented, and where its lesion is."""

    volume: Volume
    mask: NDArray[np.bool_]


Segment = Callable[["Volume"], "NDArray[np.bool_]"]
Score = Callable[["NDArray[np.float32]"], "NDArray[np.float32]"]


def phantom(slices: int, size: int) -> Study:
    """Make a head of so many slices that fills the usual height."""
    from lab.cases import as_volume
    from phantom.head import head_phantom

    head = head_phantom(seed=3, lesion=True, slices=slices, size=size)
    volume = as_volume(head.voxels, head.geometry.spacing_mm)
    return Study(replace(volume, geometry=head.geometry), head.mask)


def build(way: str) -> Segment | None:
    """Load what a way needs; None where it is not installed."""
    if way == "plain U-Net":
        return _plain()
    segmenter = _segmenter("float32" if way.endswith("float32") else "auto")
    if way == "threshold":
        return _threshold(segmenter)
    if way.endswith("one by one"):
        from workers.segmentation import maps

        maps.BATCH = 1
    if way.endswith("explained"):
        return _explained(segmenter)
    mode = way.partition(",")[0]
    return lambda volume: segmenter.segment(volume, mode=mode).mask


def measure(way: str, slices: int, size: int, repeats: int) -> Cost | None:
    """Measure one way in this process, after a first look at a few slices."""
    from lab import metrics

    segment, study = build(way), phantom(slices, size)
    if segment is None:
        return None
    middle = slices // 2
    segment(replace(study.volume, voxels=study.volume.voxels[middle : middle + _WARM_SLICES]))
    cpu, wall, mask = [], [], study.mask
    for _ in range(1 if way == PAPER else repeats):
        began_cpu, began = time.process_time(), time.perf_counter()
        mask = segment(study.volume)
        cpu.append(time.process_time() - began_cpu)
        wall.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000.0
    dice = metrics.dice(mask, study.mask)
    return Cost(way, statistics.median(cpu), statistics.median(wall), peak, float(dice))


def main() -> None:
    """Measure every way in a child process and print the table; ``--way`` measures one in this process."""
    arguments = _arguments()
    if arguments.way:
        found = measure(arguments.way, arguments.slices, arguments.size, arguments.repeats)
        print(json.dumps(asdict(found) if found else None))
        return
    costs = [cost for way in WAYS if way not in arguments.without and (cost := _in_child(way, arguments))]
    reference = next((cost.cpu_seconds for cost in costs if cost.way == "fast"), 1.0)
    costs = [replace(cost, ratio_to_fast=cost.cpu_seconds / reference) for cost in costs]
    if arguments.json:
        print(json.dumps({"costs": [asdict(cost) for cost in costs], "goals": goals(costs)}))
        return
    print(f"{arguments.slices} slices of {arguments.size} x {arguments.size}, {os.cpu_count()} processors")
    print(f"{'way':<18}{'CPU s':>9}{'wall s':>9}{'x fast':>9}{'peak MB':>9}{'Dice':>7}")
    for cost in costs:
        print(
            f"{cost.way:<18}{cost.cpu_seconds:>9.2f}{cost.wall_seconds:>9.2f}{cost.ratio_to_fast:>9.2f}"
            f"{cost.peak_megabytes:>9.0f}{cost.dice:>7.3f}"
        )
    for goal, met in goals(costs).items():
        print(f"{'met' if met else 'MISSED':<8}{goal}")


def goals(costs: list[Cost]) -> dict[str, bool]:
    """Say which goals the measured ways meet."""
    by_way = {cost.way: cost for cost in costs}
    found = {}
    if fast := by_way.get("fast"):
        found[f"fast takes at most {MOST_CPU_SECONDS:g} CPU-seconds"] = fast.cpu_seconds <= MOST_CPU_SECONDS
        found[f"fast holds at most {MOST_MEGABYTES:g} MB"] = fast.peak_megabytes <= MOST_MEGABYTES
        if paper := by_way.get(PAPER):
            found[f"paper takes at least {LEAST_RATIO:g} times fast"] = paper.ratio_to_fast >= LEAST_RATIO
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=24)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--without", nargs="*", default=[], choices=WAYS, metavar="WAY")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _in_child(way: str, arguments: argparse.Namespace) -> Cost | None:
    sizes = ["--slices", str(arguments.slices), "--size", str(arguments.size), "--repeats", str(arguments.repeats)]
    command = [sys.executable, __file__, "--way", way, *sizes]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(ran.stdout)
    return Cost(**found) if found else None


def _models() -> Path:
    from workers.config import WorkerSettings

    return WorkerSettings().models_folder()


def _segmenter(dtype: str) -> ZeroShotSegmenter:
    from workers.config import SEGMENTATION_FOLDER
    from workers.devices import choose_device, choose_dtype
    from workers.segmentation.segmenter import ZeroShotSegmenter

    device = choose_device("cpu")
    return ZeroShotSegmenter.load(_models() / SEGMENTATION_FOLDER, device=device, dtype=choose_dtype(device, dtype))


def _threshold(segmenter: ZeroShotSegmenter) -> Segment:
    """Mark what is brighter than the threshold of the baselines, under the mask rule of the mode ``fast``."""
    from workers.segmentation.calibration import Mode

    level = segmenter.calibration.baselines.intensity
    rule = replace(segmenter.calibration.modes[Mode.FAST].rule, threshold=level, peak=level, slope=0.0)
    return lambda volume: _marked(volume, lambda images: (images + 1.0) / 2.0, rule)


def _plain() -> Segment | None:
    folder = _models() / "synthetic-unet"
    if not folder.is_dir():
        return None
    from lab.segmentation.plain_unet import PlainNetwork

    network = PlainNetwork.load(folder)
    return lambda volume: _marked(volume, network.scores, network.rule)


def _explained(segmenter: ZeroShotSegmenter) -> Segment:
    from workers.analysers import ZeroShotAnalyser

    analyser = ZeroShotAnalyser(segmenter, "tumor", "fast")
    return lambda volume: analyser.segment(volume, check=lambda: None).mask


def _marked(volume: Volume, score: Score, rule: MaskRule) -> NDArray[np.bool_]:
    """Score the framed slices of an axial volume one way, and turn the scores into a mask as the segmenter does."""
    from workers.segmentation import grid
    from workers.segmentation.grid import IMAGE_SIZE
    from workers.segmentation.mask import smooth_across, to_mask

    voxels, (z_mm, y_mm, x_mm) = volume.voxels, volume.geometry.spacing_mm
    box = grid.find_crop(voxels, (y_mm, x_mm))
    if box is None:
        return np.zeros(voxels.shape, dtype=bool)
    scores = smooth_across(score(grid.to_model(voxels, box, IMAGE_SIZE)), z_mm, rule.smoothing_mm)
    shape = (voxels.shape[0], voxels.shape[1], voxels.shape[2])
    return to_mask(grid.from_model(scores, box, shape), volume.geometry.spacing_mm, rule)


if __name__ == "__main__":
    main()
