"""Every label of the models that the field publishes most has a true code: facts by name, from DICOM's dictionary."""

from __future__ import annotations

import pytest

from storage.domain import LabelRole
from workers.errors import LabelsInvalid
from workers.site_models.label_codes import LEFT, LESION, NEOPLASM, RIGHT, code_labels

TOTAL_PAIRED = {
    "kidney": "64033007", "adrenal_gland": "23451007", "lung_upper_lobe": "45653009", "lung_lower_lobe": "90572001",
    "subclavian_artery": "36765005", "common_carotid_artery": "32062004", "brachiocephalic_vein": "8887007",
    "iliac_artery": "10293006", "iliac_vena": "244411005", "humerus": "85050009", "scapula": "79601000",
    "clavicula": "51299004", "femur": "71341001", "hip": "29836001", "gluteus_maximus": "102292000",
    "gluteus_medius": "102292000", "gluteus_minimus": "102292000", "autochthon": "127954009", "iliopsoas": "127954009",
}  # fmt: skip # reads by its lines
TOTAL_SINGLE = {
    "spleen": "78961009", "gallbladder": "28231008", "liver": "10200004", "stomach": "69695003",
    "pancreas": "15776009", "lung_middle_lobe_right": "72481006", "esophagus": "32849002", "trachea": "44567001",
    "thyroid_gland": "69748006", "small_bowel": "30315005", "duodenum": "38848004", "colon": "71854001",
    "urinary_bladder": "89837001", "prostate": "41216001", "sacrum": "54735007", "vertebrae_S1": "54735007",
    "heart": "80891009", "aorta": "15825003", "pulmonary_vein": "122972007", "brachiocephalic_trunk": "12691009",
    "atrial_appendage_left": "33626005", "superior_vena_cava": "48345005", "inferior_vena_cava": "64131007",
    "portal_vein_and_splenic_vein": "29092000", "spinal_cord": "2748008", "brain": "12738006", "skull": "89546000",
    "sternum": "56873002", "costal_cartilages": "50016007",
}  # fmt: skip # reads by its lines
VERTEBRAE = {
    "L5": "49668003", "L4": "11994002", "L3": "36470004", "L2": "14293000", "L1": "66794005", "T12": "23215003",
    "T11": "12989004", "T10": "7610001", "T9": "82687006", "T8": "11068009", "T7": "62487009", "T6": "45296009",
    "T5": "56401006", "T4": "73071006", "T3": "1626008", "T2": "53733008", "T1": "64864005", "C7": "87391001",
    "C6": "36054005", "C5": "36978003", "C4": "5329002", "C3": "113205007", "C2": "39976000", "C1": "14806007",
}  # fmt: skip # reads by its lines
OTHERS = {
    "vertebrae": "51282000", "intervertebral_discs": "421060004", "heart_myocardium": "122448007",
    "heart_atrium_left": "82471001", "heart_ventricle_left": "87878005", "heart_atrium_right": "73829009",
    "heart_ventricle_right": "53085002", "pulmonary_artery": "81040000", "face": "89545001",
    "left atrium": "82471001", "lung": "39607008", "kidney": "64033007", "hippocampus": "5366008",
    "PZ": "279706003", "TZ": "399384005", "Vessel": "59820001", "liver_vessels": "59820001",
}  # fmt: skip # reads by its lines
LESIONS = {
    "kidney_cyst_left": (LESION, "Kidney"), "cyst": (LESION, None), "masses": (LESION, None), "edema": (LESION, None),
    "liver_tumor": (NEOPLASM, "Liver"), "liver tumour": (NEOPLASM, "Liver"), "tumor": (NEOPLASM, None),
    "Tumour": (NEOPLASM, None), "cancer": (NEOPLASM, None), "pancreas cancer": (NEOPLASM, "Pancreas"),
    "lung cancer": (NEOPLASM, "Lung"), "colon cancer primaries": (NEOPLASM, "Colon"), "tumor core": (NEOPLASM, None),
    "non-enhancing tumor": (NEOPLASM, None), "enhancing tumour": (NEOPLASM, None), "whole tumor": (NEOPLASM, None),
    "lung_nodules": (LESION, "Lung"), "kidney tumor": (NEOPLASM, "Kidney"), "necrosis": (LESION, None),
}  # fmt: skip # reads by its lines
SIDES = {"left": LEFT, "right": RIGHT}


def test_the_117_labels_of_totalsegmentator() -> None:
    names = [*TOTAL_SINGLE, *(f"vertebrae_{name}" for name in VERTEBRAE), "kidney_cyst_left", "kidney_cyst_right"]
    names += [f"{name}_{side}" for name in TOTAL_PAIRED for side in SIDES]
    names += [f"rib_{side}_{number}" for side in SIDES for number in range(1, 13)]
    assert len(code_labels(dict(enumerate(names, start=1)))) == 117


@pytest.mark.parametrize(("name", "value"), [*TOTAL_SINGLE.items(), *OTHERS.items()])
def test_a_structure_that_there_is_once(name: str, value: str) -> None:
    (entry,) = code_labels({1: name})
    assert (entry.role, entry.concept.value, entry.concept.scheme) == (LabelRole.ORGAN, value, "SCT")
    assert entry.laterality is None


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("name", "value"), [*TOTAL_PAIRED.items(), ("lung", "39607008")])
def test_a_structure_on_either_side(name: str, value: str, side: str) -> None:
    (entry,) = code_labels({1: f"{name}_{side}"})
    assert (entry.concept.value, entry.laterality) == (value, SIDES[side])


@pytest.mark.parametrize(("name", "value"), VERTEBRAE.items())
def test_a_vertebra(name: str, value: str) -> None:
    (entry,) = code_labels({1: f"vertebrae_{name}"})
    assert (entry.concept.value, entry.concept.meaning) == (value, f"{name} vertebra")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("number", range(1, 13))
def test_a_rib(side: str, number: int) -> None:
    (entry,) = code_labels({1: f"rib_{side}_{number}"})
    assert (entry.concept.value, entry.laterality) == ("113197003", SIDES[side])


@pytest.mark.parametrize(("name", "said"), LESIONS.items())
def test_a_lesion_and_where_its_name_places_it(name: str, said: tuple[object, str | None]) -> None:
    (entry,) = code_labels({1: name})
    assert (entry.role, entry.concept) == (LabelRole.LESION, said[0])
    assert (entry.site and entry.site.concept.meaning) == said[1]


def test_a_cyst_of_one_side_keeps_it() -> None:
    (entry,) = code_labels({1: "kidney_cyst_left"})
    assert entry.site is not None
    assert entry.site.laterality == LEFT


@pytest.mark.parametrize("name", ["Anterior", "Posterior", "surface", "deep"])
def test_a_word_that_is_no_structure_has_no_code(name: str) -> None:
    with pytest.raises(LabelsInvalid, match="has no code"):
        code_labels({1: name})
