from __future__ import annotations

from typing import Any

import pytest

from storage import processes
from storage.database import utc_now
from storage.fewshot import tasks
from storage.fewshot.tasks import TaskDraft
from storage.processes import Served
from storage.routes.file import SHIPPED
from tests.console.conftest import Place
from tests.support.commands import oncue

ROUTE = """version = 1

[[route]]
name = "head"
analyser = "zero-shot"
pool = "gpu"
task = "lesions"

[route.match]
modality = ["MR"]
"""


def start_worker(place: Place, *served: Served) -> None:
    with place.database.write() as session:
        processes.start(session, "worker-1", "worker", now=utc_now(), serves=frozenset(served))


def examined(place: Place) -> dict[str, Any]:
    return {
        item["subject"]: item for item in oncue("doctor", "--state", place.state, "--json", "--only", "routes").json
    }


def test_the_routes_in_force_are_named_with_their_digest(place: Place) -> None:
    (part,) = examined(place).values()
    assert (part["subject"], part["verdict"]) == ("routes", "fine")
    assert part["detail"].startswith(f"6 in {SHIPPED} (shipped), sha256 ")


def test_a_file_that_is_wrong_is_a_fault_with_line_and_rule(place: Place) -> None:
    (place.state / "routes.toml").write_text(ROUTE.replace("pool", "pond"))
    ran = oncue("doctor", "--state", place.state, "--json", "--only", "routes")
    assert ran.code == 1
    (part,) = ran.json
    assert part["detail"].startswith('[routes_invalid] routes.toml: line 6, route "head", pond: ')


def test_a_route_without_task_pool_or_analyser_is_named_with_what_to_do(place: Place) -> None:
    (place.state / "routes.toml").write_text(ROUTE)
    missing = examined(place)["route head"]
    assert (missing["verdict"], "`oncue classification task create`" in missing["detail"]) == ("broken", True)
    with place.database.write() as session:
        draft = TaskDraft("lesions", ("a", "b"), "a", "MR", "", "tests", "patients")
        tasks.create(session, draft, actor="cli:test", now=utc_now())
    unfitted = examined(place)["route head"]
    assert (unfitted["verdict"], "no adapter that predicts yet" in unfitted["detail"]) == ("remark", True)


@pytest.mark.parametrize(
    ("served", "verdict", "words"),
    [
        (Served("default", "zero-shot"), "remark", "no worker of pool gpu is at work, only of default: its jobs wait"),
        (Served("gpu", "label"), "broken", "no worker of pool gpu has analyser zero-shot, only label: its jobs wait"),
    ],
)
def test_a_route_that_no_worker_serves_is_named(place: Place, served: Served, verdict: str, words: str) -> None:
    (place.state / "routes.toml").write_text(ROUTE.replace('task = "lesions"\n', ""))
    start_worker(place, served)
    part = examined(place)["route head"]
    assert part["verdict"] == verdict
    assert part["detail"].startswith(words)
    assert ("`oncue models add`" in part["detail"]) == (served.pool == "gpu")


def test_a_route_that_is_served_is_not_mentioned(place: Place) -> None:
    (place.state / "routes.toml").write_text(ROUTE.replace('task = "lesions"\n', ""))
    start_worker(place, Served("gpu", "zero-shot"))
    assert set(examined(place)) == {"routes"}
