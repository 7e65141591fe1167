from __future__ import annotations

import pytest
from pydantic import ValidationError

from storage.domain import Holding, Priority
from storage.retention.rules import Cell, RetentionSettings, governing
from storage.states import StudyState
from tests.support.retained import rules_of

_IMAGES = {"name": "images", "delete": ["images"], "older_than_days": 30}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"older_than_days": None}, "say older_than_days, or keep = true"),
        ({"states": ["held"]}, "nothing is ever deleted of a study that is held"),
        ({"states": ["succeeded", "queued"]}, "nothing is ever deleted of a study that is queued"),
        ({"states": []}, "for no study at all"),
        ({"states": ["not_applicable"], "priorities": ["HIGH"]}, 'no priority: add "none"'),
        ({"keep": True}, "keep = true keeps for good, and older_than_days says when to delete"),
        ({"states": ["not_applicable"], "since": "analysed"}, "never analysed: since = last_image"),
        ({"delivered": "committed"}, "does not ask for storage commitment"),
        ({"delivered": "sent", "also_refused": True}, "say one of them"),
    ],
)
def test_a_rule_that_contradicts_itself_is_refused_by_name(rule: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as error:
        rules_of({**_IMAGES, **rule})
    assert "rule images" in str(error.value)


def test_a_rule_that_never_counts_is_refused() -> None:
    urgent = {"name": "urgent", "delete": ["pictures", "images"], "priorities": ["STAT"], "older_than_days": 90}
    with pytest.raises(ValidationError, match="rule urgent never counts for images: images before it takes all"):
        rules_of(_IMAGES, urgent)
    assert [rule.name for rule in rules_of(urgent, _IMAGES)] == ["urgent", "images"]


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="two rules are called images"):
        rules_of(_IMAGES, _IMAGES)


def test_nothing_is_enabled_without_a_rule() -> None:
    assert not RetentionSettings().enabled
    with pytest.raises(ValidationError, match="without any rule"):
        RetentionSettings(enabled=True)


def test_the_first_rule_that_is_for_a_study_counts() -> None:
    keep = {"name": "keep-stat", "delete": ["images"], "priorities": ["STAT"], "keep": True}
    table = governing(rules_of(keep, _IMAGES), Holding.IMAGES)
    assert table[Cell(StudyState.SUCCEEDED, Priority.STAT.rank)].name == "keep-stat"
    assert table[Cell(StudyState.SUCCEEDED, Priority.LOW.rank)].name == "images"
    assert Cell(StudyState.FAILED, Priority.LOW.rank) not in table
    assert governing(rules_of(keep, _IMAGES), Holding.RESULTS) == {}


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (30, "30 days"),
        (1, "1 day"),
        (1.5, "1.5 days"),
        (0.5, "12 hours"),
        (1 / 24, "1 hour"),
        (0.01, "14.4 minutes"),
        (0.00001, "0.864 seconds"),
    ],
)
def test_a_span_is_said_in_the_unit_that_reads_best(days: float, said: str) -> None:
    (rule,) = rules_of({**_IMAGES, "older_than_days": days})
    assert f"{said} after last image" in rule.says
