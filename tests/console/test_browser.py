from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from console.app import create_app
from console.config import ConsoleSettings
from tests.console.conftest import Place
from tests.support.peers import executable
from tests.support.records import analysed_study, deliver, failed_study

pytestmark = pytest.mark.peer
SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
)


@pytest.fixture
def address(place: Place) -> Iterator[str]:
    """Address of a real server over a state folder with one result and one failure."""
    analysed_study(place.database, place.objects, 1)
    deliver(place.database)
    failed_study(place.database, 2)
    with serving(place) as found:
        yield found


@contextlib.contextmanager
def serving(place: Place) -> Iterator[str]:
    app = create_app(place.database, place.objects, ConsoleSettings())
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


def browse(address: str, profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [executable("chromium"), *SWITCHES, f"--user-data-dir={profile}", *options, address],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/", ('id="worklist"', 'id="waiting"', "no_usable_series", "HIGH")),
        ("/studies/1", ('id="findings"', 'id="deliveries"', "tumour-like", "What happened")),
        ("/audit", ('id="events"', "study:prioritised")),
    ],
)
def test_a_browser_shows_the_page_without_any_complaint(
    address: str, tmp_path: Path, path: str, wanted: tuple[str, ...]
) -> None:
    shown = browse(address + path, tmp_path / "profile", "--dump-dom")
    for part in wanted:
        assert part in shown.stdout
    # A resource that the content security policy blocks, or that is missing, is a line in the browser's log.
    assert "Content Security Policy" not in shown.stderr
    assert "Failed to load resource" not in shown.stderr


def test_a_browser_draws_the_worklist_with_the_style_sheet(address: str, tmp_path: Path) -> None:
    picture = tmp_path / "worklist.png"
    browse(address, tmp_path / "profile", f"--screenshot={picture}", "--window-size=900,600")
    from PIL import Image

    with Image.open(picture) as image:
        assert image.size == (900, 600)
        # The bar on top and the page below it differ in colour: the style sheet was loaded and obeyed.
        assert image.getpixel((450, 10)) != image.getpixel((450, 590))
