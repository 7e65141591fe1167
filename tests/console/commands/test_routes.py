from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pydicom
import pytest
from sqlalchemy import delete

from console.demo.unwanted_study import write_unwanted_study
from storage import registering
from storage.arrivals import Origin, StudyFacts
from storage.database import utc_now
from storage.routes.file import SHIPPED
from storage.routing_tables import RoutingRow, SeriesRow
from tests.console.conftest import Place
from tests.support.commands import oncue
from tests.support.gateways import assembly
from tests.support.queued import small_phantom, stored_instances

TWO_ROUTES = """version = 1

[[route]]
name = "head-mr"
analyser = "zero-shot"
prompt = "tumor"

[route.match]
modality = ["MR"]
body_part = ["head"]
not_description = 'local'

[[route]]
name = "limb-mr"
analyser = "zero-shot"
prompt = "sarcoma"
task = "limb"
lane = "batch"
pool = "limbs"

[route.match]
modality = ["MR"]
body_part = ["upper-limb", "lower-limb"]
minimum_slices = 5
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a head and a knee, and a file that is no image."""
    images = tmp_path_factory.mktemp("images")
    small_phantom(images / "head", seed=1)
    write_unwanted_study(images / "knee", seed=1)
    return images


@pytest.fixture
def two_routes(tmp_path: Path) -> Path:
    path = tmp_path / "two.toml"
    path.write_text(TWO_ROUTES)
    return path


def arrive(place: Place, folder: Path, *, routes: Path | None = None) -> str:
    """Let the files of one study arrive and be routed as the gateway would; return the study's UID."""
    files = sorted(folder.rglob("*.dcm"))
    uid = str(pydicom.dcmread(files[0], specific_tags=["StudyInstanceUID"]).StudyInstanceUID)
    origin = Origin("MODALITY", None)
    with place.database.write() as session:
        for instance in stored_instances(place.objects, files, study_uid=uid):
            registering.register_instance(session, instance, StudyFacts(), origin=origin, now=utc_now())
    assembly(place.database, place.objects, routes or SHIPPED).close_complete()
    return uid


def test_the_shipped_routes_are_listed_with_file_digest_and_conditions(place: Place) -> None:
    route, *others = oncue("routes", "list", "--state", place.state, "--json").json
    assert [(other["name"], other["analyser"], other["prompt"]) for other in others] == [
        ("limb-mr", "family-limb-mr", None), ("limb-ct", "family-body-ct", None), ("limb-pet", "family-pet", None),
        ("head-mr-contrast", "family-head-mr", "tumor"), ("breast-us", "family-breast-us", None),
    ]  # fmt: skip # reads by its lines
    assert (route["name"], route["analyser"], route["prompt"], route["pool"]) == (
        "head-mr", "zero-shot", "tumor", "default",
    )  # fmt: skip # reads by its lines
    assert route["file"] == str(SHIPPED)
    assert route["routes_sha256"] == hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    assert route["conditions"][:2] == ["modality MR", "body region head, or no region named"]
    table = oncue("routes", "list", "--state", place.state).out
    assert "(shipped)" in table
    assert "at least 3 slices" in table


def test_a_file_in_the_state_folder_holds_and_a_setting_goes_before_it(
    place: Place, two_routes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = place.state / "routes.toml"
    own.write_text(TWO_ROUTES.partition('[[route]]\nname = "limb-mr"')[0])
    (only,) = oncue("routes", "list", "--state", place.state, "--json").json
    assert only["file"] == str(own)
    monkeypatch.setenv("ONCUE_GATEWAY_ROUTES", str(two_routes))
    listed = oncue("routes", "list", "--state", place.state, "--json").json
    assert [(route["name"], route["task"], route["lane"]) for route in listed] == [
        ("head-mr", None, None), ("limb-mr", "limb", "batch"),
    ]  # fmt: skip # reads by its lines
    assert {route["file"] for route in listed} == {str(two_routes)}
    assert "(gateway.routes)" in oncue("routes", "list", "--state", place.state).out


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (('prompt = "tumor"', 'prompts = "tumor"'), 'line 6, route "head-mr", prompts: there is no such key'),
        (("minimum_slices = 5", "minimum_slices = 5\nmaximum_slices = 2"), "minimum_slices (5) is above maximum"),
        (('pool = "limbs"', 'pool = "Limbs!"'), 'line 19, route "limb-mr", pool'),
        (('body_part = ["head"]', 'body_part = ["haed"]'), 'line 10, route "head-mr", match.body_part'),
    ],
)  # fmt: skip # reads by its lines
def test_what_is_wrong_with_a_file_is_named_by_line_and_rule(
    place: Place, folder: Path, wrong: tuple[str, str], complaint: str
) -> None:
    (place.state / "routes.toml").write_text(TWO_ROUTES.replace(*wrong))
    for command in (("list",), ("test", folder), ("replay", "--since", "2026-01-01")):
        ran = oncue("routes", *command, "--state", place.state, "--json")
        assert ran.code == 1
        assert ran.out == ""
        assert ran.err.startswith("error [routes_invalid]: routes.toml: ")
        assert complaint in ran.err


def test_a_folder_is_told_what_would_become_of_each_study(place: Place, folder: Path) -> None:
    head, knee = sorted(
        oncue("routes", "test", folder, "--state", place.state, "--json").json,
        key=lambda study: study["becomes"] != "queued",
    )
    assert (head["becomes"], knee["becomes"]) == ("queued", "not_applicable")
    ((job,), (flair,)) = head["jobs"], [item for item in head["series"] if item["frames"] == 8]
    assert (job["route"], job["series"]) == ("head-mr", [flair["series_instance_uid"]])
    assert flair["stated_regions"] == ["head"]
    assert knee["jobs"] == []
    assert "body_part: wanted head, found lower-limb" in knee["reasons"][0]
    assert "route limb-mr: " in knee["reasons"][1]
    answer = knee["answers"][0]
    assert [[unmet["condition"] for unmet in series["unmet"]] for series in answer["series"]] == [["body_part"]] * 2


def test_people_read_which_condition_failed_for_which_series(place: Place, folder: Path) -> None:
    shown = oncue("routes", "test", folder, "--state", place.state).out
    assert "not_description: wanted no match of 'local|scout|survey|calib', found one" in shown
    assert "body_part: wanted head, found lower-limb" in shown
    assert "job for route head-mr: 1 series, analyser zero-shot" in shown
    assert "not_applicable: no route wants this study" in shown
    assert "PHANTOM" not in shown
    assert "AX PD FS" not in shown


def test_another_file_can_be_tried_before_it_counts(place: Place, folder: Path, two_routes: Path) -> None:
    tried = oncue("routes", "test", folder, "--state", place.state, "--routes", two_routes, "--json").json
    jobs = {job["route"]: job for study in tried for job in study["jobs"]}
    assert set(jobs) == {"head-mr", "limb-mr"}
    assert (jobs["limb-mr"]["lane"], jobs["limb-mr"]["pool"], jobs["limb-mr"]["task"]) == ("batch", "limbs", "limb")


def test_a_header_that_contradicts_its_description_is_named(
    place: Place, folder: Path, two_routes: Path, tmp_path: Path
) -> None:
    knee = shutil.copytree(folder / "knee", tmp_path / "knee")
    for path in knee.rglob("*.dcm"):
        image = pydicom.dcmread(path)
        image.SeriesDescription = "t1 Kopf DOE^JANE"
        image.save_as(path)
    tried = oncue("routes", "test", knee, "--state", place.state, "--routes", two_routes, "--json").json
    assert [series["contradicts_itself"] for series in tried[0]["series"]] == [True, True]
    assert (tried[0]["series"][0]["stated_regions"], tried[0]["series"][0]["described_regions"]) == (
        ["lower-limb"], ["head"],
    )  # fmt: skip # reads by its lines
    shown = oncue("routes", "test", knee, "--state", place.state, "--routes", two_routes).out
    assert "contradicts itself: its header says lower-limb, its descriptions say head" in shown
    assert "DOE" not in shown + str(tried)


def test_a_folder_without_images_and_an_unknown_study_are_coded_errors(place: Place, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("no image")
    for subject, code in (
        (empty, "no_series_found"),
        (7, "record_missing"),
        (10**22, "record_missing"),
        ("1.2.3.4", "record_missing"),
        ("./nowhere", "record_missing"),
    ):
        ran = oncue("routes", "test", subject, "--state", place.state, "--json")
        assert ran.code == 1
        assert ran.err.startswith(f"error [{code}]: ")


def test_a_study_that_arrived_is_tested_by_number_and_by_uid(place: Place, folder: Path, two_routes: Path) -> None:
    uid = arrive(place, folder / "knee")
    (listed,) = oncue("studies", "list", "--state", place.state, "--json").json
    assert (listed["state"], listed["analyses"], listed["priority"]) == ("not_applicable", [], None)
    for subject in (1, uid):
        (tested,) = oncue("routes", "test", subject, "--state", place.state, "--json").json
        assert (tested["study_instance_uid"], tested["becomes"]) == (uid, "not_applicable")
    (otherwise,) = oncue("routes", "test", 1, "--state", place.state, "--routes", two_routes, "--json").json
    assert [job["route"] for job in otherwise["jobs"]] == ["limb-mr"]


def test_a_replay_shows_only_what_would_be_routed_otherwise(place: Place, folder: Path, tmp_path: Path) -> None:
    arrive(place, folder / "head")
    knee = arrive(place, folder / "knee")
    replay = ("routes", "replay", "--since", "2020-01-01", "--state", place.state)
    same = oncue(*replay, "--json").json
    assert (same["studies"], same["different"], same["unrecorded"], same["shown"]) == (2, 0, 0, [])
    assert len(oncue(*replay, "--all", "--json").json["shown"]) == 2
    with_limbs = tmp_path / "limbs.toml"
    knees = TWO_ROUTES[TWO_ROUTES.rindex("[[route]]") :].replace('"limb-mr"', '"knee-mr"')
    with_limbs.write_text(SHIPPED.read_text() + knees)
    other = oncue(*replay, "--routes", with_limbs, "--json").json
    assert (other["studies"], other["different"]) == (2, 1)
    (shown,) = other["shown"]
    assert (shown["study_instance_uid"], shown["before"], shown["after"], shown["gained"]) == (
        knee, [], ["knee-mr"], ["knee-mr"],
    )  # fmt: skip # reads by its lines
    assert "1 of 2 studies that closed since" in oncue(*replay, "--routes", with_limbs).out
    assert oncue("routes", "replay", "--since", "2999-01-01", "--state", place.state, "--json").json["studies"] == 0


def test_a_replay_names_what_another_file_would_do_with_the_same_series(
    place: Place, folder: Path, two_routes: Path
) -> None:
    arrive(place, folder / "head", routes=two_routes)
    two_routes.write_text(
        TWO_ROUTES.replace('prompt = "tumor"', 'prompt = "glioma"').replace("not_description = 'local'", "")
    )
    replay = ("routes", "replay", "--since", "2020-01-01", "--state", place.state, "--routes", two_routes)
    (shown,) = oncue(*replay, "--json").json["shown"]
    assert shown["changed"] == [{"route": "head-mr", "differs": ["series", "prompt"]}]
    assert "head-mr: series, prompt" in oncue(*replay).out


def test_a_study_of_before_routings_were_kept_is_read_from_its_images_and_not_compared(
    place: Place, folder: Path
) -> None:
    head = arrive(place, folder / "head")
    with place.database.write() as session:
        session.execute(delete(RoutingRow))
        session.execute(delete(SeriesRow))
    replay = ("routes", "replay", "--since", "2020-01-01", "--state", place.state)
    found = oncue(*replay, "--all", "--json").json
    assert (found["studies"], found["different"], found["unrecorded"]) == (1, 0, 1)
    assert [(study["study_instance_uid"], study["before"], study["after"]) for study in found["shown"]] == [
        (head, None, ["head-mr"])
    ]
    assert "1 of them closed before routings were kept" in oncue(*replay).out


def test_a_replay_changes_nothing(place: Place, folder: Path, two_routes: Path) -> None:
    arrive(place, folder / "knee")
    before = oncue("audit", "verify", "--state", place.state, "--json").json
    oncue("routes", "replay", "--since", "2020-01-01", "--state", place.state, "--routes", two_routes)
    oncue("routes", "test", 1, "--state", place.state, "--routes", two_routes)
    assert oncue("audit", "verify", "--state", place.state, "--json").json == before
    assert oncue("jobs", "list", "--state", place.state, "--json").json == []


def test_a_day_that_is_none_is_a_usage_error(place: Place) -> None:
    assert oncue("routes", "replay", "--since", "yesterday", "--state", place.state).code == 2


def test_a_study_that_no_route_wanted_is_routed_again_once_the_file_is_mended(
    place: Place, folder: Path, two_routes: Path
) -> None:
    arrive(place, folder / "knee")
    (before,) = oncue("studies", "list", "--state", place.state, "--json").json
    assert before["state"] == "not_applicable"
    (applied,) = oncue("routes", "apply", "1", "--state", place.state, "--json").json
    assert applied == {"study_instance_uid": before["study_instance_uid"], "revision": 2}
    still = oncue("routes", "apply", "1", "--state", place.state)
    assert (still.code, "[illegal_transition]" in still.err) == (1, True)
    assembly(place.database, place.objects, two_routes).close_complete()
    (after,) = oncue("studies", "list", "--state", place.state, "--json").json
    assert (after["state"], [one["route"] for one in after["analyses"]]) == ("queued", ["limb-mr"])
    assert "study:rerouted" in {event["tag"] for event in oncue("audit", "list", "--state", place.state, "--json").json}


def test_a_job_for_a_pool_that_was_a_slip_is_replaced_when_the_mended_routes_are_applied(
    place: Place, folder: Path, tmp_path: Path
) -> None:
    wrong, mended = tmp_path / "wrong.toml", tmp_path / "mended.toml"
    wrong.write_text(TWO_ROUTES.replace('prompt = "tumor"', 'prompt = "tumor"\npool = "hed"'))
    mended.write_text(TWO_ROUTES)
    arrive(place, folder / "head", routes=wrong)
    oncue("routes", "apply", "1", "--state", place.state)
    assembly(place.database, place.objects, mended).close_complete()
    listed = oncue("jobs", "list", "--state", place.state, "--json").json
    assert [job["state"] for job in listed] == ["queued", "superseded"]
