"""The rule by which a study is taken for complete, waited for, or held back at its deadline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from dicom_gateway.completeness.rules import EARLY, Rules
from dicom_gateway.config import AtDeadline
from storage.closing import ArrivingStudy, Reason
from storage.study_arrivals import StudyArrival, Waiting

_ANSWER_GRACE_SECONDS = 5.0


class Step(Enum):
    """What is done with a study now."""

    CLOSE = "close"
    WAIT = "wait"
    HOLD = "hold"
    SET_ASIDE = "set aside"


@dataclass(frozen=True, slots=True)
class View:
    """What is known of a study: ``images`` that have pixels, and ``lacking``, asked last, routes that lack a series."""

    study: ArrivingStudy
    quiet_seconds: float
    images: int
    has_source: bool
    lacking: Callable[[], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is done with a study, why, and when it is to be looked at again at the latest."""

    step: Step
    closes_for: Reason | None = None
    waits_for: Waiting | None = None
    look_again: datetime | None = None


_AT_DEADLINE: Mapping[AtDeadline, Step] = {
    AtDeadline.ANALYSE: Step.CLOSE,
    AtDeadline.HOLD: Step.HOLD,
    AtDeadline.SET_ASIDE: Step.SET_ASIDE,
}


def judge(view: View, rules: Rules, *, now: datetime) -> Judgement:
    """Say what is done with a study at a moment."""
    if view.study.arrival.released_at is not None:
        return Judgement(Step.CLOSE, closes_for=Reason.RELEASED)
    judged = _arrival(view, rules, now=now)
    if judged.step is Step.CLOSE and view.lacking():
        judged = Judgement(Step.WAIT, waits_for=Waiting.SERIES)
    deadline = rules.deadline(view.study)
    if judged.step is Step.CLOSE:
        return judged
    if now < deadline:
        times = [time for time in (judged.look_again, deadline) if time is not None]
        return Judgement(Step.WAIT, waits_for=judged.waits_for, look_again=min(times))
    step = _AT_DEADLINE[rules.at_deadline]
    if step is Step.CLOSE:
        return Judgement(step, closes_for=Reason.DEADLINE, waits_for=judged.waits_for)
    return Judgement(step, waits_for=judged.waits_for)


def is_answered(arrival: StudyArrival, since: datetime) -> bool:
    """Say whether the source answered a question that was asked at a moment or later."""
    return (
        arrival.asked_at is not None
        and arrival.answered_at is not None
        and since <= arrival.asked_at <= arrival.answered_at
    )


def _arrival(view: View, rules: Rules, *, now: datetime) -> Judgement:
    """Judge by images, senders and source alone."""
    study, arrival = view.study, view.study.arrival
    quiet_at = study.last_instance_at + timedelta(seconds=view.quiet_seconds)
    if _has_all(view) and now >= _early(view, quiet_at):
        return Judgement(Step.CLOSE, closes_for=Reason.EXPECTED)
    if study.being_sent:
        return Judgement(Step.WAIT, waits_for=Waiting.IMAGES)
    if now < quiet_at:
        early = _early(view, quiet_at) if _has_all(view) else quiet_at
        return Judgement(Step.WAIT, waits_for=Waiting.IMAGES, look_again=early)
    if view.has_source and not is_answered(arrival, study.last_instance_at):
        patience = _patience(arrival, quiet_at, rules)
        if now < patience:
            return Judgement(Step.WAIT, waits_for=Waiting.SOURCE, look_again=patience)
    if arrival.expected is not None and view.images < arrival.expected:
        return Judgement(Step.WAIT, waits_for=Waiting.EXPECTED)
    return Judgement(Step.CLOSE, closes_for=Reason.QUIET)


def _has_all(view: View) -> bool:
    """Say whether the source, asked after the last image, holds no more than what is there."""
    arrival = view.study.arrival
    if arrival.expected is None or not is_answered(arrival, view.study.last_instance_at):
        return False
    return arrival.ask_code is None and 0 < arrival.expected <= view.images


def _early(view: View, quiet_at: datetime) -> datetime:
    """Return when a study of which everything is there may be closed; a sender may still get more to send."""
    if view.study.being_sent:
        return quiet_at
    return view.study.last_instance_at + timedelta(seconds=view.quiet_seconds * EARLY)


def _patience(arrival: StudyArrival, quiet_at: datetime, rules: Rules) -> datetime:
    """Return until when an answer is waited for: a gateway that asks may die over it."""
    begun = max(quiet_at, arrival.asked_at) if arrival.asked_at is not None else quiet_at
    return begun + timedelta(seconds=rules.source_seconds + _ANSWER_GRACE_SECONDS)
