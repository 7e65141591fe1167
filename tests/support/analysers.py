"""Analysers for tests, named in the settings as ``tests.support.analysers:build_...`` and run in real child processes.

They talk to the test through files in the folder that ONCUE_TEST_GATE names.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from storage.domain import Algorithm, Segmentation
from storage.volumes import FrameRef, Geometry, Volume
from workers.analysers import AbortCheck, Analyser
from workers.config import WorkerSettings
from workers.errors import WeightsMismatch
from workers.loaded_models import LoadedModels, ModelSource

ALGORITHM = Algorithm("threshold", "1", "0" * 64, '{"share":0.8}')


@dataclass(frozen=True)
class QuickAnalyser:
    """Takes the brightest voxels for a lesion."""

    def segment(self, volume: Volume, *, check: AbortCheck) -> Segmentation:
        check()
        top = float(np.percentile(volume.voxels, 99.8))
        score = np.clip(volume.voxels / max(top, 1e-6), 0, 1).astype(np.float32)
        return Segmentation(volume.voxels >= top, score, 0.9, 0.0, ALGORITHM)


@dataclass(frozen=True)
class GatedAnalyser:
    """Says that it began, then waits until the test opens the gate."""

    def segment(self, volume: Volume, *, check: AbortCheck) -> Segmentation:
        gate = gate_folder()
        (gate / f"began-{os.getpid()}").touch()
        while not (gate / "open").exists():
            check()
            time.sleep(0.02)
        return QuickAnalyser().segment(volume, check=check)


@dataclass(frozen=True)
class PoisonAnalyser:
    """Kills the process that it runs in, until the test has found a cure."""

    def segment(self, volume: Volume, *, check: AbortCheck) -> Segmentation:
        if not (gate_folder() / "open").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return QuickAnalyser().segment(volume, check=check)


@dataclass(frozen=True)
class SizedAnalyser:
    """Takes the brightest voxels for a lesion, and so much memory."""

    name: str
    megabytes: float

    def segment(self, volume: Volume, *, check: AbortCheck) -> Segmentation:
        found = QuickAnalyser().segment(volume, check=check)
        return replace(found, algorithm=replace(ALGORITHM, name=self.name))


@dataclass(frozen=True)
class ReadyModels:
    """Models that need no loading."""

    analysers: Mapping[str, Analyser]

    def names(self) -> frozenset[str]:
        return frozenset(self.analysers)

    def source(self, name: str) -> ModelSource:
        return ModelSource(name, lambda: self.analysers[name])


def ready_models(analysers: Mapping[str, Analyser]) -> LoadedModels:
    """Return models as a worker holds them, made from analysers that are there already."""
    return LoadedModels(ReadyModels(analysers))


def small_volume() -> Volume:
    """Return a volume of 2 x 4 x 4 voxels, the last one bright."""
    voxels = np.zeros((2, 4, 4), dtype=np.float32)
    voxels[-1, -1, -1] = 100.0
    geometry = Geometry((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1.0, 1.0, 1.0))
    frames = tuple(FrameRef(f"1.2.{z}", "1.2", None, "0" * 64) for z in range(2))
    return Volume(voxels, geometry, "MR", "1.2.3", "1.2.4", None, frames)


@dataclass(frozen=True)
class HangingAnalyser:
    """Hangs on the study whose UID the test wrote into the gate, deaf to every check, and is quick with others."""

    def segment(self, volume: Volume, *, check: AbortCheck) -> Segmentation:
        gate = gate_folder()
        if (gate / "hangs").read_text() == volume.study_instance_uid:
            (gate / f"began-{os.getpid()}").touch()
            while True:
                time.sleep(0.02)
        return QuickAnalyser().segment(volume, check=check)


@dataclass(frozen=True)
class GreedyAnalyser:
    """Runs out of memory on the study whose UID the test wrote into the gate, and is quick with others."""

    def segment(self, volume: Volume, *, check: AbortCheck) -> Segmentation:
        if (gate_folder() / "greedy").read_text() == volume.study_instance_uid:
            raise MemoryError
        return QuickAnalyser().segment(volume, check=check)


def gate_folder() -> Path:
    return Path(os.environ["ONCUE_TEST_GATE"])


def build_quick(_settings: WorkerSettings) -> Analyser:
    return QuickAnalyser()


def build_bright(_settings: WorkerSettings) -> Analyser:
    return SizedAnalyser("bright", 4.0)


def build_dark(_settings: WorkerSettings) -> Analyser:
    return SizedAnalyser("dark", 4.0)


def build_gated(_settings: WorkerSettings) -> Analyser:
    return GatedAnalyser()


def build_hanging(_settings: WorkerSettings) -> Analyser:
    return HangingAnalyser()


def build_greedy(_settings: WorkerSettings) -> Analyser:
    return GreedyAnalyser()


def build_poison(_settings: WorkerSettings) -> Analyser:
    return PoisonAnalyser()


def build_mismatched(_settings: WorkerSettings) -> Analyser:
    raise WeightsMismatch("a weight file does not hash to its manifest")
