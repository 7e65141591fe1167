"""`oncue audit verify | prove | check-proof | checkpoint`: the history proves itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from storage.history.verification import Verification

SinceCheckpoint = Annotated[
    bool,
    typer.Option("--since-checkpoint", help="Prove only what came since the last proof that held on this machine."),
]
Checkpoints = Annotated[
    list[Path] | None,
    typer.Option(
        "--checkpoint",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="A checkpoint from elsewhere, or a report (DICOM SR) that carries one, that the log is to agree with.",
    ),
]
Event = Annotated[int, typer.Argument(metavar="EVENT", min=1, help="The event's number, as `oncue audit list` has it.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", dir_okay=False, help="Write the proof here; default: standard output."),
]
Proof = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="A proof, as `oncue audit prove` writes it.")
]
Key = Annotated[
    str | None,
    typer.Option("--key", metavar="KEY", help="The log's public key, as `oncue audit checkpoint --key` prints it."),
]
Trusted = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="A checkpoint that you trust, or a report (DICOM SR) that carries one: the proof must lead to it.",
    ),
]
Under = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="Prove it under this checkpoint, or that of a report (DICOM SR); default: the newest.",
    ),
]
ShowKey = Annotated[bool, typer.Option("--key", help="Print the log's public key instead.")]


def verify_log(
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    since_checkpoint: SinceCheckpoint = False,
    checkpoints: Checkpoints = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Prove that no event was changed, removed, put in or cut off; exit code 1 names what does not hold.

    Example: oncue audit verify --state ./oncue-state
    """
    from console.history.proving import verified
    from console.installation import open_installation
    from console.terminal.output import write_json, write_line
    from console.terminal.progress import progress_bar
    from storage.history.errors import AuditChainBroken
    from storage.history.note_keys import parse_verifier_key

    installation = open_installation(state, file=config)
    installation.require()
    with installation.using_database(), progress_bar("events proved") as show:
        found = verified(
            installation,
            key=parse_verifier_key(key) if key else None,
            since_checkpoint=since_checkpoint,
            files=tuple(checkpoints or ()),
            on_progress=show,
        )
    if as_json:
        write_json(_as_json(found))
    elif not found.problems:
        write_line(_in_words(found))
    if found.problems:
        raise AuditChainBroken("; ".join(found.problems))


def prove_event(
    event: Event,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    out: Out = None,
    under: Under = None,
) -> None:
    """Write what proves one event to somebody who trusts only a checkpoint of this log.

    Example: oncue audit prove 12 --state ./oncue-state --out event-12.tlog-proof
    """
    from console.history.proving import checkpoint_text, proof_of
    from console.installation import open_installation
    from console.terminal.output import write_line

    installation = open_installation(state, file=config)
    installation.require()
    with installation.using_database():
        proof = proof_of(installation, event, under=checkpoint_text(under) if under else None)
    if out is None:
        sys.stdout.write(proof.text)
        return
    out.write_text(proof.text, encoding="utf-8")
    write_line(f"event {event} is leaf {proof.index} of the log: {out}")


def check_proof_file(proof: Proof, *, key: Key = None, checkpoint: Trusted = None, as_json: AsJson = False) -> None:
    """Check a proof with the log's public key, or against a checkpoint that you trust; needs nothing else.

    Example: oncue audit check-proof event-12.tlog-proof --key oncue+1a2b3c4d+AbCd...
    """
    import json

    from console.history.proving import checkpoint_text
    from console.terminal.output import write_json, write_line
    from storage.history.checkpoint_text import parse_checkpoint
    from storage.history.errors import ProofMalformed
    from storage.history.note_keys import parse_verifier_key
    from storage.history.notes import parse_note
    from storage.history.proof_text import check_against, check_proof, parse_proof

    if (key is None) == (checkpoint is None):
        raise typer.BadParameter("give --key, or --checkpoint with a checkpoint that you trust")
    read = parse_proof(proof.read_bytes())
    if key is not None:
        check_proof(read, parse_verifier_key(key))
    if checkpoint is not None:
        check_against(read, parse_checkpoint(parse_note(checkpoint_text(checkpoint)).text))
    size = parse_checkpoint(read.note.text).size
    try:
        event = json.loads(read.entry)
    except ValueError as error:
        raise ProofMalformed("proof: what it proves is no event of oncue") from error
    if as_json:
        write_json({"leaf": read.index, "size": size, "event": event})
        return
    write_line(f"holds: event {event[0]}, leaf {read.index} of {size}")
    write_line(read.entry.decode())


def show_checkpoint(state: State = DEFAULT_STATE, *, config: ConfigFile = None, key: ShowKey = False) -> None:
    """Print the newest checkpoint: keep it where nobody who owns the database can change it.

    Example: oncue audit checkpoint --state ./oncue-state
    """
    from console.history.log_key import key_of_a_command
    from console.installation import open_installation
    from console.terminal.output import write_line
    from storage.errors import RecordMissing
    from storage.history import sealing

    installation = open_installation(state, file=config)
    installation.require()
    if key:
        with installation.using_database():
            write_line(key_of_a_command(installation).verifier.text)
        return
    with installation.read() as session:
        newest = sealing.newest_checkpoint(session)
    if newest is None:
        raise RecordMissing("nothing was sealed yet; `oncue up` seals within a second")
    sys.stdout.write(newest.note)


def _as_json(found: Verification) -> dict[str, object]:
    return {
        "events": found.proved,
        "since": found.since,
        "size": found.size,
        "head": found.root,
        "unsealed": found.unsealed,
        "archived": found.archived,
        "problems": list(found.problems),
    }


def _in_words(found: Verification) -> str:
    since = f" since event {found.since} of the log" if found.since else ""
    unsealed = f"; {found.unsealed} are not sealed yet" if found.unsealed else ""
    archived = f"; {found.archived} more are in archives" if found.archived else ""
    return f"{found.proved} events{since}, all as they were sealed{archived}{unsealed}; head {found.root}"
