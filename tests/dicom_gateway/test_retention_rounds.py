from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from storage import deletions
from storage.database import Database, utc_now
from storage.models import StandingRow
from storage.objects import ObjectStore
from storage.retention.rules import RetentionSettings
from storage.states import StudyState
from tests.support.gateways import Running, running_gateway, until
from tests.support.senders import ct_image, store

RULE = {"name": "images", "delete": ["images"], "older_than_days": 30}


class _Clock:
    """A clock that can be put forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


def _settings(*, enabled: bool) -> RetentionSettings:
    return RetentionSettings.model_validate({"enabled": enabled, "every_seconds": 0.05, "rules": [RULE]})


def _is_closed(running: Running) -> bool:
    with running.database.read() as session:
        return session.scalar(select(StandingRow.state)) == StudyState.NOT_APPLICABLE.value


def _files(objects: ObjectStore) -> list[Path]:
    return sorted(objects.root.glob("??/*"))


def test_images_go_when_they_are_old_enough_and_come_again_when_they_are_sent_again(
    database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "none.toml").write_text("version = 1\n")
    clock, image = _Clock(), ct_image()
    gateway = running_gateway(
        database,
        objects,
        clock=clock,
        retention=_settings(enabled=True),
        routes=tmp_path / "none.toml",
        quiet_seconds=0.2,
    )
    with gateway as running:
        assert store(running.port, image) == [0x0000]
        until(lambda: _is_closed(running), "the study is closed")
        (file,) = _files(objects)
        clock.ahead = timedelta(days=31)
        until(lambda: not _files(objects), "the image is deleted")
        assert '"rule":"images"' in running.events("study:images-deleted")[0]
        assert store(running.port, image) == [0x0000]
        until(lambda: len(running.events("instance:stored")) == 2, "the image is on record again")
        assert _files(objects) == [file]
        until(lambda: _is_closed(running), "the study is closed again")
    with database.read() as session:
        assert deletions.standing(session, 1) == ()
        assert len(deletions.of_study(session, 1)) == 1


def test_nothing_goes_while_retention_is_not_enabled(database: Database, objects: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "none.toml").write_text("version = 1\n")
    clock = _Clock()
    gateway = running_gateway(
        database,
        objects,
        clock=clock,
        retention=_settings(enabled=False),
        routes=tmp_path / "none.toml",
        quiet_seconds=0.2,
    )
    with gateway as running:
        store(running.port, ct_image())
        until(lambda: _is_closed(running), "the study is closed")
        clock.ahead = timedelta(days=31)
        store(running.port, ct_image("another"))
        until(lambda: len(running.events("instance:stored")) == 2, "rounds went by")
    assert len(_files(objects)) == 2
