from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from storage.domain import Finding, Lane, Presence, Priority
from storage.errors import PolicyInvalid
from storage.triage.case import Case, Circumstances
from storage.triage.policy_file import load_policy, parse_policy
from tests.support.documents import DOCS
from workers.image_labels import IMAGING_FINDING
from workers.lesions import LESION

DEFAULT = b'[default]\nname = "else"\npriority = "ROUTINE"\n'


def _finding(*, volume_ml: float = 30.0, confidence: float = 0.9, label: str | None = None) -> Finding:
    return Finding(1, Presence.PRESENT, LESION, confidence, volume_ml, 40.0, "Lesion 1", "2.25.1", label)


def _absent() -> Finding:
    return Finding(0, Presence.ABSENT, LESION, 0.95, 0.0, 0.0, "No lesion", "2.25.2")


def _label(name: str | None, *, confidence: float = 0.9) -> Finding:
    abstained = None if name else "ambiguous_set"
    probability = confidence if name else None
    return Finding(
        0,
        Presence.ASSESSED,
        IMAGING_FINDING,
        probability or 0.0,
        0.0,
        0.0,
        "Whole image",
        "2.25.3",
        name,
        probability,
        abstained,
    )


def _case(*findings: Finding, out_of_distribution: float = 0.1, lane: Lane = Lane.ROUTINE) -> Case:
    return Case.of(findings, Circumstances(lane), case_score=0.9, out_of_distribution=out_of_distribution)


@pytest.mark.parametrize(
    ("case", "priority"),
    [
        (_case(_finding()), Priority.STAT),
        (_case(_finding(volume_ml=2.0)), Priority.HIGH),
        (_case(_finding(confidence=0.2)), Priority.ROUTINE),
        (_case(_finding(), out_of_distribution=9.0), Priority.ROUTINE),
        (_case(_absent()), Priority.ROUTINE),
        (_case(_absent(), lane=Lane.BATCH), Priority.LOW),
        (_case(_label("covid")), Priority.ROUTINE),
        (_case(_label(None)), Priority.ROUTINE),
        (_case(_label(None), lane=Lane.BATCH), Priority.ROUTINE),
    ],
)
def test_the_shipped_policy_orders_cases_sensibly(case: Case, priority: Priority) -> None:
    assert load_policy().decide(case).priority is priority


def test_the_first_rule_that_holds_decides() -> None:
    rules = b'[[rules]]\nname = "a"\nlane = "routine"\npriority = "LOW"\n[[rules]]\nname = "b"\npriority = "STAT"\n'
    assert parse_policy(DEFAULT + rules, name="p").decide(_case(_finding())).rule == "a"


def test_traits_must_be_those_of_one_finding() -> None:
    rule = b'[[rules]]\nname = "a"\npriority = "STAT"\nminimum_volume_ml = 10\nlabel = "tumour-like"\n'
    policy = parse_policy(DEFAULT + rule, name="p")
    large_other, small_tumour = _finding(label="not-tumour"), _finding(volume_ml=1.0, label="tumour-like")
    assert policy.decide(_case(large_other, small_tumour)).rule == "else"
    assert policy.decide(_case(_finding(label="tumour-like"))).rule == "a"


def test_a_site_raises_a_label_of_a_whole_image_and_an_abstention_stays_routine() -> None:
    example = (
        DOCS.joinpath("classification-workflow.md").read_text().partition("```toml\n[[rules]]")[2].partition("```")[0]
    )
    policy = parse_policy(DEFAULT + b"[[rules]]" + example.encode(), name="site.toml")
    raised = policy.decide(_case(_label("bacteria", confidence=0.9)))
    assert (raised.priority, raised.rule) == (Priority.HIGH, "pneumonia on a radiograph")
    for finding in (_label("bacteria", confidence=0.6), _label("normal"), _label(None), _finding(label="bacteria")):
        assert policy.decide(_case(finding)).rule == "else"


def test_a_decision_names_its_policy_and_what_it_looked_at() -> None:
    decision = parse_policy(DEFAULT, name="p").decide(_case(_finding()))
    assert decision.policy_sha256 == hashlib.sha256(DEFAULT).hexdigest()
    inputs = json.loads(decision.inputs)
    assert inputs["findings"][0]["volume_ml"] == 30.0
    assert decision.inputs == json.dumps(inputs, sort_keys=True, separators=(",", ":"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'[[rules]]\nname = "a"\npriority = "LOW"\n', ["default"]),
        (DEFAULT + b'[[rules]]\nname = "a"\npriority = "SOON"\n', ["rule 1", "line 6", "priority"]),
        (
            DEFAULT + b'[[rules]]\nname="a"\npriority="LOW"\n\n[[rules]]\nname="b"\npriority="LOW"\nvolume=3\n',
            ["rule 2", "line 11", "volume"],
        ),
        (DEFAULT + b'[[rules]]\nname="a"\npriority="LOW"\nminimum_confidence=1.5\n', ["rule 1", "minimum_confidence"]),
        (DEFAULT + b'[[rules]]\nname="else"\npriority="LOW"\n', ["else"]),
        (b"[default\n", ["line 1"]),
        (b"\xff\xfe", ["not valid TOML"]),
    ],
)
def test_a_wrong_policy_is_refused_with_the_place_that_is_wrong(content: bytes, words: list[str]) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        parse_policy(content, name="site.toml")
    assert all(word in str(caught.value) for word in ["site.toml", *words])


def test_a_policy_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyInvalid, match=r"none\.toml"):
        load_policy(tmp_path / "none.toml")


def test_the_policies_of_the_documentation_are_sound() -> None:
    blocks = [part.partition("```")[0] for part in DOCS.joinpath("triage.md").read_text().split("```toml\n")[1:]]
    written = [block for block in blocks if "[default]" in block]
    assert written
    for block in written:
        assert parse_policy(block.encode(), name="triage.md").rules


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (DEFAULT + b"a = " + b"[" * 100_000 + b"]" * 100_000, "too deep"),
        (DEFAULT + b"a = " + b"{b = " * 50_000 + b"1" + b"}" * 50_000, "too deep"),
        (DEFAULT + b"a = " + b"9" * 5_000, "not valid TOML"),
        (
            b"".join(b'[[rules]]\nname = "%d"\npriority = "STAT"\nlane = "stat"\n' % at for at in range(501)) + DEFAULT,
            "501",
        ),
    ],
    ids=["arrays", "tables", "digits", "rules"],
)
def test_a_file_that_would_exhaust_its_reader_is_refused(content: bytes, told: str) -> None:
    with pytest.raises(PolicyInvalid, match=told):
        parse_policy(content, name="site.toml")


@pytest.mark.parametrize("name", ["a\\u0000b", "\\u001b[2J", "one\\ntwo", "\\u202egnp", "   "])
@pytest.mark.parametrize("text", ['name = "{}"', '[[rules]]\nname = "{}"\npriority = "STAT"\nlane = "stat"'])
def test_names_that_a_terminal_or_a_database_would_not_show_are_refused(name: str, text: str) -> None:
    named = text.format(name).encode()
    content = named + b"\n" + DEFAULT
    with pytest.raises(PolicyInvalid, match=r"name.*on one line"):
        parse_policy(content, name="site.toml")


def test_a_policy_is_called_by_what_can_be_read() -> None:
    with pytest.raises(PolicyInvalid, match="on one line"):
        parse_policy(DEFAULT, name="site.toml", called="night\x1b[2J")
