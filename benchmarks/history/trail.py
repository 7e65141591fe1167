"""Questions about the events themselves: every filter by itself, both orders, and pages far down."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import timedelta

from benchmarks.history import asides
from benchmarks.history.filling import LONG_IMAGES
from benchmarks.history.kinds import ROUTES, all_kinds
from benchmarks.history.measures import REPEATS, Ask, Question
from benchmarks.history.samples import PAGE, SampledStudy, Samples
from storage import audit, patient_keys
from storage.audit import Outcome
from storage.history import facets, questions, sightings, timeline
from storage.history.question import Order
from storage.history.question import Question as Asked

_MONTH = timedelta(days=30)
_ACTORS = (*asides.PEOPLE, *asides.SENDERS, *asides.WORKERS, "assembly", "relay", "delivery")
_TAGS = (*(aside.tag for aside in asides.ASIDES), "instance:stored", "study:analysed", "job:failed", "delivery:sent")


def trail(samples: Samples) -> Iterator[Question]:
    """Return a question for each filter."""
    yield from _of_studies(samples)
    yield from _of_many(samples)
    yield from _told(samples)
    newest = Asked()
    yield _repeated("newest first", lambda: _page(newest))
    yield _repeated("oldest first", lambda: _page(newest, order=Order.OLDEST))
    yield _repeated("newest first, deep page", lambda: _page(newest, after=_cursor(samples)))
    yield _repeated(
        "of an actor, deep page",
        lambda: _page(Asked(actor=random.choice(_ACTORS)), after=_cursor(samples)),
    )


def _told(samples: Samples) -> Iterator[Question]:
    """Return the questions whose answer is told for people."""
    studies = samples.studies
    yield Question("timeline of a study", tuple(_timeline(study.uid) for study in studies))
    yield Question(f"timeline of a study of {LONG_IMAGES:,} images", (_timeline(samples.longest),) * REPEATS)
    yield Question("who saw a study", tuple(_sightings(study.uid) for study in studies))
    yield _repeated("counts of all time", lambda: _facets(Asked()))
    yield _repeated(
        "counts of a month", lambda: _facets(Asked(since=(first := samples.moment()), until=first + _MONTH))
    )
    yield Question("counts of a study", tuple(_facets(Asked(study=study.uid)) for study in studies))


def _of_studies(samples: Samples) -> Iterator[Question]:
    """Return the questions whose answer is about one study."""
    studies = samples.studies
    yield Question("of a patient", tuple(_of_patient(study.patient_id) for study in studies))
    yield Question("of a study", tuple(_page(Asked(study=study.uid)) for study in studies))
    yield Question("of a series", tuple(_page(Asked(series=f"{study.uid}.1")) for study in studies))
    yield Question("of an object", tuple(_page(Asked(object=_object(study))) for study in studies))


def _of_many(samples: Samples) -> Iterator[Question]:
    """Return the questions that very many events answer, or very few of many."""
    kinds = [kind for kind in all_kinds() if kind.weights]
    routes = [route.name for route in ROUTES.routes]
    values: dict[str, Callable[[], Asked]] = {
        "of an actor": lambda: Asked(actor=random.choice(_ACTORS)),
        "of an action": lambda: Asked(action=random.choice(_TAGS)),
        "of a group of actions": lambda: Asked(action=random.choice(("job:", "delivery:", "model:"))),
        "of an outcome": lambda: Asked(outcome=random.choice(list(Outcome)).value),
        "of a route": lambda: Asked(route=random.choice(routes)),
        "of a model": lambda: Asked(model=random.choice(kinds).model),
        "of weights": lambda: Asked(weights=random.choice(kinds).weights * 32),
        "of a day": lambda: Asked(since=(day := samples.day())[0], until=day[1]),
        "with a rare word": lambda: Asked(words=asides.RARE_WORD),
        "with a common word": lambda: Asked(words=asides.COMMON_WORD),
        "of an actor on a day": lambda: Asked(
            actor=random.choice(_ACTORS), since=(day := samples.day())[0], until=day[1]
        ),
    }
    for name, value in values.items():
        yield _repeated(name, lambda value=value: _page(value()))  # type: ignore[misc] # its types cannot be told from a default


def _repeated(name: str, make: Callable[[], Ask]) -> Question:
    return Question(name, tuple(make() for _ in range(REPEATS)))


def _page(question: Asked, *, order: Order = Order.NEWEST, after: str | None = None) -> Ask:
    return lambda session: questions.page(session, question, order=order, limit=PAGE, after=after)


def _facets(question: Asked) -> Ask:
    return lambda session: facets.facets(session, question)


def _timeline(uid: str) -> Ask:
    return lambda session: timeline.timeline(session, uid)


def _sightings(uid: str) -> Ask:
    return lambda session: sightings.sightings(session, uid)


def _of_patient(patient_id: str) -> Ask:
    """Return what asks for a patient's events as people do: by the id."""
    return lambda session: questions.page(
        session, Asked(patient_key=patient_keys.key_of(session, patient_id)), limit=PAGE
    )


def _object(study: SampledStudy) -> str:
    return f"study/{study.uid}" if study.job_id is None else f"job/{study.job_id}"


def _cursor(samples: Samples) -> str:
    return f"{audit.moment(samples.moment())}~0"
