from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.bootstrap import Estimate
from lab.segmentation import levels, page
from lab.segmentation.case_store import ShownSlice
from lab.segmentation.charts import Bar, Strip, bar_plot, strip_plot
from lab.segmentation.evaluation import Example, SegmentationEvaluation
from lab.segmentation.measuring import Figures, MaskFigures
from lab.segmentation.pictures import FOUND_COLOUR, TRUTH_COLOUR, draw
from lab.segmentation.predictions import Way
from lab.segmentation.report import CaseFigures, Oracle, SegmentationReport
from tests.support.peers import executable, run

HALF = Estimate(0.5, 0.4, 0.6)
HOSTILE = "<script>alert(1)</script>"


class Balance(HTMLParser):
    """Keeps the elements that have been opened and not closed yet."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, _tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def unclosed(text: str) -> list[str]:
    balance = Balance()
    balance.feed(text)
    balance.close()
    return balance.open


def shown() -> ShownSlice:
    ramp = np.linspace(0, 1, 48 * 40, dtype=np.float32).reshape(48, 40)
    truth, found = np.zeros((48, 40), bool), np.zeros((48, 40), bool)
    truth[10:20, 10:20], found[24:34, 24:34] = True, True
    return ShownSlice(3, (1.0, 2.0), ramp * 900, truth, found, ramp, ramp, ramp)


def evaluation() -> SegmentationEvaluation:
    mask = MaskFigures(0.5, 0.5, None, 1.0, 2.0, 2, 1, 0, 1, 4)
    dices = tuple((way, 0.3) for way in (Way.THRESHOLD_FIXED, Way.THRESHOLD_BEST, Way.ATTENTION, Way.RESIDUAL))
    case = CaseFigures(
        HOSTILE, "p1", mask, 0.4, None, 0.7, None, 1.5, 20.0, 18.0,
        spacing_assumed=True, refused=None, baseline_dice=dices,
    )  # fmt: skip # reads by its lines
    figures = Figures(HALF, HALF, None, HALF, HALF, HALF, HALF, HALF)
    baselines = {way: figures for way, _ in dices} | {Way.SYNTHETIC_UNET: None}
    report = SegmentationReport(
        "fast", HOSTILE, "ab" * 32, figures, None, 1.5, baselines, Oracle(0.7, HALF), (case,), ("a note",)
    )
    return SegmentationEvaluation(report, (Example("best", case, shown()),))


def test_the_page_is_whole_loads_nothing_and_quotes_what_comes_from_outside() -> None:
    text = page.render(evaluation())
    assert "<script" not in text
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)
    assert not re.findall(r"url\((?!#)", text)
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text
    assert unclosed(text) == []


def test_a_baseline_that_was_left_out_has_no_row() -> None:
    text = page.render(evaluation())
    assert page.WAY_NAMES[Way.RESIDUAL] in text
    assert page.WAY_NAMES[Way.SYNTHETIC_UNET] not in text
    assert "a note" in text


@pytest.mark.peer
def test_a_browser_shows_tables_plots_and_pictures_without_any_complaint(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(page.render(evaluation()), encoding="utf-8")
    switches = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--enable-logging=stderr")
    shown = run(
        executable("chromium"), *switches, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
        f"file://{tmp_path / 'report.html'}",
    )  # fmt: skip # reads by its lines
    for part in ('id="overall"', 'id="cases"', "<svg", "&lt;script&gt;"):
        assert part in shown.stdout
    assert shown.stdout.count("<img") == 5
    assert "Failed to load" not in shown.stdout


def test_truth_and_found_are_outlined_in_their_own_colours_on_square_pixels() -> None:
    import io

    first, *others = draw(shown())
    picture = np.array(Image.open(io.BytesIO(first.png)))
    height, width = picture.shape[:2]
    assert width / height == pytest.approx(80 / 48, abs=0.02)
    blue, orange = ((picture == colour).all(axis=-1) for colour in (TRUTH_COLOUR, FOUND_COLOUR))
    assert np.argwhere(blue).max(axis=0)[0] < height * 20 / 48 + 1
    assert np.argwhere(orange).min(axis=0)[0] >= height * 24 / 48 - 1
    assert not blue[round(height * 15 / 48), round(width * 15 / 40)]
    assert len(others) == 4


@pytest.mark.slow
def test_plots_are_well_formed_and_name_what_they_show() -> None:
    for drawn in (
        strip_plot([Strip("a & b", (0.0, 0.5, 1.0), HALF), Strip("c", (), None)], title="t < u"),
        bar_plot([Bar("x < y", 0.25)], title="bars"),
    ):
        assert unclosed(drawn) == []
        assert "<text" in drawn
    assert "a &amp; b" in strip_plot([Strip("a & b", (0.1,), HALF)], title="t")


def test_a_plot_takes_the_colours_of_the_page_and_reads_no_name_as_a_formula() -> None:
    drawn = strip_plot([Strip("$x_1$ <b>", (0.1, 0.9), HALF)], title="t")
    assert "$x_1$ &lt;b&gt;" in drawn
    assert {"var(--ink)", "var(--faint)", "var(--accent)", "var(--mark)"} <= set(re.findall(r"var\(--[a-z]+\)", drawn))
    assert not re.findall(r"#[0-9a-f]{6}\b", drawn)
    assert drawn == strip_plot([Strip("$x_1$ <b>", (0.1, 0.9), HALF)], title="t")


def test_the_curve_over_levels_is_the_dice_at_each_of_them() -> None:
    rng = np.random.default_rng(2)
    scores, truth = rng.random((3, 8, 8)).astype(np.float32), rng.random((3, 8, 8)) > 0.7
    steps = levels.in_steps(scores)
    curve = levels.dice_curve(steps, truth)
    for level in (0, 40, 127, 254):
        found = steps > level
        assert curve[level] == pytest.approx(2 * (found & truth).sum() / (found.sum() + truth.sum()))
    assert curve[255] == 0.0
    assert levels.dice_curve(steps, np.zeros_like(truth))[255] == 1.0


def test_the_best_level_weighs_patients_alike() -> None:
    low, high = np.zeros(256), np.zeros(256)
    low[10], high[200] = 0.6, 0.9
    assert levels.best_level([low, low, low, high], ["a", "b", "c", "d"]) == 10
    assert levels.best_level([low, low, low, high], ["a", "a", "a", "d"]) == 200
