"""The root of `oncue`: every subcommand, and the edge at which an error becomes one line and an exit code."""

from __future__ import annotations

import sys
from functools import cache
from typing import Annotated, Any, NoReturn

import typer

from console.commands import (
    alive,
    announcements,
    audit,
    audit_archives,
    audit_export,
    audit_proofs,
    audit_questions,
    backbones,
    certificates,
    channel_entries,
    channels,
    classification,
    config,
    console,
    db,
    deliveries,
    demo,
    destination_entries,
    destinations,
    doctor,
    evaluate,
    fetch,
    jobs,
    models,
    peer_entries,
    peers,
    phantom,
    processes,
    retention,
    routes,
    send,
    site_models,
    studies,
    support,
    train,
    triage,
    triage_replay,
    triage_waits,
    up,
    worklist,
)
from storage.errors import FileUnusable, OncueError

_INTERRUPTED = 130

# Plain help: drawing boxes would load a rendering library and take longer than everything else together.
app = typer.Typer(
    name="oncue",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if not wanted:
        return
    from importlib.metadata import version

    sys.stdout.write(f"oncue {version('oncue')}\n")
    raise typer.Exit


@app.callback()
def oncue(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """PACS-side tumour triage: DICOM in, segmentation and classification, DICOM SEG and SR out.

    Not a medical device. Begin with `oncue demo`, or `oncue up --state ./oncue-state`.
    """


app.command("up")(up.up)
processes.register(app)
app.add_typer(console.app, name="console")
app.command("demo")(demo.demo)
app.command("phantom")(phantom.write_phantom)
app.command("send")(send.send_files)
app.add_typer(fetch.app, name="fetch")
peers.app.command("add")(peer_entries.add_peer)
peers.app.command("change")(peer_entries.change_peer)
peers.app.command("allow")(peer_entries.allow_peer)
peers.app.command("block")(peer_entries.block_peer)
peers.app.command("remove")(peer_entries.remove_peer)
app.add_typer(peers.app, name="peers")
app.add_typer(studies.app, name="studies")
app.add_typer(routes.app, name="routes")
app.add_typer(jobs.app, name="jobs")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(retention.app, name="retention")
destinations.app.command("add")(destination_entries.add_destination)
destinations.app.command("change")(destination_entries.change_destination)
app.add_typer(destinations.app, name="destinations")
channels.app.command("add")(channel_entries.add_channel)
channels.app.command("change")(channel_entries.change_channel)
app.add_typer(channels.app, name="channels")
app.add_typer(announcements.app, name="announcements")
app.add_typer(certificates.app, name="certificates")
app.command("worklist")(worklist.show_worklist)
triage.app.command("replay")(triage_replay.replay_policy)
triage.app.command("compare")(triage_replay.compare_policies)
app.add_typer(triage.app, name="triage")
audit.app.command("verify")(audit_proofs.verify_log)
audit.app.command("prove")(audit_proofs.prove_event)
audit.app.command("check-proof")(audit_proofs.check_proof_file)
audit.app.command("checkpoint")(audit_proofs.show_checkpoint)
audit.app.command("archive")(audit_archives.archive_months)
audit.app.command("check-archive")(audit_archives.check_archive)
audit.app.command("query")(audit_questions.query_events)
audit.app.command("export")(audit_export.export_events)
audit.app.command("timeline")(audit_questions.show_timeline)
audit.app.command("who-saw")(audit_questions.show_sightings)
app.add_typer(audit.app, name="audit")
models.app.command("add")(site_models.add_model)
models.app.command("try")(site_models.try_model)
models.app.command("remove")(site_models.remove_model)
models.app.command("backbones")(backbones.list_backbones)
app.add_typer(models.app, name="models")
app.add_typer(support.app, name="support")
app.add_typer(classification.app, name="classification")
triage.app.command("pending")(triage_waits.show_pending)
triage.app.command("times")(triage_waits.show_times)
app.add_typer(triage.app, name="triage")
app.add_typer(train.training, name="train")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(db.app, name="db")
app.command("doctor")(doctor.doctor)
app.command("alive")(alive.alive)
app.command("config")(config.show_settings)


def main() -> None:
    """Run the command line; an error of ours or of a file is one line on standard error and exit code 1.

    An interruption ends it with 130, as a shell has it, wherever it comes.
    """
    try:
        _command()()
    except KeyboardInterrupt:
        raise SystemExit(_INTERRUPTED) from None
    except OncueError as error:
        _end(error)
    except OSError as error:
        if error.filename is None:  # no file that somebody named: the traceback says more
            raise
        _end(FileUnusable(f"{error.filename} cannot be used ({error.strerror}); check the path and its rights"))


@cache
def _command() -> Any:
    """Build what `app` describes, once: it takes longer than most subcommands do."""
    return typer.main.get_command(app)


def _end(error: OncueError) -> NoReturn:
    sys.stderr.write(f"error [{error.code}]: {error}\n")
    raise SystemExit(1) from None
