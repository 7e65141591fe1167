"""The models on a GPU beside the same models on the CPU: same masks, studies per second, device busy, memory.

The command is ``python -m benchmarks.gpu [--studies N] [--json]``. It needs no network and takes a few minutes; where
no GPU is at hand it says so and runs its CPU part. Exit code 1 where a GPU's float32 masks differ from the CPU's by
more than 0.5 % of their voxels, or where the device was busy for less than 80 % of a backlog.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from phantom.study import write_phantom_study
from storage import analyses
from storage.objects import ObjectStore
from storage.states import JobState
from storage.volumes import Volume
from tests.support import tiny_networks
from tests.support.ct_phantoms import ct_phantom
from tests.support.limb_phantoms import VALUES, limb_phantom
from tests.support.pool import Floor, work_floor
from tests.support.queued import stored_instances
from workers.config import FAMILIES_FOLDER, SEGMENTATION_FOLDER, WorkerSettings
from workers.imaging.inputs import read_inputs
from workers.imaging.instances import read_headers
from workers.imaging.series import SelectionRules
from workers.segmentation.family_segmenter import FamilySegmenter
from workers.segmentation.segmenter import ZeroShotSegmenter
from workers.site_models.kinds import recognise
from workers.site_models.loading import open_checked

MOST_DIFFERENT = 0.005
"""Share of the voxels of two masks that may be in one of them alone."""
LEAST_BUSY = 0.8
ON_DEVICE = frozenset({"guard", "segment", "classify"})
"""The stages in which a job holds the device."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """One model in one number format on one device, beside float32 on the CPU.

    ``different`` is the largest share, over the volumes, of voxels in one of two masks alone; ``megabytes`` is the
    device memory that it took at most, 0 on the CPU.
    """

    model: str
    device: str
    dtype: str
    different: float
    megabytes: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """One worker with a full queue: studies per second, and the share of that time for which it held the device."""

    device: str
    studies: int
    per_second: float
    busy: float


def main(words: Sequence[str] | None = None) -> None:
    """Compare, measure, print, and say by the exit code whether the GPU does what it should."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=24, help="studies of the backlog on a GPU; on the CPU three")
    parser.add_argument("--slices", type=int, default=24)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        volumes = _phantoms(Path(folder), slices=arguments.slices, size=arguments.size)
        agreements = [*_shipped(volumes), *_families(), *_foreign(Path(folder))]
        backlog = _backlog(Path(folder), arguments.studies if torch.cuda.is_available() else min(arguments.studies, 3))
    if arguments.json:
        print(json.dumps({"gpu": _gpu(), "agreements": list(map(asdict, agreements)), "backlog": asdict(backlog)}))
    else:
        _show(agreements, backlog)
    sys.exit(1 if _falls_short(agreements, backlog) else 0)


def _gpu() -> str | None:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _runs() -> list[tuple[torch.device, torch.dtype]]:
    """Return what is compared with float32 on the CPU: the GPU in both formats, else the CPU in bfloat16."""
    if torch.cuda.is_available():
        return [(torch.device("cuda"), torch.float32), (torch.device("cuda"), torch.bfloat16)]
    return [(torch.device("cpu"), torch.bfloat16)]


def _phantoms(folder: Path, *, slices: int, size: int) -> list[Volume]:
    """Return head phantoms, two with a lesion and one without, read as a job reads them."""
    objects = ObjectStore(folder / "objects")
    objects.prepare()
    volumes: list[Volume] = []
    for seed in range(3):
        study = write_phantom_study(folder / f"head-{seed}", seed=seed, slices=slices, size=size, lesion=seed < 2)
        files = list(study.series_folder.iterdir())
        stored = stored_instances(objects, files, study_uid=study.study_instance_uid)
        rules = SelectionRules(modalities=frozenset({"MR"}))
        volumes += read_inputs(read_headers(stored, objects), objects, rules=rules).volumes
    return volumes


def _shipped(volumes: Sequence[Volume]) -> Iterator[Agreement]:
    folder = WorkerSettings().models_folder() / SEGMENTATION_FOLDER
    true = _shipped_masks(folder, volumes, torch.device("cpu"), torch.float32)
    for device, dtype in _runs():
        with _memory(device) as taken:
            masks = _shipped_masks(folder, volumes, device, dtype)
        name = str(dtype).removeprefix("torch.")
        yield Agreement("shipped", str(device), name, _most_different(masks, true), taken[0])


def _shipped_masks(
    folder: Path, volumes: Sequence[Volume], device: torch.device, dtype: torch.dtype
) -> list[NDArray[np.bool_]]:
    segmenter = ZeroShotSegmenter.load(folder, device=device, dtype=dtype)
    return [segmenter.segment(volume).mask for volume in volumes]


def _families() -> Iterator[Agreement]:
    """Compare each family whose kind of image is drawn here: a thigh with a tumour, and one without."""
    cpu = torch.device("cpu")
    for folder in sorted((WorkerSettings().models_folder() / FAMILIES_FOLDER).iterdir()):
        (modality,) = FamilySegmenter.load(folder, device=cpu, dtype=torch.float32).family.modalities
        if modality not in VALUES:
            continue
        volumes = [limb_phantom(modality, seed=1).volume, limb_phantom(modality, seed=2, tumour=False).volume]
        true = _family_masks(folder, volumes, cpu, torch.float32)
        for device, dtype in _runs():
            with _memory(device) as taken:
                masks = _family_masks(folder, volumes, device, dtype)
            name = str(dtype).removeprefix("torch.")
            yield Agreement(folder.name, str(device), name, _most_different(masks, true), taken[0])


def _family_masks(
    folder: Path, volumes: Sequence[Volume], device: torch.device, dtype: torch.dtype
) -> list[NDArray[np.bool_]]:
    segmenter = FamilySegmenter.load(folder, device=device, dtype=dtype)
    return [segmenter.segment(volume).mask for volume in volumes]


def _foreign(folder: Path) -> Iterator[Agreement]:
    """Compare a small network, trained here on drawn abdomens for some seconds, as TorchScript and as ONNX."""
    tiny_networks.train_both(folder / "networks")
    cpu, (device, _) = torch.device("cpu"), _runs()[0]
    true = _foreign_masks(folder / "networks" / "torchscript", cpu)
    for kind in ("torchscript", "onnx") if device.type == "cuda" else ("onnx",):
        with _memory(device) as taken:
            masks = _foreign_masks(folder / "networks" / kind, device)
        yield Agreement(f"foreign, {kind}", str(device), "float32", _most_different(masks, true), taken[0])


def _foreign_masks(folder: Path, device: torch.device) -> list[NDArray[np.bool_]]:
    card = recognise(folder)
    model = open_checked(folder, card, name="foreign", device=device, dtype=torch.float32, allow_code=True)
    volumes = (ct_phantom(seed).volume for seed in tiny_networks.HELD_OUT)
    return [model.segment(volume, prompt=None, check=_go_on).mask for volume in volumes]


def _most_different(masks: Sequence[NDArray[np.bool_]], true: Sequence[NDArray[np.bool_]]) -> float:
    return max(_different(mask, other) for mask, other in zip(masks, true, strict=True))


def _different(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return the share of the voxels of two masks that are in one of them alone; 0 where both are empty."""
    return float((mask ^ other).sum()) / max(1, int((mask | other).sum()))


@contextmanager
def _memory(device: torch.device) -> Iterator[list[float]]:
    """Yield a list that holds, when the block has ended, the most megabytes of device memory that it took."""
    taken: list[float] = []
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    yield taken
    taken.append(round(torch.cuda.max_memory_allocated(device) / 1e6, 1) if device.type == "cuda" else 0.0)


def _backlog(folder: Path, studies: int) -> Backlog:
    """Have a real worker work off a queue with the shipped models; the first study, which warms it, is not counted."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    analysers = {"zero-shot": "zero-shot"}
    place = folder / "floor"
    place.mkdir()
    with work_floor(place, analysers=analysers, device=device, guard=True, classify=True) as floor:
        floor.start_relay()
        floor.start_worker()
        floor.wait_for_state(floor.queue(study="1"), JobState.SUCCEEDED, seconds=300)
        ids = [floor.queue(study=str(number)) for number in range(2, studies + 2)]
        for job_id in ids:
            floor.wait_for_state(job_id, JobState.SUCCEEDED, seconds=300)
        return _measured(floor, ids, device)


def _measured(floor: Floor, ids: Sequence[int], device: str) -> Backlog:
    found = [floor.job(job_id) for job_id in ids]
    begin = min(job.started_at for job in found if job.started_at)
    end = max(job.finished_at for job in found if job.finished_at)
    seconds = (end - begin).total_seconds()
    with floor.database.read() as session:
        timings = [analyses.load(session, job_id, floor.objects).timings for job_id in ids]
    held = sum(timing.seconds for one in timings for timing in one if timing.stage in ON_DEVICE)
    return Backlog(device, len(ids), round(len(ids) / seconds, 3), round(held / seconds, 3))


def _falls_short(agreements: Sequence[Agreement], backlog: Backlog) -> bool:
    if backlog.device != "cuda":
        return False
    held_to = [one for one in agreements if one.device.startswith("cuda") and one.dtype == "float32"]
    return backlog.busy < LEAST_BUSY or any(one.different > MOST_DIFFERENT for one in held_to)


def _show(agreements: Sequence[Agreement], backlog: Backlog) -> None:
    print(_gpu() or "no GPU here: this is the CPU part alone")
    for one in agreements:
        print(
            f"{one.model:<22}{one.device:<8}{one.dtype:<10}{100 * one.different:8.3f} % of the masks' voxels differ"
            f"{one.megabytes:10.0f} MB of device memory"
        )
    print(
        f"backlog of {backlog.studies} on {backlog.device}: {backlog.per_second:.2f} studies/s, busy {backlog.busy:.0%}"
    )


def _go_on() -> None:
    """Go on: nobody waits for the device."""


if __name__ == "__main__":
    main()
