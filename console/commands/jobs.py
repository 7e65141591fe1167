"""`oncue jobs`: one route's analysis of one study revision each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.options import DEFAULT_STATE, After, AsJson, ConfigFile, Limit, State

if TYPE_CHECKING:
    from storage.job_lists import Job

app = typer.Typer(no_args_is_help=True, help="Jobs: one route's analysis of one study revision each.")

JobId = Annotated[int, typer.Argument(metavar="JOB", help="The job's number, from `oncue jobs list`.")]
OfState = Annotated[
    str | None, typer.Option("--in", metavar="STATE", help="Only queued, running, succeeded, failed or superseded.")
]


@app.command("list")
def show_jobs(
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    as_json: AsJson = False,
    limit: Limit = 500,
    after: After = None,
    of_state: OfState = None,
) -> None:
    """List jobs, newest first.

    A job that waits for a worker that is not there has the code no_worker_for_route, one that waits for an adapter of
    its few-shot task task_not_promoted.

    Example: oncue jobs list --state ./oncue-state --in failed
    """
    from console.schemas.jobs import ListedJobForm
    from console.terminal.listings import Listing
    from console.terminal.options import chosen
    from storage import worklist
    from storage.states import JobState

    wanted = chosen(JobState, of_state)
    headers = ("job", "route", "pool", "state", "rev", "attempts", "code", "opened", "study UID")
    empty = "no job has been opened yet" if wanted is None and after is None else "no such job"
    form = ListedJobForm.model_validate
    listing = Listing("Jobs", headers, _row, form, empty=empty, cursor=lambda job: job.cursor)
    listing.show(
        lambda session: worklist.listed_jobs(session, state=wanted, limit=limit, after=after),
        state,
        config=config,
        as_json=as_json,
        limit=limit,
    )


@app.command("show")
def show_job(job: JobId, state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show one job: its state, and why it ended as it did.

    Example: oncue jobs show 3 --state ./oncue-state
    """
    from console.installation import open_installation
    from console.schemas.jobs import JobDetailForm
    from console.terminal.output import write_forms, write_table
    from storage import job_lists

    with open_installation(state, file=config).read() as session:
        form = JobDetailForm.model_validate(job_lists.find(session, job))
    if as_json:
        write_forms([form])
        return
    write_table(f"Job {job}", ("", ""), list(form.model_dump().items()), empty="")


@app.command("retry")
def retry_job(job: JobId, state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Queue a failed or succeeded job again, with its attempts counted anew.

    Example: oncue jobs retry 3 --state ./oncue-state
    """
    from console.installation import open_installation
    from console.schemas.jobs import JobForm
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_forms, write_line
    from storage import job_lists, jobs
    from storage.database import utc_now

    with open_installation(state, file=config).write() as session:
        jobs.retry(session, job, actor=command_line_actor(), now=utc_now())
        form = JobForm.model_validate(job_lists.find(session, job))
    if as_json:
        write_forms([form])
        return
    write_line(f"job {job} is queued again")


def _row(job: Job) -> tuple[object, ...]:
    opened = f"{job.opened_at:%Y-%m-%d %H:%M:%S}"
    return job.id, job.route, job.pool, job.state, job.revision, job.attempts, job.code, opened, job.study_instance_uid
