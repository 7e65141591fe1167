from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import RecordMissing, RoutesInvalid
from storage.routes.file import load_routes, parse_routes

GOOD = """version = 1

[[route]]
name = "head"
analyser = "zero-shot"

[route.match]
modality = ["MR"]
"""


def test_the_shipped_routes_are_sound_and_known_by_their_digest() -> None:
    routes = load_routes()
    assert routes.named("head-mr").analyser == "zero-shot"
    assert len(routes.sha256) == 64


def test_a_file_that_an_editor_began_with_a_byte_order_mark_is_read() -> None:
    assert parse_routes(b"\xef\xbb\xbf" + GOOD.encode(), name="routes.toml").named("head").analyser == "zero-shot"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("version = 1\n[[route]\n", "not valid TOML"),
        ("version = 2\n", "version"),
        (GOOD.replace("analyser", "analyzer"), 'line 5, route "head", analyzer: there is no such key'),
        (GOOD + 'body_part = ["knie"]\n', "line 9, route \"head\", match.body_part.0: Input should be 'head'"),
        (GOOD + "minimum_slices = 9\nmaximum_slices = 3\n", "minimum_slices (9) is above maximum_slices (3)"),
        (GOOD + "description = '('\n", 'line 9, route "head", match.description: no valid regular expression'),
        (
            GOOD + "not_description = 'k-space'\n",
            'line 9, route "head", match.not_description: _ ^ / and - count as spaces',
        ),
        (GOOD + "description = 't1[_-]mprage'\n", "match.description: _ ^ / and - count as spaces"),
        (GOOD + "[[route.prefer]]\npoints = 3\ndescription = 't2_flair'\n", "prefer.0.description: _ ^ / and -"),
        (GOOD + "description = 'a'\nnot_description = 'a'\n", "are the same"),
        (GOOD + GOOD.removeprefix("version = 1\n"), "line 10, route 'head': another route has this name"),
        (GOOD + "[[route.prefer]]\npoints = 3\n", "names at least one trait"),
        (GOOD.replace('modality = ["MR"]', "modality = []"), "match.modality"),
        (GOOD.replace('"head"', '"Head MR"'), 'route "Head MR", name'),
    ],
)
def test_what_is_wrong_is_named_with_line_and_route(text: str, complaint: str) -> None:
    with pytest.raises(RoutesInvalid) as caught:
        parse_routes(text.encode(), name="routes.toml")
    assert str(caught.value).startswith("routes.toml: ")
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (GOOD.replace('["MR"]', '["MR", "MRI"]'), "line 8, route \"head\", match.modality: 'MRI' is no modality"),
        (GOOD.replace('["MR"]', '[""]'), "match.modality: '' is no modality"),
        (GOOD + 'sop_class = ["MRImageStorage"]\n', "line 9, route \"head\", match.sop_class: 'MRImageStorage' is"),
        (GOOD + "body_part = []\n", 'line 9, route "head", match.body_part: an empty list asks for nothing'),
        (GOOD + "body_part_unknown = false\n", "match.body_part_unknown: it says nothing without body_part"),
        (GOOD + 'calling_aet = [" "]\n', "line 9, route \"head\", match.calling_aet: ' ' is like no name"),
        (GOOD + 'station = ["A_NAME_OF_18_BYTES"]\n', "match.station: 'A_NAME_OF_18_BYTES' is like no name"),
        (GOOD + "description = 't1$ax'\n", 'line 9, route "head", match.description: ^ is the beginning'),
        (GOOD + "description = 't1^ax'\n", "match.description: ^ is the beginning"),
        (GOOD + "description = 'flair|'\n", "match.description: every description meets this"),
        (GOOD + "not_description = '.*'\n", "match.not_description: every description meets this"),
        (GOOD + "maximum_thickness_mm = inf\n", "match.maximum_thickness_mm: inf is no limit"),
        (GOOD + "[route.require]\nminimum_coverage_mm = inf\n", 'line 10, route "head", require.minimum_coverage_mm'),
        (GOOD + "[[route.prefer]]\npoints = 3\ndescription = ''\n", "prefer.0.description: every description meets"),
        (GOOD + "[[route.wait_for]]\nmodality = ['PET']\n", "wait_for.0.modality: 'PET' is no modality"),
        (GOOD.replace('"zero-shot"', '" "'), 'line 5, route "head", analyser: this is blank'),
        (GOOD + "minimum_slices = '20'\n", 'line 9, route "head", match.minimum_slices: "20" is a text: give a number'),
        (GOOD + "maximum_thickness_mm = '1.5'\n", 'match.maximum_thickness_mm: "1.5" is a text: give a number'),
        (GOOD + "minimum_slices = true\n", "match.minimum_slices: true is no number: give a number"),
        (GOOD + "contrast = 'yes'\n", 'match.contrast: "yes" is a text: give true or false, without quotes'),
        (GOOD + "derived = 1\n", "match.derived: 1 is no answer: give true or false"),
        (GOOD + "[[route.prefer]]\npoints = '3'\nderived = true\n", 'line 10, route "head", prefer.0.points: "3" is'),
        (GOOD + "[[route.wait_for]]\nmodality = ['PT']\nminimum_slices = '9'\n", 'wait_for.0.minimum_slices: "9" is'),
        (
            GOOD.replace("[route.match]", "unfamiliar_above = '0.5'\n[route.match]"),
            'line 7, route "head", unfamiliar_above',
        ),
    ],
)
def test_what_no_series_can_meet_is_named_where_the_file_is_read_and_stays_readable_on_record(
    tmp_path: Path, text: str, complaint: str
) -> None:
    assert parse_routes(text.encode(), name="on record").named("head")
    (tmp_path / "routes.toml").write_text(text)
    with pytest.raises(RoutesInvalid) as caught:
        load_routes(tmp_path / "routes.toml")
    assert str(caught.value).startswith("routes.toml: line ")
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "description = '^$'",
        "description = '^t1 .*ax$|\\bflair\\b'",
        "description = 't1[^$]ax'",
        "description = 'cost \\$100'",
        "not_description = '^loc|scout$'",
        'calling_aet = ["*CT*OF*THE*NORTH*WING*", "*"]',
        'station = ["[AB]OR[TUVWXYZ][0-9][0-9]"]',
        'modality = ["mr ", "OT"]',
        "maximum_thickness_mm = 5",
        "minimum_slices = 20.0",
    ],
)
def test_what_some_series_can_meet_passes(tmp_path: Path, line: str) -> None:
    text = GOOD.replace('modality = ["MR"]', line) if line.startswith("modality") else f"{GOOD}{line}\n"
    (tmp_path / "routes.toml").write_text(text)
    assert load_routes(tmp_path / "routes.toml").named("head")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RoutesInvalid, match=r"routes\.toml cannot be read"):
        load_routes(tmp_path / "routes.toml")


def test_a_route_that_is_not_there_is_named() -> None:
    with pytest.raises(RecordMissing, match="no route 'liver'"):
        load_routes().named("liver")
