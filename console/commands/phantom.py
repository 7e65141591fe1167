"""`oncue phantom` and `oncue send`: make a study, and send one as a modality would."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.commands.options import AsJson

Out = Annotated[Path, typer.Option("--out", metavar="DIR", file_okay=False, help="Where to write it.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Another number, another head and lesion.")]
Oblique = Annotated[
    float, typer.Option("--oblique", metavar="DEGREES", min=-45, max=45, help="Tilt the slices about the x axis.")
]
Healthy = Annotated[bool, typer.Option("--healthy", help="Leave the lesion out.")]
Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", exists=True, help="Folder of DICOM files, or one file; others are skipped.")
]
Target = Annotated[str, typer.Argument(metavar="AET@HOST:PORT", help="Who receives them.")]
CallingTitle = Annotated[str, typer.Option("--calling", metavar="AET", help="Our AE title as the sender.")]


def write_phantom(
    out: Out, *, seed: Seed = 1, oblique: Oblique = 0.0, healthy: Healthy = False, as_json: AsJson = False
) -> None:
    """Write one head MR phantom study as DICOM files, and its truth as truth.npz outside the series folders.

    Example: oncue phantom --out ./phantom --seed 7
    """
    from console.commands.output import write_json, write_line
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
    write_line(f"truth in {study.truth_path}")


def send_files(folder: Folder, target: Target, *, calling: CallingTitle = "MODALITY", as_json: AsJson = False) -> None:
    """Send every DICOM file below a folder by C-STORE; exit code 1 where one was not accepted.

    Example: oncue send ./phantom ONCUE@127.0.0.1:11112
    """
    from dataclasses import asdict

    from console.commands.output import write_json, write_line
    from dicom_gateway.destinations import Destination
    from dicom_gateway.sending.folders import send_folder
    from dicom_gateway.status import PeerAnswer

    found = send_folder(folder, Destination.parse(target), calling_ae_title=calling)
    failures = [outcome for outcome in found.outcomes if outcome.verdict is not PeerAnswer.STORED]
    if as_json:
        write_json([{**asdict(outcome), "verdict": outcome.verdict.value} for outcome in found.outcomes])
    else:
        write_line(f"{len(found.outcomes) - len(failures)} of {len(found.outcomes)} instances accepted by {target}")
        for outcome in failures[:10]:
            write_line(f"  {outcome.sop_instance_uid}: [{outcome.code}] {outcome.reason}")
    if failures:
        raise typer.Exit(1)
