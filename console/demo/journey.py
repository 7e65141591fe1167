"""One way through the whole system: start it, send a study, follow its states, read back what the PACS received."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pydicom

from console.demo.step_display import StepDisplay
from console.supervision.child import oncue_executable
from console.supervision.site import Endpoints
from dicom_gateway.destinations import Destination
from dicom_gateway.errors import NothingToSend
from dicom_gateway.sending.folders import find_outgoing, send_folder
from dicom_gateway.sending.outgoing import Outgoing
from dicom_gateway.status import PeerAnswer
from storage import audit, study_record, worklist
from storage.database import Database, connect
from storage.errors import OncueError
from storage.states import DeliveryState, ReportState, StudyState

QUIET_SECONDS = 1.5
_POLL_SECONDS = 0.2
_LONGEST_SECONDS = 1800.0
_STATE_WORDS = {
    StudyState.RECEIVING: "complete (nothing arrived for a while)",
    StudyState.QUEUED: "taken by a worker (models loaded)",
    StudyState.RUNNING: "analysed",
}


class JourneyFailed(OncueError):
    """The system did not start, or the study could not be sent or followed to its end."""

    code = "demo_failed"


@dataclass(frozen=True, slots=True)
class RunningSystem:
    """The system under demonstration, and its database."""

    state: Path
    endpoints: Endpoints
    database: Database
    process: subprocess.Popen[str]

    @property
    def listener(self) -> Destination:
        """Where it takes images."""
        return Destination(self.endpoints.aet, "127.0.0.1", self.endpoints.port)

    @property
    def pages(self) -> str:
        """Address of its worklist."""
        return f"http://127.0.0.1:{self.endpoints.console_port}/"


@contextmanager
def running_system(state: Path, destination: str) -> Iterator[RunningSystem]:
    """Run `oncue up` on free ports until the block ends."""
    command = [oncue_executable(), "up", "--state", str(state), "--host", "127.0.0.1", "--port", "0"]
    command += ["--console-port", "0", "--quiet-seconds", str(QUIET_SECONDS), "--destination", destination]
    process = subprocess.Popen(  # noqa: S603 - our own executable with arguments made here
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment()
    )
    database = connect(f"sqlite:///{state / 'oncue.sqlite'}")
    try:
        if process.stdout is None or process.stdout.readline().strip() != "ready":
            raise JourneyFailed(process.communicate()[1].strip() or "`oncue up` ended without a word")
        endpoints = Endpoints.read(state)
        if endpoints is None:
            raise JourneyFailed("`oncue up` left no note of its ports")
        yield RunningSystem(state, endpoints, database, process)
    finally:
        database.dispose()
        process.terminate()
        process.communicate()


def study_uids(folder: Path) -> tuple[str, ...]:
    """Return the studies below a folder, in order of their first file; NothingToSend where there is none."""
    outgoing, others = find_outgoing(folder)
    if not outgoing:
        raise NothingToSend(f"no DICOM file among the {others} files of {folder}")
    return tuple(dict.fromkeys(_study_uid(item) for item in outgoing))


def send(folder: Path, running: RunningSystem) -> int:
    """Send a folder by C-STORE and return how many instances were accepted; JourneyFailed where one was not."""
    found = send_folder(folder, running.listener, calling_ae_title="DEMO")
    refused = [outcome for outcome in found.outcomes if outcome.verdict is not PeerAnswer.STORED]
    if refused:
        raise JourneyFailed(
            f"{len(refused)} instances were not accepted, the first: [{refused[0].code}] {refused[0].reason}"
        )
    return len(found.outcomes)


def follow(running: RunningSystem, study_uid: str, steps: StepDisplay) -> study_record.Dossier:
    """Show each state that a study passes, and return its dossier once nothing more will happen."""
    deadline = time.monotonic() + _LONGEST_SECONDS
    for state, words in _STATE_WORDS.items():
        with steps.step(words):
            _until(running, partial(_has_left, running.database, study_uid, state), deadline)
        dossier = _dossier(running.database, study_uid)
        if dossier.entry.state in (StudyState.NOT_APPLICABLE, StudyState.FAILED):
            return dossier
    with steps.step("SEG and SR written and received by the PACS"):
        _until(running, lambda: _is_delivered(_dossier(running.database, study_uid)), deadline)
    return _dossier(running.database, study_uid)


def _until(running: RunningSystem, condition: Callable[[], bool], deadline: float) -> None:
    while not condition():
        if running.process.poll() is not None:
            raise JourneyFailed(f"`oncue up` ended; see {running.state / 'logs'}")
        _raise_refusal(running.database)
        if time.monotonic() > deadline:
            raise JourneyFailed(f"no result within {_LONGEST_SECONDS:.0f} s; see {running.state / 'logs'}")
        time.sleep(_POLL_SECONDS)


def _raise_refusal(database: Database) -> None:
    """Raise JourneyFailed where a worker refused to start for a reason that does not pass: nothing will be analysed."""
    with database.read() as session:
        refusals = audit.history(session, tag="process:refused", limit=1)
    for refusal in refusals:
        details = json.loads(refusal.details)
        raise JourneyFailed(f"the worker refused to start: [{details['code']}] {details['reason']}")


def _has_left(database: Database, study_uid: str, state: StudyState) -> bool:
    order: Sequence[StudyState] = tuple(StudyState)
    with database.read() as session:
        entry = worklist.study(session, study_uid)
    return entry is not None and order.index(entry.state) > order.index(state)


def _is_delivered(dossier: study_record.Dossier) -> bool:
    if not dossier.results or any(result.report_state is ReportState.PENDING for result in dossier.results):
        return False
    # Refused is an end too: the table says so.
    return all(item.state in (DeliveryState.SENT, DeliveryState.REFUSED) for item in dossier.deliveries)


def _dossier(database: Database, study_uid: str) -> study_record.Dossier:
    with database.read() as session:
        entry = worklist.study(session, study_uid)
        if entry is None:
            raise JourneyFailed("the study is not in the database")
        return study_record.read(session, entry.id)


def _study_uid(item: Outgoing) -> str:
    header = pydicom.dcmread(item.path, specific_tags=["StudyInstanceUID"], stop_before_pixels=True)
    return str(header.get("StudyInstanceUID", ""))


def _environment() -> Mapping[str, str]:
    """Leave out what points at another installation: the demonstration must never touch it."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ONCUE_") or (name.startswith("ONCUE_WORKER_") and name != "ONCUE_WORKER_BROKER_URL")
    }
