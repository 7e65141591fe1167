"""`oncue evaluate`: measure models on labelled cases and pictures."""

from __future__ import annotations

import typer

from console.commands.evaluate.classification import evaluate_classification
from console.commands.evaluate.families import evaluate_families
from console.commands.evaluate.segmentation import evaluate_segmenter
from console.terminal.variadic import VariadicCommand

app = typer.Typer(
    no_args_is_help=True,
    help="Measure models on labelled cases (from a checkout: see decision 0021).",
)
app.command("classification", cls=VariadicCommand)(evaluate_classification)
app.command("segmentation")(evaluate_segmenter)
app.command("families")(evaluate_families)
