"""`oncue triage`: the policies that order the worklist, tried before they count."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from console.installation import Installation
    from console.triage.schemas import CheckedPolicyForm, ShownPolicyForm
    from storage.triage.doubts import Doubt
    from storage.triage.policies import Change, RecordedPolicy

app = typer.Typer(
    no_args_is_help=True, help="Triage: how findings become a reading priority, and what a policy would change."
)

PolicyFile = Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, help="Triage policy (TOML).")]
PolicyName = Annotated[
    str,
    typer.Argument(
        metavar="POLICY", help="Name or digest of a policy on record; or a file, by a path ending in .toml."
    ),
]
ShownPolicy = Annotated[
    str | None, typer.Argument(metavar="POLICY", help="Name or digest; default: the one that decides.")
]
Named = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="What the policy is called; default: as its file says.")
]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who answers for it; stays on record.")]
Reason = Annotated[str, typer.Option("--reason", metavar="WORDS", help="Why; stays on record. Name no patient.")]
KeepAsShadow = Annotated[
    bool, typer.Option("--keep-as-shadow", help="Try the one that decided until now beside the new one.")
]
_DIGITS = 12


@app.command("list")
def show_policies(state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the policies on record: the one that decides, those on trial, and those that did before.

    Example: oncue triage list --state ./oncue-state
    """
    from console.terminal.output import write_forms, write_line, write_table
    from console.triage.schemas import PolicyForm
    from storage.triage import policies
    from storage.triage.tables import PolicyState

    with _installation(state, config).read() as session:
        forms = [PolicyForm.model_validate(one) for one in policies.listed(session)]
    if as_json:
        write_forms(forms)
        return
    rows = [
        (one.name, one.state, one.sha256[:_DIGITS], one.changed_at[:19], one.changed_by, one.reason) for one in forms
    ]
    headers = ("name", "state", "digest", "since", "by", "why")
    write_table(
        "Triage policies", headers, rows, empty="no policy is on record yet: a worker puts one there at its start"
    )
    if forms and all(one.state is not PolicyState.LIVE for one in forms):
        write_line("none is promoted: the policy of the settings (worker.policy) decides")


@app.command("show")
def show_policy(
    policy: ShownPolicy = None, state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Show the very text of a policy on record, with who put it in force and why.

    Example: oncue triage show night --state ./oncue-state
    """
    from console.terminal.output import write_json
    from console.triage.policies import shown_policy
    from console.triage.schemas import shown_form

    installation = _installation(state, config)
    with installation.read() as session:
        form = shown_form(shown_policy(session, policy, installation))
    if as_json:
        write_json(form.model_dump(mode="json"))
        return
    _show(form)


@app.command("check")
def check_policy(
    file: PolicyFile,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    name: Named = None,
    as_json: AsJson = False,
) -> None:
    """Check a policy file: contradictions, rules that never decide, codes, labels and routes that nothing here has.

    Exit code 1 where the file could not be tried or promoted; line and rule are named.

    Example: oncue triage check night.toml --state ./oncue-state
    """
    from console.terminal.output import write_json
    from console.triage.policies import doubts_of, policy_of_file
    from console.triage.schemas import checked_form

    policy = policy_of_file(file, name=name)
    installation = _installation(state, config)
    with installation.read() as session:
        found = doubts_of(session, policy, installation)
    form = checked_form(policy, found)
    if as_json:
        write_json(form.model_dump(mode="json"))
    else:
        _show_check(form, found)
    if form.refused:
        raise typer.Exit(1)


@app.command("shadow")
def try_policy(
    policy: PolicyName,
    by: By,
    reason: Reason,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    name: Named = None,
    as_json: AsJson = False,
) -> None:
    """Have a policy decide beside the one that holds, on record alone: nothing that leaves oncue changes.

    It counts from the next study that is analysed, without a restart. `oncue triage compare` shows what it says.

    Example: oncue triage shadow night.toml --by "Dr. Jones" --reason "less STAT at night"
    """
    from console.triage.policies import chosen_policy, require_undoubted
    from storage.triage import policies

    installation = _installation(state, config)
    change = _change(by, reason)
    with installation.write() as session:
        chosen = chosen_policy(session, policy, name=name)
        warnings = require_undoubted(session, chosen, installation)
        recorded = policies.try_beside(session, chosen, change)
    _tell(recorded, warnings, "is tried beside the one that decides", as_json=as_json)


@app.command("promote")
def promote_policy(
    policy: PolicyName,
    by: By,
    reason: Reason,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    name: Named = None,
    keep_as_shadow: KeepAsShadow = False,
    as_json: AsJson = False,
) -> None:
    """Have a policy decide from the next study on that is analysed, without a restart; results that stand are kept.

    One that was promoted before is retired; that of the settings waits. Look at `oncue triage replay` first.

    Example: oncue triage promote night --by "Dr. Jones" --reason "agreed on 12 March"
    """
    from console.triage.policies import chosen_policy, require_undoubted
    from storage.triage import policies

    installation = _installation(state, config)
    change = _change(by, reason)
    with installation.write() as session:
        chosen = chosen_policy(session, policy, name=name)
        warnings = require_undoubted(session, chosen, installation)
        recorded = policies.promote(session, chosen, change, keep_as_shadow=keep_as_shadow)
    _tell(recorded, warnings, "decides from now on", as_json=as_json)


@app.command("retire")
def retire_policy(
    policy: PolicyName,
    by: By,
    reason: Reason,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Have a policy neither decide nor be tried any more; with none promoted, that of the settings decides.

    Example: oncue triage retire night --by "Dr. Jones" --reason "the trial is over"
    """
    from storage.triage import policies

    with _installation(state, config).write() as session:
        found = policies.find(session, policy)
        recorded = policies.retire(session, found.sha256, _change(by, reason))
    _tell(recorded, (), "is retired", as_json=as_json)


def _change(by: str, reason: str) -> Change:
    from storage.database import utc_now
    from storage.triage.policies import Change

    return Change(by.strip(), reason.strip(), utc_now())


def _tell(recorded: RecordedPolicy, warnings: Sequence[Doubt], what: str, *, as_json: bool) -> None:
    from console.terminal.output import write_forms, write_line
    from console.triage.schemas import PolicyForm

    if as_json:
        write_forms([PolicyForm.model_validate(recorded)])
        return
    for doubt in warnings:
        write_line(f"warning: {doubt}")
    write_line(f"policy {recorded.name} ({recorded.sha256[:_DIGITS]}) {what}")


def _show(form: ShownPolicyForm) -> None:
    from console.terminal.output import write_line

    write_line(f"# policy {form.name}, {form.state}, digest {form.sha256}")
    write_line(f"# since {form.changed_at[:19]} by {form.changed_by}: {form.reason}")
    write_line(form.content.rstrip("\n"))


def _show_check(form: CheckedPolicyForm, found: Sequence[Doubt]) -> None:
    from console.terminal.output import write_line

    for doubt in found:
        write_line(f"{'warning' if doubt.only_warns else 'refused'}: {doubt}")
    verdict = "cannot be tried or promoted here" if form.refused else "is sound"
    write_line(f"policy {form.name} ({form.sha256[:_DIGITS]}) with {form.rules} rules {verdict}")


def _installation(state: Path, config: Path | None) -> Installation:
    from console.installation import open_installation

    return open_installation(state, file=config)
