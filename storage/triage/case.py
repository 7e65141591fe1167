"""What a triage policy looks at: one answer of an analyser, and what surrounds it, as text that can be decided anew."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from storage.care_settings import CareSetting
from storage.domain import Extent, Finding, Lane, Presence

_DIGITS = 6
"""Numbers are rounded before a policy sees them, so that the text which is kept decides as they did."""


class Fact(StrEnum):
    """What policies may ask for, and inputs of earlier versions do not hold."""

    ROUTE = "route"
    SETTING = "setting"
    GROWTH = "growth"
    TIME = "time"
    CODE_SCHEME = "code scheme"
    LABEL_SET = "label set"
    DIAMETER = "longest diameter"


@dataclass(frozen=True, slots=True)
class CaseFinding:
    """One finding as policies see it; None is what is not known of it.

    ``volume_ml`` is None where millimetres are not known in three directions, ``longest_diameter_mm`` where they are
    not known in two. ``label_set`` holds the labels that the conformal threshold could not rule out.
    """

    number: int
    presence: Presence
    concept: str
    scheme: str
    confidence: float
    volume_ml: float | None
    longest_diameter_mm: float | None
    label: str | None = None
    label_set: tuple[str, ...] = ()

    @classmethod
    def of(cls, finding: Finding) -> Self:
        """Return a finding as policies see it."""
        return cls(
            number=finding.number,
            presence=finding.presence,
            concept=finding.concept.value,
            scheme=finding.concept.scheme,
            confidence=round(finding.confidence, _DIGITS),
            volume_ml=round(finding.volume_ml, _DIGITS) if finding.extent is Extent.VOLUME else None,
            longest_diameter_mm=(
                None if finding.extent is Extent.UNKNOWN else round(finding.longest_diameter_mm, _DIGITS)
            ),
            label=finding.label,
            label_set=finding.prediction.label_set if finding.prediction else (),
        )


@dataclass(frozen=True, slots=True)
class Earlier:
    """The result that growth is measured against: its job, its lesions together, and how many days older its scan is.

    ``volume_ml`` is None where its lesions have no known volume.
    """

    job_id: int
    volume_ml: float | None
    days: int


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What surrounds an answer. None is what is not known: no earlier result, no setting, no time."""

    lane: Lane
    route: str | None = None
    setting: CareSetting | None = None
    decided_at: datetime | None = None
    earlier: Earlier | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that a policy may look at. ``lacking`` is what the inputs of an earlier version do not hold."""

    findings: tuple[CaseFinding, ...]
    case_score: float
    out_of_distribution: float | None
    circumstances: Circumstances
    lacking: frozenset[Fact] = frozenset()

    @classmethod
    def of(
        cls,
        findings: Iterable[Finding],
        circumstances: Circumstances,
        *,
        case_score: float,
        out_of_distribution: float | None,
    ) -> Self:
        """Return the case of an answer, its numbers as precise as they are kept."""
        distance = None if out_of_distribution is None else round(out_of_distribution, _DIGITS)
        seen = tuple(map(CaseFinding.of, findings))
        return cls(seen, round(case_score, _DIGITS), distance, _rounded(circumstances))

    @classmethod
    def of_inputs(cls, text: str, *, route: str | None = None, decided_at: datetime | None = None) -> Self:
        """Return the case of a decision on record from its inputs, those of earlier versions too; ValueError.

        ``route`` and ``decided_at`` are what the record says beside inputs that do not hold them.
        """
        content = json.loads(text)
        if not isinstance(content, dict) or "findings" not in content:
            raise ValueError("these are no inputs of a decision")
        around = _circumstances(content)
        known = replace(around, route=around.route or route, decided_at=around.decided_at or _whole_seconds(decided_at))
        return cls(
            findings=tuple(_finding(entry) for entry in content["findings"]),
            case_score=content["case_score"],
            out_of_distribution=content["out_of_distribution"],
            circumstances=known,
            lacking=_lacking(content, known),
        )

    @property
    def volume_ml(self) -> float | None:
        """All lesions together; None where the answer does not speak of lesions, or not in millilitres."""
        spoken = [one for one in self.findings if one.presence is not Presence.ASSESSED]
        return total_ml(one.volume_ml for one in spoken if one.presence is Presence.PRESENT) if spoken else None

    @property
    def growth_ml(self) -> float | None:
        """How much larger the lesions are than they were, in millilitres; None where that is not known."""
        earlier = self.circumstances.earlier
        if earlier is None or earlier.volume_ml is None or self.volume_ml is None:
            return None
        return round(self.volume_ml - earlier.volume_ml, _DIGITS)

    @property
    def growth_percent(self) -> float | None:
        """The same in percent of what they were; a lesion where there was none has grown without bound."""
        growth, earlier = self.growth_ml, self.circumstances.earlier
        if growth is None or earlier is None or earlier.volume_ml is None:
            return None
        if earlier.volume_ml > 0:
            return round(100 * growth / earlier.volume_ml, _DIGITS)
        return float("inf") if growth > 0 else 0.0

    def inputs(self) -> str:
        """Return everything that a policy may look at as canonical JSON; it holds no patient data."""
        around = self.circumstances
        return json.dumps(
            {
                "case_score": self.case_score,
                "out_of_distribution": self.out_of_distribution,
                "lane": around.lane.value,
                "route": around.route,
                "setting": around.setting.value if around.setting else None,
                "decided_at": around.decided_at.isoformat() if around.decided_at else None,
                "earlier": _earlier_text(around.earlier),
                "findings": [_finding_text(finding) for finding in self.findings],
            },
            sort_keys=True,
            separators=(",", ":"),
        )


def total_ml(volumes: Iterable[float | None]) -> float | None:
    """Return the sum of volumes, 0 for none; None where one of them is not known."""
    known = list(volumes)
    present = [volume for volume in known if volume is not None]
    return round(sum(present), _DIGITS) if len(present) == len(known) else None


def _rounded(around: Circumstances) -> Circumstances:
    return replace(around, decided_at=_whole_seconds(around.decided_at))


def _whole_seconds(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC).replace(microsecond=0)


def _earlier_text(earlier: Earlier | None) -> dict[str, int | float | None] | None:
    return None if earlier is None else {"job": earlier.job_id, "volume_ml": earlier.volume_ml, "days": earlier.days}


def _finding_text(finding: CaseFinding) -> dict[str, object]:
    return {
        "number": finding.number,
        "presence": finding.presence.value,
        "concept": finding.concept,
        "scheme": finding.scheme,
        "confidence": finding.confidence,
        "volume_ml": finding.volume_ml,
        "diameter_mm": finding.longest_diameter_mm,
        "label": finding.label,
        "label_set": list(finding.label_set),
    }


def _finding(entry: Mapping[str, Any]) -> CaseFinding:
    presence = Presence(entry["presence"])
    # Earlier versions wrote 0 for the size of what has none.
    sized = presence is not Presence.ASSESSED or "scheme" in entry
    return CaseFinding(
        number=entry["number"],
        presence=presence,
        concept=entry["concept"],
        scheme=entry.get("scheme", ""),
        confidence=entry["confidence"],
        volume_ml=entry["volume_ml"] if sized else None,
        longest_diameter_mm=entry.get("diameter_mm"),
        label=entry["label"],
        label_set=tuple(entry.get("label_set", ())),
    )


def _circumstances(content: Mapping[str, Any]) -> Circumstances:
    setting, moment, earlier = content.get("setting"), content.get("decided_at"), content.get("earlier")
    return Circumstances(
        lane=Lane(content["lane"]),
        route=content.get("route"),
        setting=CareSetting(setting) if setting else None,
        decided_at=datetime.fromisoformat(moment) if moment else None,
        earlier=Earlier(earlier["job"], earlier["volume_ml"], earlier["days"]) if earlier else None,
    )


def _lacking(content: Mapping[str, Any], known: Circumstances) -> frozenset[Fact]:
    missing = set()
    if known.route is None:
        missing.add(Fact.ROUTE)
    if known.decided_at is None:
        missing.add(Fact.TIME)
    if "setting" not in content:
        missing.add(Fact.SETTING)
    if "earlier" not in content:
        missing.add(Fact.GROWTH)
    if any("scheme" not in entry for entry in content["findings"]):
        missing |= {Fact.CODE_SCHEME, Fact.LABEL_SET, Fact.DIAMETER}
    return frozenset(missing)
