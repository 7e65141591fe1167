"""`oncue certificates`: what TLS is spoken with, until when it holds, and an authority for a trial."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from dicom_gateway.tls.trial_authority import IssuedPair

app = typer.Typer(no_args_is_help=True, help="Certificates for TLS with callers and destinations.")

_FOLDER = "certificates"
HostNames = Annotated[
    list[str],
    typer.Option("--name", metavar="HOST", help="Host name or IP address of the gateway; may be given repeatedly."),
]
Callers = Annotated[
    list[str] | None,
    typer.Option("--client", metavar="AET", help="Make a pair for this caller, too; may be given repeatedly."),
]
Renew = Annotated[bool, typer.Option("--renew", help="Issue the named pairs anew where they are there already.")]


@app.command("make")
def make_certificates(
    name: HostNames,
    client: Callers = None,
    *,
    state: State = DEFAULT_STATE,
    renew: Renew = False,
) -> None:
    """Make an authority for a trial, the gateway's certificate, and one for each caller, in DIR/certificates.

    Production wants certificates of the hospital's own authority. Who reads ca.key can issue certificates that the
    gateway trusts.

    Example: oncue certificates make --state ./oncue-state --name gateway.hospital.example --name 10.0.0.7 --client CT1
    """
    from console.terminal.output import write_line
    from dicom_gateway.tls.trial_authority import TrialAuthority
    from storage.database import utc_now

    now = utc_now()
    _check(name, client or [])
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = TrialAuthority.open(state.resolve() / _FOLDER, now=now)
    write_line(f"{'made' if authority.made else 'kept'} {authority.certificate}: for the peers to trust")
    server = authority.issue_server(name, now=now, renew=renew)
    _say(server, "the gateway's")
    _say_other_names(server, name)
    for title in client or []:
        _say(authority.issue_client(title, now=now, renew=renew), f"for {title}")
    write_line(_settings(server, authority.certificate, state))


@app.command("list")
def list_certificates(state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the certificates and revocation lists of the settings and of the trial's authority, and when each expires.

    Example: oncue certificates list --state ./oncue-state
    """
    from console.config import read
    from console.terminal.output import write_forms, write_table
    from dicom_gateway.tls.inventory import configured, issued
    from storage.database import utc_now

    settings, now = read(state, file=config).settings.gateway, utc_now()
    items = (*configured(settings, now=now), *issued(state / _FOLDER, now=now))
    if as_json:
        write_forms(items)
        return
    rows = [
        (
            item.used_as,
            item.kind.value,
            ", ".join(item.names),
            item.issuer,
            None if item.until is None else f"{item.until:%Y-%m-%d}",
            item.problem or item.validity.value,
            item.file,
        )
        for item in items
    ]
    headers = ("used as", "kind", "names", "issuer", "until", "state", "file")
    write_table("Certificates", headers, rows, empty="none: `oncue certificates make` makes some for a trial")


def _check(names: list[str], titles: list[str]) -> None:
    from dicom_gateway.destinations import Destination
    from storage.errors import ConfigurationError

    if any(not name.strip() for name in names):
        raise typer.BadParameter("--name is empty: give the host name or IP address that peers connect to")
    for title in titles:
        try:
            Destination.parse(f"{title}@localhost:104")
        except ConfigurationError as error:
            raise typer.BadParameter(
                f"--client {title!r}: an AE title has 1 to 16 characters of printable ASCII, and no backslash"
            ) from error


def _say(pair: IssuedPair, whose: str) -> None:
    from console.terminal.output import write_line

    write_line(f"{'made' if pair.made else 'kept'} {pair.certificate} and {pair.key.name}: {whose}")


def _say_other_names(server: IssuedPair, wanted: list[str]) -> None:
    """Say that a certificate which was kept is for other names than those given."""
    from console.terminal.output import write_line
    from dicom_gateway.tls.pem_files import names_of, read_certificates

    held = names_of(read_certificates(server.certificate)[0])
    if not set(wanted) <= set(held):
        write_line(f"     it names {', '.join(held)} alone: --renew issues it anew with the names given")


def _settings(server: IssuedPair, authority: Path, state: Path) -> str:
    return (
        f"\nFor {state / 'oncue.toml'}:\n\n"
        "[gateway]\n"
        f'tls_certificate = "{server.certificate}"\n'
        f'tls_key = "{server.key}"\n'
        f'tls_callers_ca = "{authority}"\n\n'
        "[[gateway.listeners]]\n"
        'host = "0.0.0.0"\n'
        "port = 2762"
    )
