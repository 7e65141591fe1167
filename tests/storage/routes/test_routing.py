from __future__ import annotations

import json
from dataclasses import replace

import pytest

from storage.routes.file import Routes, load_routes, parse_routes
from storage.routes.routing import route_study
from storage.routes.series_facts import SeriesFacts

FLAIR = SeriesFacts(
    "1.2.1",
    "MR",
    body_part_examined="HEAD",
    series_description="AX FLAIR",
    study_description="MR BRAIN",
    frames=24,
    slice_thickness_mm=5.0,
    calling_aets=frozenset({"MR_3T"}),
    station_name="SKYRA1",
)


LIMB = replace(FLAIR, body_part_examined="EXTREMITY", series_description="AX T1", study_description="MRT Oberschenkel")


def one_route(conditions: str) -> Routes:
    text = f'version = 1\n[[route]]\nname = "r"\nanalyser = "a"\n[route.match]\nmodality = ["MR", "CT"]\n{conditions}\n'
    return parse_routes(text.encode(), name="routes.toml")


def unmet(conditions: str, series: SeriesFacts) -> list[str]:
    (answer,) = route_study(one_route(conditions), [series]).answers
    return [condition.condition for condition in answer.series[0].unmet]


def test_a_head_mr_gets_the_shipped_route() -> None:
    routing = route_study(load_routes(), [FLAIR])
    assert [answer.route.name for answer in routing.chosen] == ["head-mr"]
    assert routing.chosen[0].wanted == ("1.2.1",)


@pytest.mark.parametrize(
    ("series", "route"),
    [
        (LIMB, "limb-mr"),
        (replace(LIMB, body_part_examined=""), "limb-mr"),
        (replace(LIMB, modality="CT", series_description="CT AC"), "limb-ct"),
        (replace(LIMB, modality="PT", series_description="LEGS AC"), "limb-pet"),
    ],
)
def test_each_kind_of_image_of_a_limb_gets_a_shipped_route_of_its_own(series: SeriesFacts, route: str) -> None:
    assert [answer.route.name for answer in route_study(load_routes(), [series]).chosen] == [route]


@pytest.mark.parametrize(
    ("series", "route"),
    [
        (replace(FLAIR, series_description="AX T1", contrast=True), "head-mr-contrast"),
        (replace(FLAIR, series_description="t1_mprage_sag_KM"), "head-mr-contrast"),
        (replace(FLAIR, series_description="AX T1 POST"), "head-mr-contrast"),
        (replace(FLAIR, series_description="SAG T1 +C"), "head-mr-contrast"),
        (replace(FLAIR, series_description="AX T1"), "head-mr"),
        (replace(FLAIR, series_description="T1 ohne KM"), "head-mr"),
        (replace(FLAIR, series_description="AX T1 w/o contrast"), "head-mr"),
        (replace(FLAIR, series_description="AX FLAIR POST GAD", contrast=True), "head-mr"),
        (replace(FLAIR, series_description="T1 POST", body_part_examined="", study_description=""), "head-mr"),
        (replace(FLAIR, modality="US", body_part_examined="BREAST", series_description="", frames=1), "breast-us"),
    ],
)
def test_heads_with_contrast_and_breasts_get_the_networks_that_know_them(series: SeriesFacts, route: str) -> None:
    series = replace(series, study_description="" if series.modality == "US" else series.study_description)
    assert [answer.route.name for answer in route_study(load_routes(), [series]).chosen] == [route]


def test_a_head_with_flair_and_t1_with_contrast_gets_both_networks() -> None:
    contrast = replace(FLAIR, series_instance_uid="1.2.2", series_description="AX T1 +C")
    routing = route_study(load_routes(), [FLAIR, contrast])
    assert {answer.route.name: answer.wanted for answer in routing.chosen} == {
        "head-mr": ("1.2.1",),
        "head-mr-contrast": ("1.2.2",),
    }


def test_what_meets_all_that_keeps_a_route_away_is_not_wanted() -> None:
    keeps_away = '[route.unless]\nmodality = ["MR"]\ndescription = "flair"\nminimum_slices = 20'
    assert unmet(keeps_away, FLAIR) == ["unless"]
    assert unmet(keeps_away, replace(FLAIR, frames=10)) == []


@pytest.mark.parametrize(
    "series",
    [
        replace(FLAIR, modality="CT"),
        replace(FLAIR, body_part_examined="KNEE", series_description="PD TSE SAG", study_description="MR KNEE RIGHT"),
        replace(FLAIR, body_part_examined="", series_description="PD TSE", study_description="MRT Oberschenkel"),
        replace(LIMB, contrast=True),
        replace(LIMB, series_description="AX T1 FS"),
        replace(LIMB, modality="CT", body_part_examined="CHEST", study_description=""),
        replace(LIMB, modality="CT", body_part_examined="", study_description=""),
        replace(LIMB, modality="CT", body_part_examined="CHESTABDPELVIS", study_description=""),
        replace(LIMB, modality="PT", series_description="PET WB skull base to mid-thigh", body_part_examined=""),
        replace(LIMB, modality="PT", series_description="WB AC", body_part_examined="WHOLEBODY", study_description=""),
        replace(LIMB, modality="PT", series_description="LEGS NAC"),
        replace(FLAIR, series_description="3-plane localizer"),
        replace(FLAIR, frames=1),
    ],
)
def test_what_the_shipped_routes_do_not_want_is_not_applicable_with_reasons(series: SeriesFacts) -> None:
    routing = route_study(load_routes(), [series])
    assert not routing.applies
    assert len(routing.reasons()) == len(routing.answers)
    assert all("wanted" in reason for reason in routing.reasons())


def test_a_series_that_does_not_say_what_it_shows_is_left_to_the_pictures() -> None:
    silent = replace(FLAIR, body_part_examined="", series_description="AX T2 FLAIR", study_description="")
    assert route_study(load_routes(), [silent]).applies
    assert unmet('body_part = ["head"]\nbody_part_unknown = false', silent) == ["body_part"]


def test_a_contradiction_between_term_and_description_is_on_record() -> None:
    odd = replace(FLAIR, body_part_examined="KNEE")
    routing = route_study(load_routes(), [odd])
    assert routing.applies
    assert routing.contradictory == ("1.2.1",)


@pytest.mark.parametrize(
    ("conditions", "failed"),
    [
        ('sop_class = ["1.2.840.10008.5.1.4.1.1.2"]', ["sop_class"]),
        ('laterality = "L"', ["laterality"]),
        ("description = 'mprage'", ["description"]),
        ("not_description = 'FLAIR'", ["not_description"]),
        ("study_description = 'tumou?r'", ["study_description"]),
        ('calling_aet = ["CT*"]', ["calling_aet"]),
        ('station = ["AVANTO*"]', ["station"]),
        ("minimum_slices = 25", ["minimum_slices"]),
        ("maximum_slices = 23", ["maximum_slices"]),
        ("maximum_thickness_mm = 3.0", ["maximum_thickness_mm"]),
        ("minimum_thickness_mm = 6.0", ["minimum_thickness_mm"]),
        ("contrast = true", ["contrast"]),
        ("derived = true", ["derived"]),
        ('station = ["AVANTO*"]\nminimum_slices = 25', ["station", "minimum_slices"]),
        ('calling_aet = ["MR*"]\nstation = ["SKYRA?"]\ndescription = "flair"\nmaximum_thickness_mm = 5.0', []),
    ],
)
def test_every_condition_that_fails_is_named(conditions: str, failed: list[str]) -> None:
    assert unmet(conditions, FLAIR) == failed


@pytest.mark.parametrize(
    "pattern", ["schädel", "SCHÄDEL", "fuß", "fuss", "ガド", "dark.?fluid", "dark[ _-]fluid", "^ax "]
)
def test_a_pattern_may_have_the_accents_and_capitals_of_the_description(pattern: str) -> None:
    named = replace(FLAIR, series_description="AX_Dark-Fluid Schädel Fuß ガド")
    assert unmet(f"description = '{pattern}'", named) == []


def test_left_and_right_of_one_study_go_their_own_ways() -> None:
    text = "".join(
        f'[[route]]\nname = "knee-{side.lower()}"\nanalyser = "a"\n'
        f'[route.match]\nmodality = ["MR"]\nlaterality = "{side}"\n'
        for side in "LR"
    )
    routes = parse_routes(f"version = 1\n{text}".encode(), name="routes.toml")
    left, right = replace(FLAIR, series_description="Knie links"), replace(FLAIR, laterality="R")
    right = replace(right, series_instance_uid="1.2.2")
    chosen = route_study(routes, [right, left]).chosen
    assert [(answer.route.name, answer.wanted) for answer in chosen] == [("knee-l", ("1.2.1",)), ("knee-r", ("1.2.2",))]


def test_the_record_quotes_no_description() -> None:
    named = replace(FLAIR, series_description="DOE^JANE AX KNEE", study_description="Jane Doe")
    record = route_study(one_route("description = 'flair'\nminimum_slices = 99"), [named]).record()
    assert "jane" not in record.lower()
    assert json.loads(record)["answers"][0]["unmet"] == {"1.2.1": ["description", "minimum_slices"]}


def test_a_study_description_speaks_of_the_series_that_says_the_same_and_not_of_its_neighbours() -> None:
    knee = replace(FLAIR, series_instance_uid="1.2.2", body_part_examined="KNEE", series_description="PD TSE")
    answer, *_ = route_study(load_routes(), [FLAIR, knee]).answers
    assert answer.wanted == ("1.2.1",)
    # Alone, with nothing else to be what «MR BRAIN» speaks of, its body part may be left over from the last patient.
    answer, *_ = route_study(load_routes(), [knee]).answers
    assert answer.wanted == ("1.2.2",)
