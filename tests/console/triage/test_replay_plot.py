from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from PIL import Image

from console.triage.plot_canvas import Ink, ticks
from console.triage.replay_form import form_of
from console.triage.replay_plot import write
from console.triage.replayed_policies import Side
from storage.domain import Priority
from storage.triage.kept_decisions import Span
from storage.triage.queue_model import Reading, WaitingTimes, summary
from storage.triage.replay_tally import DayCount, ReplayResult, RuleCount, Waiting
from tests.support.triage_history import BEGIN

NOBODY = WaitingTimes(0, None, None, ())


def a_result(*, days: int = 30, minutes: float = 100.0, positive: bool = True) -> ReplayResult:
    """Return a replay in which the new policy halves alarms, and lets studies with a finding wait twice as long."""
    first = date(2026, 3, 1)
    groups = (summary(60 * minutes * share * times / 200 for share in range(200)) for times in (1, 2, 4))
    before, after, first_come = (Waiting(group if positive else NOBODY, NOBODY) for group in groups)
    rules = (RuleCount("lesion", Priority.HIGH, 10, 0, 5),)
    return ReplayResult(
        analyses=10,
        studies=10,
        unreadable=0,
        moved={(Priority.HIGH, Priority.ROUTINE): 10},
        rules_before=rules,
        rules_after=rules,
        days=tuple(DayCount(first + timedelta(days=day), 8 + day % 3, 4 + day % 3) for day in range(days)),
        lacking={},
        reading=Reading(),
        load=0.5,
        waiting_before=before,
        waiting_after=after,
        waiting_first_come=first_come,
    )


def drawn(path: Path, result: ReplayResult, *, name: str = "calm") -> Image.Image:
    form = form_of(Span(BEGIN), Side.on_record(), Side(name, "a" * 64), result)
    write(path, form, result)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return image.convert("RGB")


def coloured(image: Image.Image, ink: Ink, *, within: tuple[int, int, int, int]) -> int:
    """Count the pixels near a colour inside a rectangle."""
    part = image.crop(within)
    pixels = (part.getpixel((x, y)) for x in range(part.width) for y in range(part.height))
    return sum(
        all(abs(one - other) < 30 for one, other in zip(pixel, ink.value, strict=True))
        for pixel in pixels
        if isinstance(pixel, tuple)
    )


LEFT, RIGHT = (71, 140, 572, 429), (681, 140, 1162, 429)


def test_both_panels_show_both_policies_and_the_waits_first_come_too(tmp_path: Path) -> None:
    image = drawn(tmp_path / "replay.png", a_result())
    for ink in (Ink.OLD, Ink.NEW):
        assert coloured(image, ink, within=LEFT) > 300
        assert coloured(image, ink, within=RIGHT) > 300
    assert coloured(image, Ink.PLAIN, within=RIGHT) > 100
    assert coloured(image, Ink.PLAIN, within=LEFT) < 50


def test_what_waits_longer_lies_further_to_the_right(tmp_path: Path) -> None:
    image = drawn(tmp_path / "replay.png", a_result())
    middle = (681, 285, 1162, 295)
    columns = {ink: _first_column(image, ink, within=middle) for ink in (Ink.OLD, Ink.NEW)}
    assert columns[Ink.OLD] < columns[Ink.NEW]


def _first_column(image: Image.Image, ink: Ink, *, within: tuple[int, int, int, int]) -> int:
    left, top, right, bottom = within
    return next(x for x in range(left, right) if coloured(image, ink, within=(x, top, x + 1, bottom)))


@pytest.mark.parametrize(
    "result",
    [a_result(days=1), a_result(days=2000), a_result(minutes=0.0), a_result(minutes=50_000), a_result(positive=False)],
    ids=["one day", "years", "nobody waits", "weeks", "nothing found"],
)
def test_any_history_can_be_drawn(tmp_path: Path, result: ReplayResult) -> None:
    image = drawn(tmp_path / "replay.png", result)
    assert coloured(image, Ink.NEW, within=LEFT) > 300
    assert (tmp_path / "replay.png").stat().st_size < 60_000


def test_a_long_name_stays_inside_the_picture(tmp_path: Path) -> None:
    image = drawn(tmp_path / "replay.png", a_result(), name="a very long name of a policy " * 10)
    assert coloured(image, Ink.PLAIN, within=(500, 60, 1200, 80)) > 20
    assert coloured(image, Ink.TEXT, within=(1190, 55, 1200, 85)) == 0


def test_a_picture_that_cannot_be_written_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere") as failed:
        drawn(tmp_path / "nowhere" / "replay.png", a_result())
    assert failed.value.filename is not None


@pytest.mark.parametrize(
    ("end", "words"),
    [(1.0, ["0", "0.2", "0.4", "0.6", "0.8", "1"]), (15.0, ["0", "5", "10", "15"]), (0.3, None), (98_765.0, None)],
)
def test_ticks_are_round_numbers_up_to_the_end(end: float, words: list[str] | None) -> None:
    found = ticks(end)
    assert 2 <= len(found) <= 7
    assert found[-1][0] <= end * 1.000001
    if words is not None:
        assert [word for _, word in found] == words
