"""Codes, labels and routes that a policy names and nothing here has."""

from __future__ import annotations

import json

import pytest

from storage import site_models
from storage.database import Database
from storage.fewshot import tasks
from storage.fewshot.tasks import TaskDraft
from storage.site_models import SiteModel
from storage.triage.doubts import OWN_CODES, Vocabulary, doubts, vocabulary
from storage.triage.policy_file import parse_policy
from tests.support.records import NOW
from workers.image_labels import IMAGING_FINDING
from workers.lesions import LESION
from workers.site_models import label_codes

WORDS = Vocabulary(OWN_CODES | {"SCT:4711"}, frozenset({"99SITE:OLD"}), frozenset({"tumour"}), frozenset({"head-mr"}))
DEFAULT = '[default]\nname = "else"\npriority = "LOW"\n[[rules]]\nname = "asked"\npriority = "STAT"\n'


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ('concept = "52988006"', None),
        ('concept = ["SCT:52988006", "4711"]', None),
        ('concept = "52988007"', "rule «asked» (line 7), concept: no analyser and no installed model here"),
        ('concept = "99SITE:52988006"', "(line 7), concept"),
        ('label = "tumour"', None),
        ('lane = "stat"\nlabel_in_set = ["tumour", "tumor"]', "(line 8), label_in_set: no classification task"),
        ('only_label = "tumor"', "(line 7), only_label"),
        ('route = ["head-mr"]', None),
        ('route = "head-mri"', "(line 7), route: there is no route 'head-mri'"),
    ],
)
def test_what_nothing_here_says_is_told_with_its_line(conditions: str, found: str | None) -> None:
    told = doubts(parse_policy((DEFAULT + conditions).encode(), name="p"), WORDS)
    assert [found in str(one) for one in told] == [True] if found else told == ()
    assert not any(one.only_warns for one in told)


def test_a_code_of_a_model_that_was_removed_only_warns() -> None:
    (told,) = doubts(parse_policy((DEFAULT + 'concept = "99SITE:OLD"').encode(), name="p"), WORDS)
    assert told.only_warns


def test_own_codes_are_those_that_the_analysers_give() -> None:
    given = (LESION, IMAGING_FINDING, label_codes.NEOPLASM, label_codes.LESION)
    assert {f"{code.scheme}:{code.value}" for code in given} == OWN_CODES


def _model(name: str, value: str) -> SiteModel:
    concept = {"value": value, "scheme": "99SITE", "meaning": "x"}
    label = {"value": 1, "name": "x", "role": "lesion", "concept": concept}
    organ = {**label, "role": "organ", "concept": {**concept, "value": "ORGAN"}}
    return SiteModel(name, "nnunet", "a" * 64, (), json.dumps({"labels": [label, organ]}), "a", NOW)


def test_the_words_are_those_of_this_installation(database: Database) -> None:
    with database.write() as session:
        for name, value in (("kept", "A"), ("gone", "B")):
            site_models.add(session, _model(name, value), now=NOW)
        site_models.remove(session, "gone", actor="a", now=NOW)
        draft = TaskDraft("t", ("tumour", "cyst"), "tumour", "MR", "HEAD", "trial", "care")
        tasks.create(session, draft, actor="a", now=NOW)
    with database.read() as session:
        words = vocabulary(session, routes=["mine"])
    assert words.codes == OWN_CODES | {"99SITE:A"}
    assert words.removed_codes == {"99SITE:B"}
    assert words.labels == {"tumour", "cyst"}
    assert {"mine", "head-mr"} <= words.routes
