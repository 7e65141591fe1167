"""`oncue models add | try | remove`: models of a site's own, checked, tried and taken off again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.commands import backbones
from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from console.installation import Installation
    from console.site_models.trial import Trial
    from storage.site_models import SiteModel
    from workers.site_models.analyser import SiteModelAnalyser
    from workers.site_models.installing import ModelPlace
    from workers.stopwatch import Stopwatch

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", exists=True, file_okay=False, help="Folder of the model, as published.")
]
Name = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="What routes call it; default: as the folder.")
]
Licence = Annotated[
    str | None, typer.Option("--licence", metavar="SPDX", help="For an image encoder: licence, as on its card.")
]
Commercial = Annotated[
    bool,
    typer.Option("--commercial/--non-commercial", help="For an image encoder: whether commercial use is allowed."),
]
ModelName = Annotated[str, typer.Argument(metavar="NAME", help="Name of an installed model.")]
Subject = Annotated[
    str,
    typer.Argument(
        metavar="FOLDER_OR_STUDY", help="Folder of DICOM files, or a study's number on the pages or Study Instance UID."
    ),
]
Pictures = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", file_okay=False, help="Folder for pictures of what was found.")
]
Prompt = Annotated[
    str | None, typer.Option("--prompt", metavar="TEXT", help="What to look for, where the model takes text.")
]
_ACTOR = "cli"


def add_model(
    folder: Folder,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    name: Name = None,
    licence: Licence = None,
    commercial: Commercial = False,
    as_json: AsJson = False,
) -> None:
    """Check a model, copy it into the state, write down the digest of every file, open it once, and register it.

    Takes nnU-Net v2 result folders, MONAI bundles, foundation diffusion models (diffusers, MONAI, MAISI), ONNX and
    TorchScript networks with a model.toml, and image encoders for classification (--licence). docs/models.md has each.

    Example: oncue models add ./Dataset003_Liver/nnUNetTrainer__nnUNetPlans__3d_fullres --name liver
    """
    called = name or folder.resolve().name.lower()
    from console.installation import open_installation
    from workers.site_models.installing import add_model as install

    installation = open_installation(state, file=config)
    if backbones.is_encoder(folder):
        _add_encoder(installation, folder, called, licence, commercial=commercial, as_json=as_json)
        return
    installation.require()
    added = install(_place(installation), folder, called, actor=_ACTOR)
    _write_added(added, as_json=as_json)


def remove_model(name: ModelName, state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """Take a model off the record and delete its files; results that it gave stay.

    Jobs of routes that name it wait until a model of that name is added.

    Example: oncue models remove liver
    """
    from console.installation import open_installation
    from console.terminal.output import write_line
    from workers.site_models.installing import remove_model as uninstall

    installation = open_installation(state, file=config)
    installation.require()
    uninstall(installation.state, installation.database, name=name, actor=_ACTOR)
    write_line(f"model {name} is removed")


def try_model(
    name: ModelName,
    subject: Subject,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    out: Pictures = None,
    prompt: Prompt = None,
    as_json: AsJson = False,
) -> None:
    """Run a model on a folder or a study on record and show result, time and memory. Nothing is kept or sent.

    Example: oncue models try liver ./my-study --out ./pictures
    """
    from dataclasses import asdict, replace

    from console.installation import open_installation
    from console.terminal.output import write_json
    from workers.stopwatch import Stopwatch

    installation, watch = open_installation(state, file=config), Stopwatch()
    with watch.stage("load"):
        analyser = replace(_loaded(installation, name), prompt=prompt)
    trial = _tried(installation, analyser, subject, watch=watch, out=out)
    if as_json:
        write_json(asdict(trial))
        return
    _show(trial)


def _add_encoder(
    installation: Installation, folder: Path, name: str, licence: str | None, *, commercial: bool, as_json: bool
) -> None:
    from workers.fewshot.registry import NewBackbone

    if licence is None:
        raise typer.BadParameter("an image encoder needs its licence: give --licence SPDX")
    models = installation.settings.worker.models_folder()
    backbones.add_backbone(folder, NewBackbone(name, licence, commercial), models=models, as_json=as_json)


def _place(installation: Installation) -> ModelPlace:
    from workers.devices import choose_device, choose_dtype
    from workers.resources import LABEL
    from workers.site_models.installing import ModelPlace

    worker = installation.settings.worker
    device = choose_device(worker.device)
    return ModelPlace(
        state=installation.state,
        database=installation.database,
        device=device,
        dtype=choose_dtype(device, worker.dtype),
        allow_code=worker.allow_code,
        taken=(LABEL, *worker.known_analysers()),
    )


def _loaded(installation: Installation, name: str) -> SiteModelAnalyser:
    from storage import site_models
    from workers.site_models.loading import load

    with installation.read() as session:
        model = site_models.find(session, name)
    place = _place(installation)
    folder = site_models.folder(installation.state, name)
    return load(model, folder, device=place.device, dtype=place.dtype, allow_code=place.allow_code)


def _tried(
    installation: Installation, analyser: SiteModelAnalyser, subject: str, *, watch: Stopwatch, out: Path | None
) -> Trial:
    from console.routes.reading import study_on_record
    from console.site_models.folder_study import study_of_folder
    from console.site_models.trial import try_on
    from storage import deletions, studies

    device = str(_place(installation).device)
    if Path(subject).is_dir():
        with study_of_folder(Path(subject)) as (instances, objects):
            return try_on(analyser, instances, objects, watch=watch, device=device, pictures=out)
    with installation.read() as session:
        study_id = study_on_record(session, subject).id
        deletions.require_images(session, study_id)
        instances = studies.instances_of(session, study_id)
    return try_on(analyser, instances, installation.objects, watch=watch, device=device, pictures=out)


def _write_added(model: SiteModel, *, as_json: bool) -> None:
    from console.site_models.listing import form_of
    from console.terminal.output import write_json, write_line

    form = form_of(model)
    if as_json:
        write_json(form)
        return
    write_line(f"model {model.name} ({model.kind}) is added: {len(model.files)} files, sha256 {model.sha256}")
    write_line(f'try it: oncue models try {model.name} FOLDER    use it: analyser = "{model.name}" in a route')


def _show(trial: Trial) -> None:
    from console.terminal.output import write_line, write_table

    headers = ("kind", "name", "lies in", "ml", "mm", "confidence")
    for found in trial.inputs:
        title = f"{found.modality}, {found.slices} x {found.rows} x {found.columns}, case score {found.case_score:.3f}"
        rows = [
            (one.kind, one.name, one.site, one.volume_ml, one.longest_diameter_mm, one.confidence)
            for one in found.findings
        ]
        write_table(title, headers, rows, empty="nothing found")
        for picture in found.pictures:
            write_line(picture)
    spent = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in trial.seconds.items())
    write_line(f"{trial.model} ({trial.kind}) on {trial.device}: {spent}")
    write_line(f"memory: model {trial.model_megabytes:.0f} MB, process at most {trial.peak_megabytes:.0f} MB")
