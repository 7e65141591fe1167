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
from storage import audit
from storage.database import utc_now
from tests.console.conftest import Place
from tests.support.chromium import SWITCHES, browsing
from tests.support.peers import executable
from tests.support.records import analysed_study, deliver, failed_study, queued_study
from tests.support.tokens import new_token
from tests.support.urgent import analyse

pytestmark = pytest.mark.peer


@pytest.fixture
def address(place: Place) -> Iterator[str]:
    """Address of a real server over a state folder with one result and one failure."""
    analysed_study(place.database, place.objects, 1)
    deliver(place.database)
    failed_study(place.database, 2)
    with serving(place) as found:
        yield found


@contextlib.contextmanager
def serving(place: Place, settings: ConsoleSettings | None = None) -> Iterator[str]:
    app = create_app(place.database, place.objects, settings or ConsoleSettings())
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
        ("/urgent", ('id="pending"', 'id="times"', "HIGH")),
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


def test_a_person_signs_in_marks_a_study_as_read_and_signs_out(place: Place, address: str, tmp_path: Path) -> None:
    token = new_token(place.database, "anna")
    with browsing(tmp_path / "profile") as browser:
        browser.open(f"{address}/studies/1")
        assert "Sign in to mark it as read" in browser.text()
        browser.press("main a[href^='/sign-in']")
        browser.fill("#sign-in input[name=token]", "oncue_something-else")
        browser.press("#sign-in button")
        assert "token_unknown" in browser.text()
        browser.fill("#sign-in input[name=token]", token)
        browser.press("#sign-in button")
        assert browser.path() == "/studies/1"
        assert "Signed in as anna" in browser.text()
        (cookie,) = browser.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], browser.ask("document.cookie")) == (True, "Strict", "")
        browser.press("form[action='/studies/1/read'] button")
        browser.open(f"{address}/studies/1")
        assert "Read by web/anna" in browser.text()
        browser.press("form[action='/sign-out'] button")
        browser.open(f"{address}/studies/1")
        assert "Signed in" not in browser.text()
        assert browser.cookies() == []


def test_a_browser_draws_the_figure_of_waiting_times(place: Place, address: str, tmp_path: Path) -> None:
    analyse(place.database, place.objects, queued_study(place.database, 3).job_id, now=utc_now())
    shown = browse(f"{address}/urgent", tmp_path / "profile", "--dump-dom")
    assert '<svg viewBox="0 0 760' in shown.stdout
    assert "Content Security Policy" not in shown.stderr


def test_a_browser_that_shows_an_urgent_study_opens_it(place: Place, address: str, tmp_path: Path) -> None:
    with browsing(tmp_path / "profile") as browser:
        browser.open(f"{address}/urgent")
        assert "1 study, the first since" in browser.text()
        browser.press("#pending a[href='/studies/1']")
        assert "opened" in browser.text()
        browser.open(f"{address}/urgent")
        assert "Every STAT and HIGH study has been opened." in browser.text()
    with place.database.read() as session:
        (event,) = audit.history(session, tag="study:seen")
    assert event.actor == "web/127.0.0.1"


def test_where_readers_are_asked_a_browser_is_led_to_the_sign_in_and_back(place: Place, tmp_path: Path) -> None:
    analysed_study(place.database, place.objects, 1)
    token = new_token(place.database, "anna")
    with (
        serving(place, ConsoleSettings(read_with_token=True)) as asking,
        browsing(tmp_path / "profile") as browser,
    ):
        browser.open(f"{asking}/audit?action=study%3A")
        assert browser.path().startswith("/sign-in?next=")
        assert "study:prioritised" not in browser.text()
        browser.fill("#sign-in input[name=token]", token)
        browser.press("#sign-in button")
        assert browser.path() == "/audit?action=study%3A"
        assert "study:prioritised" in browser.text()
