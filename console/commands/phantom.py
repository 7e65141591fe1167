"""`oncue phantom`: make a study whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.terminal.options import AsJson

Out = Annotated[Path, typer.Option("--out", metavar="DIR", file_okay=False, help="Where to write it.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Another number, another head and lesion.")]
Oblique = Annotated[
    float, typer.Option("--oblique", metavar="DEGREES", min=-45, max=45, help="Tilt the slices about the x axis.")
]
Healthy = Annotated[bool, typer.Option("--healthy", help="Leave the lesion out.")]


def write_phantom(
    out: Out, *, seed: Seed = 1, oblique: Oblique = 0.0, healthy: Healthy = False, as_json: AsJson = False
) -> None:
    """Write one head MR phantom study as DICOM files, and its truth as truth.npz outside the series folders.

    Example: oncue phantom --out ./phantom --seed 7
    """
    from console.terminal.output import write_json, write_line
    from phantom.study import write_phantom_study

    study = write_phantom_study(out, seed=seed, oblique_degrees=oblique, lesion=not healthy)
    lesion_ml = float(study.phantom.mask.sum()) * study.phantom.geometry.voxel_ml
    if as_json:
        write_json(
            {
                "study_instance_uid": study.study_instance_uid,
                "series_instance_uid": study.series_instance_uid,
                "series_folder": str(study.series_folder),
                "truth": str(study.truth_path),
                "instances": len(study.sop_instance_uids),
                "lesion_ml": round(lesion_ml, 3),
            }
        )
        return
    write_line(f"{len(study.sop_instance_uids)} slices in {study.series_folder}, lesion {lesion_ml:.1f} ml")
    write_line(f"study {study.study_instance_uid}, truth in {study.truth_path}")
