from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from workers.queue import embedded_redis as brokers
from workers.queue.embedded_redis import EmbeddedRedis, RedisEndpoint, find_packaged_server

pytestmark = pytest.mark.peer


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    broker = EmbeddedRedis(tmp_path / "broker")
    yield broker
    broker.stop()


def _client(endpoint: RedisEndpoint) -> Redis:
    return Redis("127.0.0.1", endpoint.port, password=endpoint.password)


def test_it_asks_for_its_password_and_keeps_it_private(broker: EmbeddedRedis, tmp_path: Path) -> None:
    endpoint = broker.start()
    with pytest.raises(AuthenticationError), Redis("127.0.0.1", endpoint.port) as stranger:
        stranger.ping()
    for name in ("endpoint.json", "broker.conf"):
        assert stat.S_IMODE((tmp_path / "broker" / name).stat().st_mode) == 0o600
    assert broker.is_healthy()


def test_it_keeps_port_password_and_messages_over_a_restart(broker: EmbeddedRedis) -> None:
    first = broker.start()
    with _client(first) as client:
        client.lpush("stat", "message")
    broker.stop()
    assert not broker.is_healthy()
    second = broker.start()
    assert second == first
    with _client(second) as client:
        assert client.lrange("stat", 0, -1) == [b"message"]


def test_one_that_outlived_its_parent_is_taken_over(broker: EmbeddedRedis, tmp_path: Path) -> None:
    endpoint = broker.start()
    successor = EmbeddedRedis(tmp_path / "broker")
    assert successor.start() == endpoint
    successor.stop()
    assert not broker.is_running() or not broker.is_healthy()


def test_a_port_that_somebody_else_took_is_given_up(broker: EmbeddedRedis, tmp_path: Path) -> None:
    first = broker.start()
    broker.stop()
    other = EmbeddedRedis(tmp_path / "other")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "endpoint.json").write_text(f'{{"port": {first.port}, "password": "another"}}')
    other.start()
    assert broker.start().port != first.port
    other.stop()


def test_unreadable_data_is_set_aside_and_the_broker_starts_empty(broker: EmbeddedRedis, tmp_path: Path) -> None:
    broker.start()
    broker.stop()
    for path in (tmp_path / "broker" / "data").rglob("*.rdb"):
        path.write_bytes(b"not a database")
    broker.start()
    assert broker.is_healthy()
    assert list((tmp_path / "broker").glob("data-unreadable-*"))


def test_a_killed_broker_is_noticed(broker: EmbeddedRedis) -> None:
    broker.start()
    assert broker._process is not None
    broker._process.kill()
    broker._process.wait(timeout=10)
    assert not broker.is_running()
    broker.start()
    assert broker.is_healthy()


def test_the_server_from_the_wheel_works_where_the_machine_has_none(
    broker: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    packaged = find_packaged_server()
    assert brokers.find_server() == packaged
    broker.start()
    with _client(broker.endpoint) as client:
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
