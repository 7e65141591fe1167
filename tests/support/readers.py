"""Independent readers of what oncue writes: dciodvfy, dcentvfy, and dcmqi's segmentation and report readers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.peers import environment_tool, run

Points = frozenset[tuple[float, float, float]]


@dataclass(frozen=True, slots=True)
class ReadSegment:
    """One segment as dcmqi reads it: its tracking UID, and where its voxels lie (mm, LPS, to a tenth)."""

    tracking_uid: str
    points: Points


def iod_errors(path: Path) -> list[str]:
    """Return what dciodvfy calls an error in a Part 10 file."""
    return [line for line in run(environment_tool("dciodvfy"), path).stdout.splitlines() if line.startswith("Error")]


def entity_errors(paths: Iterable[Path]) -> list[str]:
    """Return what dcentvfy calls an error across files: patients, studies, frames of reference that disagree."""
    return [line for line in run(environment_tool("dcentvfy"), *paths).stdout.splitlines() if line.startswith("Error")]


def read_segments(path: Path, folder: Path) -> dict[int, ReadSegment]:
    """Read a SEG with dcmqi and return its segments by number."""
    folder.mkdir()
    result = run(environment_tool("segimage2itkimage"), "--inputDICOM", path, "--outputDirectory", folder)
    assert result.returncode == 0, result.stdout
    groups = json.loads((folder / "meta.json").read_text())["segmentAttributes"]
    segments = {}
    for number, group in enumerate(groups, start=1):
        (attributes,) = group
        points = _labelled_points(folder / f"{number}.nrrd")
        segments[int(attributes["labelID"])] = ReadSegment(attributes["TrackingUniqueIdentifier"], points)
    return segments


def labelled_points(path: Path, folder: Path) -> dict[int, Points]:
    """Read a label map SEG with dcmqi and return where the voxels of each number lie (mm, LPS, to a tenth)."""
    folder.mkdir()
    result = run(environment_tool("segimage2itkimage"), "--inputDICOM", path, "--outputDirectory", folder)
    assert result.returncode == 0, result.stdout
    found: dict[int, Points] = {}
    for file in sorted(folder.glob("*.nrrd")):
        voxels, affine = _nrrd(file, kind="unsigned char", dtype="u1")
        numbers = [int(number) for number in np.unique(voxels) if number]
        found |= {number: grid_points(voxels == number, affine) for number in numbers}
    return found


def read_report(path: Path, folder: Path) -> dict[str, Any]:
    """Read an SR with dcmqi's TID 1500 reader and return what it understood."""
    target = folder / "report.json"
    result = run(environment_tool("tid1500reader"), "--inputDICOM", path, "--outputMetadata", target)
    assert result.returncode == 0, result.stdout
    content: dict[str, Any] = json.loads(target.read_text())
    return content


def read_map(path: Path, folder: Path) -> tuple[dict[str, Any], dict[tuple[float, float, float], float]]:
    """Read a parametric map with dcmqi: what it understood, and the value at each point (mm, LPS, to a tenth)."""
    folder.mkdir()
    result = run(environment_tool("paramap2itkimage"), "--inputDICOM", path, "--outputDirectory", folder)
    assert result.returncode == 0, result.stdout
    voxels, affine = _nrrd(folder / "pmap.nrrd", kind="float", dtype="<f4")
    return json.loads((folder / "meta.json").read_text()), point_values(voxels, affine)


def point_values(voxels: NDArray[np.float32], affine: NDArray[np.float64]) -> dict[tuple[float, float, float], float]:
    """Return the value of each voxel by where it lies; ``affine`` maps (index, 1) to mm."""
    points = np.argwhere(np.ones(voxels.shape, dtype=bool)) @ affine[:3, :3].T + affine[:3, 3]
    return dict(zip(map(_rounded_point, points.tolist()), voxels.reshape(-1).tolist(), strict=True))


def grid_points(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> Points:
    """Return where the voxels of a ``[z, y, x]`` mask lie; ``affine`` maps (z, y, x, 1) to mm."""
    indices = np.argwhere(mask)
    return _rounded(indices @ affine[:3, :3].T + affine[:3, 3])


def _labelled_points(path: Path) -> Points:
    """Return where the non-zero voxels of an NRRD file in the LPS frame lie."""
    voxels, affine = _nrrd(path, kind="short", dtype="<i2")
    return grid_points(voxels != 0, affine)


def _nrrd(path: Path, *, kind: str, dtype: str) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the voxels of an NRRD file in the LPS frame, and the affine that maps their indices to mm."""
    head, _, body = path.read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line and line[0] != "#")
    assert fields["space"] == "left-posterior-superior"
    assert (fields["type"], fields["encoding"], fields.get("endian", "little")) == (kind, "gzip", "little")
    sizes = [int(size) for size in fields["sizes"].split()]
    affine = np.eye(4)
    affine[:3, :3] = np.array([_vector(text) for text in fields["space directions"].split()]).T
    affine[:3, 3] = _vector(fields["space origin"])
    return np.frombuffer(gzip.decompress(body), dtype=dtype).reshape(sizes, order="F"), affine


def _vector(text: str) -> list[float]:
    return [float(value) for value in text.strip("()").split(",")]


def _rounded(points: NDArray[np.float64]) -> Points:
    return frozenset(_rounded_point(point) for point in points.tolist())


def _rounded_point(point: Sequence[float]) -> tuple[float, float, float]:
    x, y, z = point
    return round(x, 1) + 0.0, round(y, 1) + 0.0, round(z, 1) + 0.0
