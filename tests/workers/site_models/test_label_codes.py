"""Codes for the labels of models, by their names and by what the site declares."""

from __future__ import annotations

import pytest

from storage.domain import Code, LabelRole, Site
from workers.errors import LabelsInvalid
from workers.site_models.label_codes import LEFT, NEOPLASM, code_labels
from workers.site_models.model_file import LabelSection

LIVER = Code("10200004", "SCT", "Liver")


def test_names_give_role_code_side_and_site() -> None:
    liver, kidney, tumour, lesion = code_labels({1: "liver", 2: "kidney_left", 3: "liver_tumor", 4: "Lesion"})
    assert (liver.role, liver.concept, liver.laterality) == (LabelRole.ORGAN, LIVER, None)
    assert (kidney.concept.meaning, kidney.laterality) == ("Kidney", LEFT)
    assert (tumour.role, tumour.concept, tumour.site) == (LabelRole.LESION, NEOPLASM, Site(LIVER))
    assert (lesion.role, lesion.concept.meaning, lesion.site) == (LabelRole.LESION, "Lesion", None)


def test_what_the_site_declares_comes_before_the_name() -> None:
    declared = LabelSection(value=1, name="class one", role=LabelRole.ORGAN, code=("10200004", "SCT", "Liver"))
    (entry,) = code_labels({1: "xyz"}, [declared])
    assert (entry.role, entry.concept) == (LabelRole.ORGAN, LIVER)


@pytest.mark.parametrize(
    ("names", "declared", "said"),
    [
        ({1: "blob"}, [], "label 1 (blob) has no code"),
        ({1: "liver"}, [LabelSection(value=2, name="spleen")], "label 2, which the model does not have"),
        ({1: "liver"}, [LabelSection(value=1, name="liver"), LabelSection(value=1, name="liver")], "1 stands twice"),
        ({}, [], "no label beside the background"),
    ],
)
def test_a_wrong_table_is_refused_by_the_label(names: dict[int, str], declared: list[LabelSection], said: str) -> None:
    with pytest.raises(LabelsInvalid) as refused:
        code_labels(names, declared)
    assert said in str(refused.value)
