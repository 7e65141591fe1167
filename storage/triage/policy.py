"""The triage policy: a site's own file of ordered rules that turns findings into a reading priority."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from storage.domain import Finding, Lane, Presence, Priority, TriageDecision
from storage.errors import PolicyInvalid

_NAME_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Case:
    """What a policy may look at."""

    findings: tuple[Finding, ...]
    case_score: float
    out_of_distribution: float | None
    lane: Lane


class _Outcome(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=_NAME_LENGTH)
    priority: Priority


class Rule(_Outcome):
    """One rule: what it does not name, it does not look at."""

    presence: Presence | None = None
    concept: str | None = None
    label: str | None = None
    minimum_confidence: float | None = Field(default=None, ge=0, le=1)
    minimum_volume_ml: float | None = Field(default=None, ge=0)
    minimum_out_of_distribution: float | None = Field(default=None, ge=0)
    lane: Lane | None = None

    def holds(self, case: Case) -> bool:
        """Say whether the rule holds: for the case, and for at least one finding where it names any of its traits."""
        if self.lane not in (None, case.lane):
            return False
        least = self.minimum_out_of_distribution
        if least is not None and (case.out_of_distribution is None or case.out_of_distribution < least):
            return False
        return not self._looks_at_findings or any(self._fits(finding) for finding in case.findings)

    @property
    def _looks_at_findings(self) -> bool:
        traits = (self.presence, self.concept, self.label, self.minimum_confidence, self.minimum_volume_ml)
        return any(trait is not None for trait in traits)

    def _fits(self, finding: Finding) -> bool:
        return (
            self.presence in (None, finding.presence)
            and self.concept in (None, finding.concept.value)
            and self.label in (None, finding.label)
            and finding.confidence >= (self.minimum_confidence or 0.0)
            and finding.volume_ml >= (self.minimum_volume_ml or 0.0)
        )


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    default: _Outcome
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules in the order in which they are tried, the default, and the digest of the file that they came from."""

    rules: tuple[Rule, ...]
    default_name: str
    default_priority: Priority
    sha256: str

    def decide(self, case: Case) -> TriageDecision:
        """Return the priority by the first rule that holds, with everything that was looked at."""
        for rule in self.rules:
            if rule.holds(case):
                return TriageDecision(rule.priority, rule.name, self.sha256, describe(case))
        return TriageDecision(self.default_priority, self.default_name, self.sha256, describe(case))


def load_policy(path: Path | None = None) -> Policy:
    """Read a policy file, by default the one that ships. PolicyInvalid names the line or the rule at fault."""
    source = path or Path(__file__).with_name("triage-policy.toml")
    try:
        content = source.read_bytes()
    except OSError as error:
        raise PolicyInvalid(f"the triage policy {source.name} cannot be read: {error.strerror}") from error
    return parse_policy(content, name=source.name)


def parse_policy(content: bytes, *, name: str) -> Policy:
    """Build a policy from the bytes of a TOML file called ``name``; PolicyInvalid."""
    try:
        text = content.decode()
        document = _Document.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyInvalid(f"{name}: not valid TOML: {error}") from error
    except ValidationError as error:
        raise PolicyInvalid(f"{name}: {_complaint(error, text)}") from error
    names = [rule.name for rule in document.rules] + [document.default.name]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise PolicyInvalid(f"{name}: two rules are called {twice!r}; decisions name their rule, so names must differ")
    return Policy(document.rules, document.default.name, document.default.priority, hashlib.sha256(content).hexdigest())


def describe(case: Case) -> str:
    """Return what a policy looks at as canonical JSON; it holds no patient data."""
    return json.dumps(
        {
            "case_score": round(case.case_score, 6),
            "out_of_distribution": None if case.out_of_distribution is None else round(case.out_of_distribution, 6),
            "lane": case.lane.value,
            "findings": [_described(finding) for finding in case.findings],
        },
        sort_keys=True,
        separators=(",", ":"),
    )


def _described(finding: Finding) -> dict[str, str | int | float | None]:
    return {
        "number": finding.number,
        "presence": finding.presence.value,
        "concept": finding.concept.value,
        "confidence": round(finding.confidence, 6),
        "volume_ml": round(finding.volume_ml, 6),
        "label": finding.label,
    }


def _complaint(error: ValidationError, text: str) -> str:
    first = error.errors(include_url=False)[0]
    place = first["loc"]
    if place[:1] == ("rules",) and len(place) > 1 and isinstance(place[1], int):
        keys = ".".join(str(part) for part in place[2:])
        where = f"rule {place[1] + 1} (line {_rule_line(text, place[1])})" + (f", {keys}" if keys else "")
    else:
        where = ".".join(str(part) for part in place) or "the file"
    return f"{where}: {first['msg']}"


def _rule_line(text: str, index: int) -> int:
    starts: Sequence[int] = [
        number for number, line in enumerate(text.splitlines(), start=1) if re.match(r"\s*\[\[\s*rules\s*\]\]", line)
    ]
    return starts[index] if index < len(starts) else 1
