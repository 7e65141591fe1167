"""What an address of QIDO-RS asks the holdings, and what every answer to it says (PS3.18 10.6)."""

from __future__ import annotations

import http
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from console.query_keys import page_of, parameters_of
from console.request_errors import RequestInvalid
from storage.attributes import Attributes, element
from storage.holdings.question import LIMIT, HoldingsQuestion, Level
from storage.uids import is_uid

MOST = 1000
MOST_OF_STUDY = 10_000
"""Answers of a page within one study, where a client that names no limit gets all: a viewer builds on that."""

STUDY_UID, SERIES_UID, INSTANCE_UID = "0020000D", "0020000E", "00080018"
RETRIEVE_URL = "00081190"
_OTHERS = frozenset({"accept"})
_OF_STUDY = frozenset(
    {"00080020", "00080030", "00080050", "00080056", "00080061", "00080090", "00081030", "00100010", "00100020"}
    | {"00100030", "00100040", STUDY_UID, "00200010", "00201206", "00201208"}
)
_OF_SERIES = frozenset(
    {"00080060", "0008103E", SERIES_UID, "00200011", "00201209", "00400244", "00400245", "00400275", "00080056"}
)
_OF_INSTANCE = frozenset(
    {"00080016", INSTANCE_UID, "00080056", "00200013", "00280008", "00280010", "00280011", "00280100"}
)
_ANSWERED: Mapping[Level, frozenset[str]] = {
    Level.STUDY: _OF_STUDY,
    Level.SERIES: _OF_SERIES,
    Level.IMAGE: _OF_INSTANCE,
}
"""What answers of a level say unasked (PS3.18, Tables 10.6.3-3 to 10.6.3-5)."""


@dataclass(frozen=True, slots=True)
class Within:
    """The study, and the series of it, that an address searches in; None is everywhere."""

    study: str | None = None
    series: str | None = None

    def keys(self) -> Mapping[str, str]:
        """Return the UIDs by their tags; RequestInvalid for what is none: a path names one study, and no pattern."""
        named = {STUDY_UID: self.study, SERIES_UID: self.series}
        found = {tag: uid for tag, uid in named.items() if uid is not None}
        if not all(map(is_uid, found.values())):
            raise RequestInvalid(
                "the path names a study or series by what is no UID", status=http.HTTPStatus.BAD_REQUEST
            )
        return found


@dataclass(frozen=True, slots=True)
class Asked:
    """A question to the holdings; ``is_fuzzy``: names were to be matched by their sound, which they are not."""

    question: HoldingsQuestion
    is_fuzzy: bool


def asked(level: Level, within: Within, parameters: Iterable[tuple[str, str]]) -> Asked:
    """Return what an address asks; RequestInvalid. UIDs of its path count more than those among its parameters.

    What the path does not name is said in every answer, with what describes it.
    """
    given = parameters_of(parameters, others=_OTHERS)
    keys = given.keys.changed({tag: element("UI", uid) for tag, uid in within.keys().items()})
    included = given.included | _ANSWERED[level]
    if within.study is None:
        included |= _OF_STUDY
    if level is Level.IMAGE and within.series is None:
        included |= _OF_SERIES
    page = (
        page_of(given, default=LIMIT, most=MOST)
        if within.study is None
        else page_of(given, default=MOST_OF_STUDY, most=MOST_OF_STUDY)
    )
    question = HoldingsQuestion(level, keys, **page, included=included, includes_all=given.includes_all)
    return Asked(question, given.is_fuzzy)


def with_address(answer: Attributes, level: Level, base: str) -> Attributes:
    """Return an answer with where to retrieve what it is of."""
    where = f"{base}/studies/{answer.value(STUDY_UID)}"
    if level in (Level.SERIES, Level.IMAGE):
        where += f"/series/{answer.value(SERIES_UID)}"
    if level is Level.IMAGE:
        where += f"/instances/{answer.value(INSTANCE_UID)}"
    return answer.changed({RETRIEVE_URL: element("UR", where)})
