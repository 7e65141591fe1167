"""The loss of each stage as a picture (SVG), drawn from the logs that the stages write."""

from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING

from lab.training.settings import Stage

if TYPE_CHECKING:
    from pathlib import Path

    Curve = list[tuple[int, float]]

PLOT_FILE = "loss.svg"
WIDTH, HEIGHT, MARGIN = 640, 150, 44


def draw_losses(work: Path) -> Path | None:
    """Draw the losses logged under ``work``, one panel a stage, into ``loss.svg``; None where nothing is logged."""
    curves = {stage: curve for stage in Stage if (curve := _read(work / f"{stage}.loss.csv"))}
    if not curves:
        return None
    panels = [_panel(stage, curve, top=index * HEIGHT) for index, (stage, curve) in enumerate(curves.items())]
    path = work / PLOT_FILE
    size = f'width="{WIDTH}" height="{HEIGHT * len(panels)}"'
    style = 'font-family="sans-serif" font-size="12" fill="#555"'
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{"".join(panels)}</svg>\n', encoding="utf-8"
    )
    return path


def _read(path: Path) -> Curve:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]


def _panel(stage: Stage, curve: Curve, *, top: int) -> str:
    """Draw one stage: steps to the right, the logarithm of the smoothed loss upwards."""
    values = [math.log(max(loss, 1e-6)) for _, loss in curve]
    low, high, last = min(values), max(values), curve[-1][0]
    reach = (high - low) or 1.0
    inner_width, inner_height = WIDTH - 2 * MARGIN, HEIGHT - MARGIN
    points = " ".join(
        f"{MARGIN + inner_width * step / last:.1f},{top + MARGIN / 2 + inner_height * (high - value) / reach:.1f}"
        for (step, _), value in zip(curve, values, strict=True)
    )
    foot = top + MARGIN / 2 + inner_height
    title = f"{stage.value}: loss {curve[0][1]:.3f} to {curve[-1][1]:.3f} in {last} steps"
    return (
        f'<text x="{MARGIN}" y="{top + 14}">{title}</text>'
        f'<line x1="{MARGIN}" y1="{foot}" x2="{WIDTH - MARGIN}" y2="{foot}" stroke="#999"/>'
        f'<polyline points="{points}" fill="none" stroke="#2a78c0" stroke-width="1.5"/>'
    )
