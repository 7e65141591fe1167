"""The losses of a training run as a picture (SVG), drawn from the logs that its stages write."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from matplotlib import rc_context
from matplotlib.figure import Figure

from lab.training.settings import Stage

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    Curve = list[tuple[int, float]]

PLOT_FILE = "loss.svg"
PANEL_INCHES = (6.5, 1.9)
LOWEST_LOSS = 1e-6
"""Lower losses are drawn here: the axis is logarithmic."""


def draw_losses(work: Path) -> Path | None:
    """Draw the losses logged under ``work`` into ``loss.svg``, a panel for each stage; None without any log."""
    curves = {stage: curve for stage in Stage if (curve := _read(work / f"{stage}.loss.csv"))}
    if not curves:
        return None
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width, height * len(curves)), layout="constrained")
    panels = figure.subplots(len(curves), squeeze=False)[:, 0]
    for panel, (stage, curve) in zip(panels, curves.items(), strict=True):
        _draw(panel, stage, curve)
    path = work / PLOT_FILE
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
    return path


def _draw(panel: Axes, stage: Stage, curve: Curve) -> None:
    """Draw one stage: steps to the right, the smoothed loss upwards."""
    steps, losses = zip(*curve, strict=True)
    panel.plot(steps, [max(loss, LOWEST_LOSS) for loss in losses])
    panel.set_yscale("log")
    panel.set_title(f"{stage.value}: loss {losses[0]:.3f} to {losses[-1]:.3f} in {steps[-1]} steps", loc="left")


def _read(path: Path) -> Curve:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]
