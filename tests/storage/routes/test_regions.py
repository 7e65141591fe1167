from __future__ import annotations

import pytest

from storage.routes import regions
from storage.routes.regions import Region, Side

HEAD, NECK, CHEST, BREAST = Region.HEAD, Region.NECK, Region.CHEST, Region.BREAST
ABDOMEN, PELVIS, SPINE, WHOLE = Region.ABDOMEN, Region.PELVIS, Region.SPINE, Region.WHOLE_BODY
UPPER, LOWER = Region.UPPER_LIMB, Region.LOWER_LIMB


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("MR BRAIN W/WO", {HEAD}),
        ("MRT Schädel nativ", {HEAD}),
        ("IRM CÉRÉBRALE", {HEAD}),
        ("RM Cráneo", {HEAD}),
        ("RM encefalo", {HEAD}),
        ("MRI hersenen", {HEAD}),
        ("MR głowy", {HEAD}),
        ("頭部MRI", {HEAD}),
        ("t2_tirm_tra_dark-fluid_Kopf", {HEAD}),
        ("CT Thorax/Abdomen mit KM", {CHEST, ABDOMEN}),
        ("Scanner thoraco-abdomino-pelvien", {CHEST}),
        ("TAC tórax", {CHEST}),
        ("LWS nativ", {SPINE}),
        ("C-Spine", {SPINE}),
        ("Mammographie rechts", {BREAST}),
        ("ECO mama izquierda", {BREAST}),
        ("MR KNEE RIGHT", {LOWER}),
        ("MRT Knie links", {LOWER}),
        ("IRM genou gauche", {LOWER}),
        ("Oberschenkel", {LOWER}),
        ("Schulter", {UPPER}),
        ("femoral head", {LOWER}),
        ("MR head of femur", {LOWER}),
        ("PET whole body", {WHOLE}),
        ("MRT Becken", {PELVIS}),
        ("prostata", {PELVIS}),
        ("PD TSE SAG", set()),
        ("ax t2 flair", set()),
        ("", set()),
    ],
)
def test_descriptions_in_many_languages_name_their_region(text: str, wanted: set[Region]) -> None:
    assert regions.of_words(text) >= wanted
    if len(wanted) <= 1 and "thoraco" not in text:
        assert regions.of_words(text) == wanted


@pytest.mark.parametrize(
    ("term", "wanted"),
    [
        ("HEAD", {HEAD}),
        ("BRAIN", {HEAD}),
        ("CHESTABDPELVIS", {CHEST, ABDOMEN, PELVIS}),
        ("HEAD_NECK", {HEAD, NECK}),
        ("CSPINE", {SPINE}),
        ("KNEE", {LOWER}),
        ("SCHÄDEL", {HEAD}),
        ("WHOLEBODY", {WHOLE}),
        ("UNKNOWN", set()),
    ],
)
def test_defined_terms_and_what_sites_write_instead_of_them(term: str, wanted: set[Region]) -> None:
    assert regions.of_term(term) == wanted


def test_codes_of_both_generations_name_the_same_region() -> None:
    assert regions.of_codes(["69536005"]) == regions.of_codes(["T-D1100 "]) == {HEAD}
    assert regions.of_codes(["0"]) == frozenset()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("KNEE RT", {Side.RIGHT}),
        ("Knie_links", {Side.LEFT}),
        ("genou droit", {Side.RIGHT}),
        ("both knees left right", {Side.LEFT, Side.RIGHT}),
        ("bright fluid", set()),
    ],
)
def test_descriptions_name_their_side(text: str, wanted: set[Side]) -> None:
    assert regions.sides_of_words(text) == wanted
