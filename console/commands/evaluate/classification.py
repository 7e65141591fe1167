"""`oncue evaluate classification`: both papers' protocols on folders of labelled pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.commands.laboratory import laboratory
from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State, all_chosen, chosen

if TYPE_CHECKING:
    from lab.fewshot.runs import ExperimentRun
    from storage.progress import OnProgress

Data = Annotated[
    list[str],
    typer.Option("--data", metavar="DIR[=LABEL]", help="Folder with images.csv: image, class; mask, patient, sex ..."),
]
Test = Annotated[
    list[str] | None,
    typer.Option("--test", metavar="DIR[=LABEL]", help="Test on this folder; default: a fifth of --data, by patient."),
]
Share = Annotated[
    list[float] | None, typer.Option("--share", metavar="PERCENT", help="Learn from so much of the training side.")
]
Shots = Annotated[
    list[int] | None, typer.Option("--shots", metavar="K", min=1, help="Learn from K pictures of each class.")
]
Seeds = Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="Repeat every draw so many times.")]
BackboneNames = Annotated[
    list[str] | None, typer.Option("--backbone", metavar="NAME", help="See `oncue models backbones`.")
]
Prompts = Annotated[
    list[str] | None,
    typer.Option(
        "--prompt",
        metavar="MODE",
        help="three-looks, none (both by default), overlay, contour, blur, dim, crop, maskpool, global+crop; or all.",
    ),
]
Heads = Annotated[
    list[str] | None,
    typer.Option(
        "--head",
        metavar="NAME",
        help="prototypes, logistic, logistic-tuned, tip-adapter; with text lp++, clip-zero-shot.",
    ),
]
Freezes = Annotated[
    list[str] | None, typer.Option("--freeze", metavar="HOW", help="freeze_all, last_k, full, lora, vpt.")
]
Masks = Annotated[
    str | None,
    typer.Option(
        "--masks",
        metavar="SOURCE",
        help="given, region, sam2-automatic; default: given where every picture has one, else region for all.",
    ),
]
WithControl = Annotated[
    bool, typer.Option("--control/--no-control", help="Repeat each run with the masks of other pictures.")
]
ThinSex = Annotated[
    str | None, typer.Option("--thin-sex", metavar="SEX", help="Also draw from 100, 50, 25 and 0 % of this sex.")
]
Report = Annotated[
    Path | None, typer.Option("--report", metavar="DIR", file_okay=False, help="Write report.html, .png and .json.")
]
Cache = Annotated[
    Path | None,
    typer.Option("--cache", metavar="DIR", file_okay=False, help="Embeddings; default: in the state folder."),
]
Sam2Folder = Annotated[
    Path | None, typer.Option("--sam2", metavar="DIR", exists=True, file_okay=False, help="Sam2Model to segment with.")
]


def evaluate_classification(
    data: Data,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    test: Test = None,
    share: Share = None,
    shots: Shots = None,
    seeds: Seeds = 5,
    backbone: BackboneNames = None,
    prompt: Prompts = None,
    head: Heads = None,
    freeze: Freezes = None,
    masks: Masks = None,
    control: WithControl = True,
    thin_sex: ThinSex = None,
    report: Report = None,
    cache: Cache = None,
    sam2: Sam2Folder = None,
    as_json: AsJson = False,
) -> None:
    """Learn from few pictures, test on other patients' pictures: accuracy, F1 and AUROC with 95 % intervals.

    Example: oncue evaluate classification --data ../shared/data/covid-xray --share 5 10 --shots 1 4 16
    """
    from console.config import read
    from console.terminal.output import write_json
    from workers.fewshot.contracts import MaskSource, PromptMode

    with laboratory():
        from lab.fewshot.command import ExperimentOptions, classification
        from lab.fewshot.freezing.strategies import Freeze
        from lab.fewshot.report import to_json, write_report
        from lab.fewshot.text_heads import ComparedHead
    options = ExperimentOptions(
        data=data,
        test=test or (),
        shares=share or (),
        shots=shots or (),
        seeds=seeds,
        backbones=backbone or (),
        prompts=list(PromptMode) if "all" in (prompt or ()) else all_chosen(PromptMode, prompt),
        heads=all_chosen(ComparedHead, head),
        freezes=all_chosen(Freeze, freeze),
        masks=chosen(MaskSource, masks),
        control=control,
        thin_sex=thin_sex,
        sam2=sam2,
    )
    settings = read(state, file=config).settings.worker
    runs = classification(options, settings, cache=cache or state / "embeddings", progress=_progress)
    if report is not None:
        write_report(runs, report)
    if as_json:
        write_json(to_json(runs))
        return
    _show(runs)


def _progress(what: str) -> OnProgress:
    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{what}: {done}/{total} pictures" + ("\n" if done == total else ""))

    return show


def _show(runs: Sequence[ExperimentRun]) -> None:
    from console.terminal.output import write_table
    from lab.fewshot.report import HEADERS, row

    write_table("Few-shot classification, means over seeds", HEADERS, [row(one) for one in runs], empty="no run")
