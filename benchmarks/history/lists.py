"""Questions about the worklist and the other lists."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.history.measures import REPEATS, Ask, Question
from benchmarks.history.samples import PAGE, Samples
from storage import delivery_lists, job_lists, study_pages, worklist
from storage.domain import Priority
from storage.states import JobState
from storage.study_pages import StudyFilter, StudyList


def questions(samples: Samples) -> Iterator[Question]:
    """Return a question for each list, its first page and one deep down."""
    for which, name in (
        (StudyList.WORKLIST, "worklist"),
        (StudyList.ANALYSED, "analysed studies"),
        (StudyList.ALL, "all studies"),
    ):
        yield _same(f"{name}, first page", lambda session, which=which: worklist.listed(session, which, limit=PAGE))  # type: ignore[misc] # its types cannot be told from a default
        after = samples.deep[which] or None
        yield _same(
            f"{name}, deep page",
            lambda session, which=which, after=after: worklist.listed(session, which, limit=PAGE, after=after),  # type: ignore[misc] # its types cannot be told from a default
        )
        yield _same(f"{name}, count", lambda session, which=which: study_pages.count(session, which))  # type: ignore[misc] # its types cannot be told from a default
    stat = StudyFilter(priority=Priority.HIGH)
    yield _same("worklist, one priority", lambda session: worklist.worklist(session, limit=PAGE, wanted=stat))
    yield Question("studies of a patient", tuple(_of_patient(study.patient_id) for study in samples.studies))
    yield Question("a study", tuple(_of_uid(study.uid) for study in samples.studies))
    yield _same("waiting studies", lambda session: worklist.waiting(session, limit=PAGE))
    yield _same("studies that no route wants", lambda session: worklist.not_applicable(session, limit=PAGE))
    yield _same("jobs", lambda session: worklist.listed_jobs(session, limit=PAGE))
    yield _same("failed jobs", lambda session: job_lists.listed(session, state=JobState.FAILED, limit=PAGE))
    yield _same("deliveries", lambda session: delivery_lists.listed(session, limit=PAGE))


def _same(name: str, ask: Ask) -> Question:
    return Question(name, (ask,) * REPEATS)


def _of_patient(patient_id: str) -> Ask:
    return lambda session: worklist.studies(session, wanted=StudyFilter(patient_id=patient_id))


def _of_uid(uid: str) -> Ask:
    return lambda session: worklist.study(session, uid)
