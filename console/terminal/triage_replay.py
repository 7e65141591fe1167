"""A replay as people read it: tables, and sentences on what the model assumes and what could not be decided."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean

from console.terminal.output import write_line, write_table
from console.triage.replay_form import DayForm, RuleCountForm, TriageReplayForm, WaitingForm
from storage.domain import Priority

_WAIT_HEADERS = (
    "read by", "with a finding", "median min", "95 % min", "without one", "median min", "95 % min",
)  # fmt: skip # reads by its lines


def _number(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def show(form: TriageReplayForm, *, on_trial: bool = False) -> None:
    """Write a replay to standard output, or what a policy ``on_trial`` said when it saw each analysis."""
    if not form.analyses:
        _show_nothing(form, on_trial=on_trial)
        return
    _show_moves(form)
    _show_rules(form)
    _show_alarms(form)
    _show_waiting(form)
    for line in _remarks(form):
        write_line(line)


def _show_nothing(form: TriageReplayForm, *, on_trial: bool) -> None:
    if on_trial:
        write_line(
            f"«{form.after.name}» saw no analysis {_span(form)}: it says something of those that come while it is tried"
        )
        write_line("`oncue triage replay` has it decide what came before")
    else:
        write_line(f"nothing was decided {_span(form)} that could be decided again")
    if form.unreadable:
        write_line(_unreadable(form))


def _show_moves(form: TriageReplayForm) -> None:
    counts = {(move.before, move.after): move.analyses for move in form.moved}
    rows = {old: [counts.get((old, new), 0) for new in Priority] for old in Priority}
    sums = [sum(column) for column in zip(*rows.values(), strict=True)]
    shown = [(name, *row, sum(row)) for name, row in (*rows.items(), ("all", sums))]
    write_line(f"«{form.after.name}» instead of «{form.before.name}», {_span(form)}\n")
    write_table("Priorities", ("was", *(f"now {priority}" for priority in Priority), "all"), shown, empty="")
    write_line(
        f"{_number(form.analyses, 'analysis', 'analyses')} of {_number(form.studies, 'study', 'studies')}: "
        f"{form.up} more urgent, {form.down} less urgent, {form.unchanged} as before\n"
    )


def _show_rules(form: TriageReplayForm) -> None:
    headers = ("rule", "priority", "analyses", "of them more urgent", "less urgent")
    sides = ((form.after.name, form.rules_after), (form.before.name, form.rules_before))
    for name, rules in sides:
        write_table(f"Rules of «{name}»", headers, [_rule_row(rule) for rule in rules], empty="")
    if form.never_held:
        write_line(f"never held in «{form.after.name}»: {', '.join(form.never_held)}\n")


def _rule_row(rule: RuleCountForm) -> tuple[object, ...]:
    return rule.rule, rule.priority, rule.analyses, rule.up, rule.down


def _show_alarms(form: TriageReplayForm) -> None:
    before, after = [day.before for day in form.days], [day.after for day in form.days]
    sides = (
        (form.before.name, before, _busiest(form.days, before)),
        (form.after.name, after, _busiest(form.days, after)),
    )
    rows = [(name, sum(alarms), f"{mean(alarms):.1f}", max(alarms), day) for name, alarms, day in sides]
    title = f"Alarms: STAT and HIGH studies of {_counted(len(form.days), 'day')}"
    write_table(title, ("by", "all", "a day", "most in a day", "on"), rows, empty="")


def _busiest(days: Sequence[DayForm], alarms: Sequence[int]) -> str | None:
    most = max(alarms)
    return days[alarms.index(most)].day.isoformat() if most else None


def _show_waiting(form: TriageReplayForm) -> None:
    orders = (
        (form.before.name, form.waiting_before),
        (form.after.name, form.waiting_after),
        ("first come, first read", form.waiting_first_come),
    )
    readers = _counted(form.model.readers, "reader")
    title = f"Waiting until read: {readers}, {form.model.minutes_per_study:g} minutes a study"
    write_table(title, _WAIT_HEADERS, [(name, *_waiting_row(waiting)) for name, waiting in orders], empty="")


def _waiting_row(waiting: WaitingForm) -> Iterator[object]:
    for group in (waiting.positive, waiting.other):
        yield group.studies
        yield _minutes(group.median_minutes)
        yield _minutes(group.percentile_95_minutes)


def _minutes(minutes: float | None) -> str | None:
    return None if minutes is None else f"{minutes:.1f}"


def _remarks(form: TriageReplayForm) -> Iterator[str]:
    yield (
        "The model: studies come when they came; every reader takes the most urgent that waits, of equals the first; "
        "readings last the same, are not broken off, and readers are there day and night. Until a study is analysed, "
        "and where its result is withheld, it counts as ROUTINE. What was found is what the models said."
    )
    if form.model.load is not None:
        yield f"Readers are busy {100 * form.model.load:.0f} % of the time{_verdict_on(form.model.load)}"
    for what, analyses in form.lacking.items():
        yield f"{what}: rules ask it of {analyses} analyses whose inputs do not hold it; such rules did not hold there"
    if form.unreadable:
        yield _unreadable(form)


def _verdict_on(load: float) -> str:
    if load > 1:
        return ": more comes than they can read, the queue never empties, and the waits above say little"
    return ""


def _unreadable(form: TriageReplayForm) -> str:
    return f"{form.unreadable} analyses keep no inputs that can be read, and are left out"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _span(form: TriageReplayForm) -> str:
    return f"since {form.since[:16]}" + (f" until {form.until[:16]}" if form.until else "") + " UTC"
