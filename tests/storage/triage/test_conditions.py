"""Each condition of a rule: when it holds, when it does not, and that what is unknown meets none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from storage.care_settings import CareSetting
from storage.domain import Code, Extent, Finding, Lane, Presence
from storage.errors import PolicyInvalid
from storage.explanations import Prediction
from storage.triage.case import Case, Circumstances, Earlier
from storage.triage.policy_file import parse_policy

FINDING = Finding(
    1, Presence.PRESENT, Code("108369006", "SCT", "Neoplasm"), 0.7, 12.0, 31.0, "Lesion 1", "2.25.1", "tumour", 0.8,
    prediction=Prediction(1, ("tumour", "cyst")),
)  # fmt: skip # one line per group
WEDNESDAY_NIGHT = datetime(2026, 3, 4, 21, 30, tzinfo=UTC)
AROUND = Circumstances(Lane.STAT, "head-mr", CareSetting.EMERGENCY, WEDNESDAY_NIGHT, Earlier(7, 10.0, 90))


def rule_holds(
    conditions: str, finding: Finding = FINDING, around: Circumstances = AROUND, *, zone: str = "Europe/Berlin"
) -> bool:
    text = f'time_zone = "{zone}"\n[default]\nname = "else"\npriority = "LOW"\n'
    text += f'[[rules]]\nname = "asked"\npriority = "STAT"\n{conditions}\n'
    case = Case.of((finding,), around, case_score=0.6, out_of_distribution=0.2)
    return parse_policy(text.encode(), name="p.toml").decide(case).rule == "asked"


@pytest.mark.parametrize(
    ("holds", "does_not"),
    [
        ('presence = "present"', 'presence = ["absent", "assessed"]'),
        ('concept = "108369006"', 'concept = "52988006"'),
        ('concept = ["SCT:52988006", "SCT:108369006"]', 'concept = "99LOCAL:108369006"'),
        ('label = ["cyst", "tumour"]', 'label = "cyst"'),
        ('label_in_set = "cyst"', 'label_in_set = "abscess"'),
        ("minimum_confidence = 0.7", "minimum_confidence = 0.71"),
        ("maximum_confidence = 0.7", "maximum_confidence = 0.69"),
        ("minimum_volume_ml = 12\nmaximum_volume_ml = 12", "maximum_volume_ml = 11.9"),
        ("minimum_diameter_mm = 31", "minimum_diameter_mm = 32"),
        ('route = ["chest-ct", "head-mr"]', 'route = "chest-ct"'),
        ('lane = "stat"', 'lane = "routine"'),
        ('setting = ["emergency", "inpatient"]', 'setting = "outpatient"'),
        ("minimum_case_score = 0.6", "maximum_case_score = 0.5"),
        ("maximum_out_of_distribution = 0.2", "minimum_out_of_distribution = 0.3"),
        ("minimum_growth_percent = 20", "minimum_growth_percent = 21"),
        ("minimum_growth_ml = 2", "maximum_growth_ml = 1.9"),
        ('between = "22:00-07:00"', 'between = "18:00-22:00"'),
        ('weekdays = "wednesday"', 'weekdays = ["saturday", "sunday"]'),
    ],
)
def test_each_condition_holds_and_fails(holds: str, does_not: str) -> None:
    assert rule_holds(holds)
    assert not rule_holds(does_not)


def test_the_hour_is_that_of_the_policys_time_zone() -> None:
    assert rule_holds('between = "22:00-23:00"', zone="Europe/Berlin")
    assert not rule_holds('between = "22:00-23:00"', zone="UTC")
    summer = replace(AROUND, decided_at=datetime(2026, 7, 1, 21, 30, tzinfo=UTC))
    assert rule_holds('between = "23:00-24:00"', around=summer, zone="Europe/Berlin")


def test_only_label_asks_for_a_set_of_one() -> None:
    sure = replace(FINDING, prediction=Prediction(1, ("tumour",)))
    assert rule_holds('only_label = "tumour"', sure)
    assert not rule_holds('only_label = "tumour"')
    assert not rule_holds('only_label = "tumour"', replace(FINDING, prediction=None))


@pytest.mark.parametrize(
    "conditions",
    [
        'route = "head-mr"',
        'setting = "emergency"',
        "maximum_growth_ml = 100",
        'between = "00:00-24:00"',
        'weekdays = "wednesday"',
    ],
)
def test_what_is_unknown_meets_no_condition(conditions: str) -> None:
    assert rule_holds(conditions)
    assert not rule_holds(conditions, around=Circumstances(Lane.STAT))


def test_a_size_that_is_not_known_is_not_taken_for_a_small_one() -> None:
    unknown = replace(FINDING, volume_ml=0.0, longest_diameter_mm=0.0, extent=Extent.UNKNOWN)
    assert not rule_holds("maximum_volume_ml = 5", unknown)
    assert not rule_holds("maximum_diameter_mm = 5", unknown)


@pytest.mark.parametrize(
    ("conditions", "key", "words"),
    [
        ("minimum_confidence = 0.8\nmaximum_confidence = 0.2", "minimum_confidence", "0.8 is more than"),
        ("minimum_growth_ml = 3\nmaximum_growth_ml = -3", "minimum_growth_ml", "more than"),
        ('label_in_set = "a"\nonly_label = "b"', "only_label", "never holds a"),
        ('label = "a"\nonly_label = "b"', "only_label", "never a"),
        ('presence = "absent"\nlabel = "a"', "label", "no label"),
        ('presence = "absent"\nminimum_volume_ml = 1', "minimum_volume_ml", "no size"),
        ('presence = "assessed"\nmaximum_diameter_mm = 3', "maximum_diameter_mm", "no size"),
        ('between = "07:00-07:00"', "between", "empty span"),
        ('between = "late"', "between", "18:00-07:00"),
        ("weekdays = []", "weekdays", "at least 1"),
        ('weekdays = "someday"', "weekdays", "monday"),
        ('setting = "hospice"', "setting", "emergency"),
        ('minimum_confidence = "0.5"', "minimum_confidence", "number"),
        ("minimum_volume_ml = nan", "minimum_volume_ml", "number"),
        ("minimum_volum_ml = 3", "minimum_volum_ml", "no such key"),
    ],
)
def test_what_can_never_hold_is_refused_with_line_and_rule(conditions: str, key: str, words: str) -> None:
    text = f'[default]\nname = "else"\npriority = "LOW"\n\n[[rules]]\nname = "asked"\npriority = "STAT"\n{conditions}\n'
    line = 1 + next(number for number, written in enumerate(text.splitlines()) if written.startswith(key))
    with pytest.raises(PolicyInvalid) as caught:
        parse_policy(text.encode(), name="p.toml")
    assert f"(line {line}), {key}" in str(caught.value)
    assert "rule 1" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("first", "second", "hidden"),
    [
        ("", "minimum_confidence = 0.5", True),
        ("minimum_confidence = 0.5", "minimum_confidence = 0.6", True),
        ("minimum_confidence = 0.6", "minimum_confidence = 0.5", False),
        ("minimum_confidence = 0.5", "minimum_volume_ml = 1", False),
        ("minimum_confidence = 0.5", 'lane = "stat"', False),
        ('presence = ["present", "absent"]', 'presence = "present"\nlane = "stat"', True),
        ('concept = "108369006"', 'concept = "SCT:108369006"', True),
        ('concept = "SCT:108369006"', 'concept = "108369006"', False),
        ('label_in_set = ["a", "b"]', 'only_label = "a"', True),
        ('only_label = "a"', 'label_in_set = "a"', False),
        ('between = "18:00-07:00"', 'between = "22:00-05:00"\nweekdays = "friday"', True),
        ('between = "22:00-05:00"', 'between = "18:00-07:00"', False),
        ('weekdays = ["saturday", "sunday"]', 'between = "18:00-07:00"\nweekdays = "sunday"', False),
        ("maximum_growth_ml = 3", "minimum_growth_ml = 1\nmaximum_growth_ml = 2", True),
    ],
)
def test_a_rule_that_an_earlier_one_hides_wholly_is_refused(first: str, second: str, *, hidden: bool) -> None:
    text = f'[default]\nname = "else"\npriority = "LOW"\n[[rules]]\nname = "first"\npriority = "STAT"\n{first}\n'
    text += f'[[rules]]\nname = "second"\npriority = "HIGH"\n{second}\n'
    if not hidden:
        assert len(parse_policy(text.encode(), name="p.toml").rules) == 2
        return
    line = 1 + text[: text.rindex("[[rules]]")].count("\n")
    with pytest.raises(PolicyInvalid, match=rf"rule 2 «second» \(line {line}\): it never decides, for rule «first»"):
        parse_policy(text.encode(), name="p.toml")


def test_a_time_zone_that_is_none_is_refused() -> None:
    with pytest.raises(PolicyInvalid, match=r"time_zone \(line 1\).*Europe/Berlin"):
        rule_holds("", zone="Middle/Earth")
