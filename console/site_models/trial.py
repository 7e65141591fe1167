"""Try an installed model on one study: what it finds, how long that takes and how much memory. Nothing is sent."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.domain import Finding, Presence, Site, StageTiming, StoredInstance, Structure
from storage.objects import ObjectStore
from storage.volumes import Extent, Volume
from workers.imaging.inputs import read_inputs
from workers.imaging.instances import read_headers
from workers.imaging.series import SelectionRules
from workers.lesions import find_lesions
from workers.pictures import draw_overlays
from workers.site_models.analyser import SiteModelAnalyser
from workers.stopwatch import Stopwatch

_MOST_PICTURES = 12


@dataclass(frozen=True, slots=True)
class TriedFinding:
    """One lesion, or one organ, as the result would state it; ``volume_ml`` is None where volumes are not known."""

    kind: str
    name: str
    site: str | None
    volume_ml: float | None
    longest_diameter_mm: float | None
    confidence: float | None


@dataclass(frozen=True, slots=True)
class TriedInput:
    """What the model said of one volume or image. ``pictures`` are files, where a folder for them was given."""

    series_instance_uid: str
    modality: str
    slices: int
    rows: int
    columns: int
    case_score: float
    findings: tuple[TriedFinding, ...]
    pictures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """What trying a model came to. ``peak_megabytes`` is this process's highest resident memory so far."""

    model: str
    kind: str
    device: str
    inputs: tuple[TriedInput, ...]
    seconds: dict[str, float]
    model_megabytes: float
    peak_megabytes: float


def try_on(
    analyser: SiteModelAnalyser,
    instances: Sequence[StoredInstance],
    objects: ObjectStore,
    *,
    watch: Stopwatch,
    device: str,
    pictures: Path | None = None,
) -> Trial:
    """Read a study as a job would, run the model on it, and return what a result would state.

    Raises what a job would fail with: ``no_usable_series``, ``field_of_view_mismatch`` ...
    """
    with watch.stage("read"):
        scan = read_headers(instances, objects)
        wanted = frozenset(analyser.card.modalities) or frozenset(item.modality for item in instances)
        inputs = read_inputs(scan, objects, rules=SelectionRules(modalities=wanted), secondary_capture=True)
    tried = tuple(_tried(analyser, volume, watch, pictures) for volume in inputs.volumes)
    return Trial(
        model=analyser.name,
        kind=analyser.card.kind.value,
        device=device,
        inputs=tried,
        seconds=_seconds(watch.timings),
        model_megabytes=round(analyser.megabytes, 1),
        peak_megabytes=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000, 1),
    )


def _tried(analyser: SiteModelAnalyser, volume: Volume, watch: Stopwatch, pictures: Path | None) -> TriedInput:
    with watch.stage("segment"):
        segmentation = analyser.segment(volume, check=_never)
    with watch.stage("measure"):
        lesions = find_lesions(segmentation, volume, input_sha256=volume.series_instance_uid)
    with watch.stage("pictures"):
        drawn = draw_overlays(volume, lesions.labels, most=_MOST_PICTURES) if pictures else ()
        files = _kept(drawn, pictures, volume.frames[0].sop_instance_uid)
    slices, rows, columns = volume.voxels.shape
    return TriedInput(
        series_instance_uid=volume.series_instance_uid,
        modality=volume.modality,
        slices=slices,
        rows=rows,
        columns=columns,
        case_score=round(segmentation.case_score, 4),
        findings=(
            *map(_lesion, lesions.findings),
            *(_organ(structure, volume) for structure in lesions.structures),
        ),
        pictures=files,
    )


def _lesion(finding: Finding) -> TriedFinding:
    found, measured = finding.presence is Presence.PRESENT, finding.extent is not Extent.UNKNOWN
    return TriedFinding(
        kind="lesion" if found else "none",
        name=f"{finding.concept.meaning} {finding.number}" if found else f"no {finding.concept.meaning.lower()}",
        site=_site(finding.site) if finding.site else None,
        volume_ml=round(finding.volume_ml, 3) if found and finding.extent is Extent.VOLUME else None,
        longest_diameter_mm=round(finding.longest_diameter_mm, 2) if found and measured else None,
        confidence=round(finding.confidence, 4),
    )


def _organ(structure: Structure, volume: Volume) -> TriedFinding:
    volume_ml = round(structure.volume_ml, 3) if volume.extent is Extent.VOLUME else None
    return TriedFinding("organ", structure.name, _site(structure.site), volume_ml, None, None)


def _site(site: Site) -> str:
    side = f"{site.laterality.meaning.lower()} " if site.laterality else ""
    return f"{side}{site.concept.meaning}"


def _kept(drawn: Sequence[bytes], folder: Path | None, uid: str) -> tuple[str, ...]:
    """Write pictures into a folder and return their paths; their names come from a digest, never from the image."""
    if folder is None:
        return ()
    folder.mkdir(parents=True, exist_ok=True)
    stem = hashlib.sha256(uid.encode()).hexdigest()[:12]
    paths = [folder / f"{stem}-{number:02}.png" for number in range(1, len(drawn) + 1)]
    for path, picture in zip(paths, drawn, strict=True):
        path.write_bytes(picture)
    return tuple(map(str, paths))


def _seconds(timings: Sequence[StageTiming]) -> dict[str, float]:
    """Return the seconds of each stage, summed over the inputs."""
    summed: dict[str, float] = {}
    for timing in timings:
        summed[timing.stage] = round(summed.get(timing.stage, 0.0) + timing.seconds, 3)
    return summed


def _never() -> None:
    """Go on: nobody takes a trial's place."""
