"""Between the support set in the database and the few-shot head: import the starter set once, fit on what is there."""

from __future__ import annotations

import structlog

from storage import support
from storage.database import Database, utc_now
from workers.classification import focus
from workers.classification.backbone import NAME, WEIGHTS_SHA256, Backbone
from workers.classification.classifier import FewShotClassifier
from workers.classification.prototypes import Example
from workers.classification.starter import FOLDER, read_starter
from workers.config import WorkerSettings
from workers.devices import choose_device

TASK = "brain-flair"
EMBEDDING_KEY = f"{NAME}:{WEIGHTS_SHA256[:16]}:{focus.MODE}"

log = structlog.get_logger(__name__)


def open_classifier(settings: WorkerSettings, database: Database, *, actor: str) -> FewShotClassifier:
    """Load the backbone and fit the head on the task's support set, which starts as the shipped one."""
    backbone = Backbone.load(device=choose_device(settings.device))
    import_starter(settings, database, actor=actor)
    with database.read() as session:
        items = support.items_of(session, task=TASK, embedding_key=EMBEDDING_KEY)
    examples = [Example(item.label, item.embedding) for item in items]
    log.info("classifier:fitted", task=TASK, examples=len(examples))
    return FewShotClassifier.fitted(backbone, examples, task=TASK, weights_sha256=WEIGHTS_SHA256)


def import_starter(settings: WorkerSettings, database: Database, *, actor: str) -> int:
    """Put the shipped examples into the database where the task has none yet; return how many were new."""
    with database.read() as session:
        if support.items_of(session, task=TASK, embedding_key=EMBEDDING_KEY):
            return 0
    samples = read_starter(settings.models_folder() / FOLDER)
    items = [
        support.SupportItem(sample.example.label, f"starter:{sample.patient}", sample.example.embedding)
        for sample in samples
    ]
    with database.write() as session:
        return support.add(session, items, task=TASK, embedding_key=EMBEDDING_KEY, actor=actor, now=utc_now())
