"""A bar chart of the runs' accuracy with their intervals, drawn with Pillow alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from lab.fewshot.measures import Figure
from lab.fewshot.runs import Run

_LEFT, _RIGHT, _LINE = 560, 60, 22
_WIDTH = 1200
_INK, _BAR, _WRONG = (40, 40, 40), (58, 110, 165), (200, 140, 60)
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def draw_chart(runs: Sequence[Run], path: Path) -> None:
    """Write a PNG: one bar for each run, below it that of the wrong-mask control where there is one."""
    height = _LINE * (2 + sum(1 if one.control is None else 2 for one in runs))
    picture = Image.new("RGB", (_WIDTH, height), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for tick in _TICKS:
        pen.line([(_x(tick), 0), (_x(tick), height - _LINE)], fill=(225, 225, 225))
        pen.text((_x(tick) - 10, height - _LINE + 3), f"{tick:.2f}", fill=_INK, font=font)
    top = _LINE // 2
    for one in runs:
        _bar(pen, _name(one), one.measures.accuracy, top=top, colour=_BAR)
        top += _LINE
        if one.control is not None:
            _bar(pen, "wrong masks", one.control.measures.accuracy, top=top, colour=_WRONG)
            top += _LINE
    picture.save(path)


def _bar(pen: ImageDraw.ImageDraw, name: str, figure: Figure, *, top: int, colour: tuple[int, int, int]) -> None:
    pen.text((8, top + 3), name, fill=_INK, font=ImageFont.load_default(13))
    if figure.mean is None:
        return
    middle = top + _LINE // 2
    pen.rectangle([(_x(0.0), top + 3), (_x(figure.mean), top + _LINE - 4)], fill=colour)
    if figure.lo is not None and figure.hi is not None:
        pen.line([(_x(figure.lo), middle), (_x(figure.hi), middle)], fill=_INK, width=2)


def _x(value: float) -> int:
    return _LEFT + round(value * (_WIDTH - _LEFT - _RIGHT))


def _name(one: Run) -> str:
    setting, amount = one.setting, one.setting.amount
    learned = f"{amount.share:g} %" if amount.share is not None else f"K={amount.shots}"
    sex = "" if setting.thinning is None else f", {setting.thinning.kept:.0%} of {setting.thinning.sex}"
    return f"{setting.backbone}, {setting.prompt.value}, {setting.head}, {setting.freeze}, {learned}{sex}"
