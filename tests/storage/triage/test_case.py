"""A case as text: what a policy saw is all in it, also what earlier versions kept."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from storage.care_settings import CareSetting
from storage.domain import Code, Extent, Finding, Lane, Presence, Priority
from storage.explanations import Prediction
from storage.triage.case import Case, Circumstances, Earlier, Fact
from storage.triage.policy_file import load_policy, parse_policy

LESION = Code("52988006", "SCT", "Lesion")
MOMENT = datetime(2026, 3, 4, 21, 30, 12, 345678, tzinfo=UTC)
AROUND = Circumstances(Lane.STAT, "head-mr", CareSetting.EMERGENCY, MOMENT, Earlier(7, 12.5, 90))
OLD = (
    '{"case_score":0.9,"findings":[{"concept":"52988006","confidence":0.9,"label":null,"number":1,"presence":"present",'
    '"volume_ml":30.0}],"lane":"routine","out_of_distribution":0.1}'
)


def finding(volume_ml: float = 30.0, *, extent: Extent = Extent.VOLUME, confidence: float = 0.9) -> Finding:
    return Finding(
        1, Presence.PRESENT, LESION, confidence, volume_ml, 41.123456789, "Lesion 1", "2.25.1", "tumour", 0.8,
        prediction=Prediction(1, ("tumour", "cyst")), extent=extent,
    )  # fmt: skip # one line per group


def case(*findings: Finding, around: Circumstances = AROUND, case_score: float = 0.9) -> Case:
    return Case.of(findings, around, case_score=case_score, out_of_distribution=0.123456789)


def test_what_was_kept_is_the_case_again() -> None:
    whole = case(finding(), finding(1 / 3, extent=Extent.UNKNOWN))
    assert Case.of_inputs(whole.inputs()) == whole
    bare = case(around=Circumstances(Lane.BATCH, "r", None, MOMENT))
    assert Case.of_inputs(bare.inputs()) == bare


def test_a_number_is_rounded_before_a_policy_sees_it() -> None:
    policy = parse_policy(
        b'[default]\nname="else"\npriority="LOW"\n[[rules]]\nname="a"\npriority="STAT"\nminimum_confidence=0.5\n',
        name="p",
    )
    close = case(finding(confidence=0.4999999999))
    assert policy.decide(close) == policy.decide(Case.of_inputs(policy.decide(close).inputs))


def test_no_text_that_a_patient_wrote_or_was_called_by_is_kept() -> None:
    text = case(finding()).inputs()
    assert "2.25" not in text
    assert "Lesion 1" not in text


def test_inputs_of_an_earlier_version_decide_as_they_did_and_say_what_they_lack() -> None:
    old = Case.of_inputs(OLD)
    decision = load_policy().decide(old)
    assert (decision.priority, decision.rule) == (Priority.STAT, "large lesion")
    assert old.lacking == frozenset(Fact)
    known = Case.of_inputs(OLD, route="head-mr", decided_at=MOMENT)
    assert (known.circumstances.route, Fact.TIME in known.lacking, Fact.ROUTE in known.lacking) == (
        "head-mr",
        False,
        False,
    )


def test_only_what_a_policy_asks_for_is_missed() -> None:
    default, rule = b'[default]\nname="else"\npriority="LOW"\n', b'[[rules]]\nname="a"\npriority="STAT"\n'
    asks = default + rule + b'setting="emergency"\nminimum_growth_ml=1\n'
    assert parse_policy(asks, name="p").misses(Case.of_inputs(OLD)) == {Fact.SETTING, Fact.GROWTH}
    assert load_policy().misses(Case.of_inputs(OLD)) == frozenset()
    assert parse_policy(asks, name="p").misses(case(finding())) == frozenset()


@pytest.mark.parametrize("text", ["{}", "[]", "nothing"])
def test_what_are_no_inputs_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"inputs|Expecting"):
        Case.of_inputs(text)


@pytest.mark.parametrize(
    ("volumes", "before", "ml", "percent"),
    [
        ((15.0, 5.0), 16.0, 4.0, 25.0),
        ((4.0,), 16.0, -12.0, -75.0),
        ((4.0,), 0.0, 4.0, float("inf")),
        ((4.0,), None, None, None),
    ],
)
def test_growth_is_that_of_all_lesions_together(
    volumes: tuple[float, ...], before: float | None, ml: float | None, percent: float | None
) -> None:
    grown = case(*map(finding, volumes), around=Circumstances(Lane.ROUTINE, earlier=Earlier(1, before, 30)))
    assert (grown.growth_ml, grown.growth_percent) == (ml, percent)


def test_growth_is_unknown_without_an_earlier_result_or_a_volume() -> None:
    assert case(finding(), around=Circumstances(Lane.ROUTINE)).growth_ml is None
    assert case(finding(extent=Extent.AREA)).growth_ml is None
    assert case().growth_ml is None
    absent = Finding(0, Presence.ABSENT, LESION, 0.9, 0.0, 0.0, "No lesion", "2.25.2")
    assert (case(absent).growth_ml, case(absent).growth_percent) == (-12.5, -100.0)
