"""`oncue triage pending` and `oncue triage times`: who waits unseen, and how long each step took."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.moments import past
from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, Limit, OfPriority, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.announcing.unopened_studies import UrgentStudy, Waiting
    from storage.announcing.waiting_times import Span, TimesAsked, TimesReport, WaitingTimes

FailAfter = Annotated[
    int | None,
    typer.Option(
        "--fail-after",
        metavar="MIN",
        min=0,
        help="End with exit code 1 where one has waited for so many minutes, for monitors.",
    ),
]
AnalysedSince = Annotated[
    datetime | None,
    typer.Option(
        "--since",
        metavar="TIME",
        parser=past,
        help="Analysed at this day or time (UTC), or later; default: 7d, a span before now.",
    ),
]
AnalysedUntil = Annotated[
    datetime | None,
    typer.Option("--until", metavar="TIME", parser=past, help="Analysed before this day or time (UTC)."),
]
By = Annotated[str, typer.Option("--by", metavar="GROUP", help="route, day, channel or priority.")]
Plot = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE.svg", dir_okay=False, help="Write a figure of it, as SVG.")
]


def show_pending(
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    as_json: AsJson = False,
    limit: Limit = 500,
    priority: OfPriority = None,
    fail_after: FailAfter = None,
) -> None:
    """List the STAT and HIGH studies that nobody has opened, those first that wait for longest.

    Example: oncue triage pending --priority STAT --fail-after 30
    """
    from console.installation import open_installation
    from console.terminal.options import chosen
    from console.terminal.output import write_forms, write_line, write_table
    from console.urgent.schemas import pending_form
    from storage.announcing import unopened_studies
    from storage.database import utc_now
    from storage.domain import Priority

    wanted, now = chosen(Priority, priority), utc_now()
    with open_installation(state, file=config).read() as session:
        found = unopened_studies.pending(session, priority=wanted, limit=limit)
        waiting = unopened_studies.waiting(session, priority=wanted)
    if as_json:
        write_forms([pending_form(study, now=now) for study in found])
    else:
        headers = ("priority", "study", "waits", "route", "arrived", "analysed", "announced", "told next", "UID")
        write_table("Opened by nobody", headers, [_row(study, now) for study in found], empty="no urgent study waits")
        if waiting.count > len(found):
            write_line(f"{waiting.count} wait in all; --limit {waiting.count} shows them")
    if fail_after is not None and _has_waited(waiting, timedelta(minutes=fail_after), now):
        raise typer.Exit(1)


def show_times(
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    as_json: AsJson = False,
    since: AnalysedSince = None,
    until: AnalysedUntil = None,
    by: By = "route",
    plot: Plot = None,
) -> None:
    """Show how long urgent studies took from the last image until analysed, announced and opened.

    Example: oncue triage times --since 2026-11-01 --by day --plot times.svg
    """
    from console.installation import open_installation
    from console.terminal.options import chosen
    from console.terminal.output import write_json
    from console.urgent.api import TIMES_DAYS
    from console.urgent.schemas import TimesReportForm
    from storage.announcing import waiting_times
    from storage.announcing.waiting_times import TimesAsked, TimesBy
    from storage.database import utc_now

    if plot is not None and plot.suffix != ".svg":
        raise typer.BadParameter(f"{plot} is no name of an SVG file; the figure is one: FILE.svg")
    begin = since or utc_now() - timedelta(days=TIMES_DAYS)
    asked = TimesAsked(begin, until, chosen(TimesBy, by) or TimesBy.ROUTE)
    with open_installation(state, file=config).read() as session:
        report = waiting_times.report(session, asked)
    if plot is not None:
        _write_figure(report, asked, plot)
    if as_json:
        write_json(TimesReportForm.model_validate(report).model_dump(mode="json"))
    else:
        _show_report(report, asked)


def _row(study: UrgentStudy, now: datetime) -> tuple[object, ...]:
    from console.urgent.durations import spoken

    told = f"{study.announced_at:%H:%M:%S} by {study.announced_by}" if study.announced_at else None
    step = study.next_step
    return (
        study.priority,
        study.study_id,
        spoken(study.waited_seconds(now)),
        study.route,
        f"{study.arrived_at:%Y-%m-%d %H:%M:%S}",
        f"{study.analysed_at:%H:%M:%S}",
        told,
        f"{step.channel} at {step.at:%H:%M:%S}" if step else None,
        study.study_instance_uid,
    )


def _has_waited(waiting: Waiting, long: timedelta, now: datetime) -> bool:
    return waiting.since is not None and now - waiting.since >= long


def _show_report(report: TimesReport, asked: TimesAsked) -> None:
    from console.terminal.output import write_line, write_table

    headers = (asked.by.value, "studies", "analysed", "announced", "opened", "never opened")
    groups: Sequence[WaitingTimes] = (*report.groups, *([report.total] if len(report.groups) > 1 else []))
    rows = [_times_row(one) for one in groups]
    write_table("Time after the last image: median / 95 %", headers, rows, empty="no study was urgent in that time")
    total = report.total
    left_out = total.analysed.left_out + total.announced.left_out + total.opened.left_out
    if left_out:
        write_line(f"{left_out} moments are left out: they came before the result or the last image (docs/triage.md)")


def _times_row(one: WaitingTimes) -> tuple[object, ...]:
    return one.group or "all", one.studies, *map(_span, (one.analysed, one.announced, one.opened)), one.unopened


def _span(span: Span) -> str | None:
    from console.urgent.durations import spoken

    if not span.count:
        return None
    return f"{spoken(span.median_seconds)} / {spoken(span.p95_seconds)} ({span.count})"


def _write_figure(report: TimesReport, asked: TimesAsked, path: Path) -> None:
    from console.urgent.times_figure import figure

    drawn = figure(report, asked.by, alone=True)
    if drawn:
        path.write_text(drawn + "\n", encoding="utf-8")
    said = f"the figure is in {path}" if drawn else f"no figure is written to {path}: nothing is there to draw"
    typer.echo(said, err=True)  # standard output may be JSON
