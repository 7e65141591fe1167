"""The conditions of a route in words, one sentence part each, in the order of the file's keys."""

from __future__ import annotations

from collections.abc import Iterator

from storage.routes.conditions import Conditions
from storage.routes.regions import Side
from storage.routes.requirements import Requirements
from storage.routes.route import Route

_SIDES = {Side.LEFT: "left", Side.RIGHT: "right"}


def in_words(asked: Conditions) -> tuple[str, ...]:
    """Return what a series must be for a route to want it; all parts must hold."""
    return tuple(_parts(asked))


def wanted_in_words(route: Route) -> tuple[str, ...]:
    """Return what a series must be for a route to want it, and what keeps it away although it is all that."""
    kept_away = () if route.unless is None else (f"unless all of: {', '.join(_parts(route.unless))}",)
    return (*in_words(route.match), *kept_away)


def waits_in_words(route: Route) -> tuple[str, ...]:
    """Return what else must have come of a study before it is closed, until its deadline."""
    return tuple(f"a series of {', '.join(_parts(asked))}" for asked in route.wait_for)


def requirements_in_words(asked: Requirements) -> tuple[str, ...]:
    """Return what the volume or image built of a series must be, before anything is sought in it."""
    parts = (
        (asked.minimum_coverage_mm, "at least {:g} mm thick as a stack"),
        (asked.minimum_field_mm, "at least {:g} mm wide"),
        (asked.maximum_spacing_mm, "at most {:g} mm between pixels or slices"),
        (asked.minimum_pixels, "at least {:g} pixels wide"),
    )
    return tuple(words.format(value) for value, words in parts if value is not None)


def _parts(asked: Conditions) -> Iterator[str]:
    yield f"modality {_or(asked.modality)}"
    if asked.sop_class:
        yield f"SOP class {_or(asked.sop_class)}"
    if asked.body_part:
        unknown = ", or no region named" if asked.body_part_unknown else ""
        yield f"body region {_or(asked.body_part)}{unknown}"
    if asked.laterality is not None:
        yield f"{_SIDES[asked.laterality]} side"
    yield from _patterns(asked)
    if asked.calling_aet:
        yield f"sent by {_or(asked.calling_aet)}"
    if asked.station:
        yield f"station {_or(asked.station)}"
    yield from _numbers(asked)
    if asked.contrast is not None:
        yield "with a contrast agent" if asked.contrast else "without a contrast agent"
    if asked.derived is not None:
        yield "derived images" if asked.derived else "original images"


def _patterns(asked: Conditions) -> Iterator[str]:
    if asked.description is not None:
        yield f"description like {asked.description}"
    if asked.not_description is not None:
        yield f"description not like {asked.not_description}"
    if asked.study_description is not None:
        yield f"study description like {asked.study_description}"


def _numbers(asked: Conditions) -> Iterator[str]:
    if slices := _range(asked.minimum_slices, asked.maximum_slices):
        yield f"{slices} slices"
    if thickness := _range(asked.minimum_thickness_mm, asked.maximum_thickness_mm):
        yield f"{thickness} mm thick"


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return f"at least {low:g}" if low is not None else f"at most {high:g}" if high is not None else ""


def _or(values: tuple[str, ...]) -> str:
    return " or ".join(values)
