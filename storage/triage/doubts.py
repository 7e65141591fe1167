"""Words of a policy that nothing here can ever say: codes, labels and routes, told with their line and rule."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.domain import LabelRole
from storage.errors import RoutesInvalid
from storage.fewshot import tasks
from storage.models import RouteFileRow, SiteModelRow
from storage.routes.file import load_routes, parse_routes
from storage.triage.policy import Policy, Rule
from storage.triage.policy_file import RulePlaces

OWN_CODES = frozenset({"SCT:52988006", "SCT:108369006", "SCT:365853002"})
"""Lesion, neoplasm and imaging finding: what the analysers that ship, and models without codes of their own, say."""
_LABELS = ("label", "label_in_set", "only_label")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What findings here may be coded and labelled with, and the routes that there are.

    ``codes`` are written SCHEME:VALUE; those of models that were removed stand beside them.
    """

    codes: frozenset[str]
    removed_codes: frozenset[str]
    labels: frozenset[str]
    routes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Doubt:
    """One word that nothing says: where it stands, and whether the rule may hold once a model is installed again."""

    line: int
    rule: str
    key: str
    message: str
    only_warns: bool = False

    def __str__(self) -> str:
        return f"rule «{self.rule}» (line {self.line}), {self.key}: {self.message}"


def vocabulary(session: Session, *, routes: Collection[str] = ()) -> Vocabulary:
    """Return the words of this installation; ``routes`` are those in force, beside the ones on record."""
    installed = _codes(session, removed=False)
    return Vocabulary(
        codes=OWN_CODES | installed,
        removed_codes=_codes(session, removed=True) - installed,
        labels=frozenset(label for task in tasks.listed(session) for label in task.draft.classes),
        routes=frozenset(routes) | _routes(session),
    )


def doubts(policy: Policy, words: Vocabulary) -> tuple[Doubt, ...]:
    """Return what a policy names that nothing here says, in the order of its file."""
    places = RulePlaces.of(policy.content)
    return tuple(
        Doubt(places.line(index, key), rule.name, key, message, only_warns)
        for index, rule in enumerate(policy.rules)
        for key, message, only_warns in _of_rule(rule, words)
    )


def _of_rule(rule: Rule, words: Vocabulary) -> Iterator[tuple[str, str, bool]]:
    for concept in rule.concept or ():
        if _is_code(concept, words.codes):
            continue
        if _is_code(concept, words.removed_codes):
            yield "concept", f"the model whose findings have the code {concept} is not installed any more", True
        else:
            yield "concept", f"no analyser and no installed model here has a finding with the code {concept}", False
    for key in _LABELS:
        for label in getattr(rule, key) or ():
            if label not in words.labels:
                yield (
                    key,
                    f"no classification task has the label {label!r}; see `oncue classification task list`",
                    False,
                )
    for route in rule.route or ():
        if route not in words.routes:
            yield "route", f"there is no route {route!r}; see `oncue routes list`", False


def _is_code(concept: str, codes: frozenset[str]) -> bool:
    return concept in codes if ":" in concept else any(code.partition(":")[2] == concept for code in codes)


def _codes(session: Session, *, removed: bool) -> frozenset[str]:
    """Return the codes of the lesions that models of the site look for, as their cards declare them."""
    gone = SiteModelRow.removed_at.is_not(None) if removed else SiteModelRow.removed_at.is_(None)
    return frozenset(
        f"{label['concept']['scheme']}:{label['concept']['value']}"
        for card in session.scalars(select(SiteModelRow.card).where(gone))
        for label in json.loads(card).get("labels", ())
        if label["role"] == LabelRole.LESION.value
    )


def _routes(session: Session) -> frozenset[str]:
    """Return the routes of every file that was in force once, and of the one that ships."""
    names = {route.name for route in load_routes().routes}
    for content in session.scalars(select(RouteFileRow.content)):
        try:
            names |= {route.name for route in parse_routes(content.encode(), name="routes").routes}
        except RoutesInvalid:
            continue  # a file of an earlier version: its routes are not in force any more
    return frozenset(names)
