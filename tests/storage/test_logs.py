from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from pydicom.dataset import Dataset

from storage import logs


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = tuple(root.handlers), root.level
    stream = io.StringIO()
    logs.configure("INFO", json=True, stream=stream)
    yield stream
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    for handler in tuple(root.handlers):
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def test_a_line_is_json_with_its_event_level_time_and_bound_values(lines: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(job=7):
        structlog.get_logger("here").warning("instance.refused", code="object_mismatch")
    line = json.loads(lines.getvalue())
    assert (line["event"], line["level"], line["code"], line["job"]) == (
        "instance.refused",
        "warning",
        "object_mismatch",
        7,
    )
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    "key", ["patient_id", "PatientName", "PatientBirthDate", "accession_number", "ReferringPhysicianName", "dataset"]
)
def test_patient_attributes_are_blanked_by_name_at_any_depth(lines: io.StringIO, key: str) -> None:
    structlog.get_logger().error("a", **{key: "SECRET-1"}, nested={"list": [{key: "SECRET-2"}]})
    assert "SECRET" not in lines.getvalue()
    assert lines.getvalue().count(logs.REDACTED) == 2


def test_names_and_printed_elements_are_blanked_inside_texts_of_other_libraries(lines: io.StringIO) -> None:
    dataset = Dataset()
    dataset.PatientID = "SECRET-3"
    logging.getLogger("other").warning("received %s from Doe^John", dataset)
    assert "SECRET" not in lines.getvalue()
    assert "Doe" not in lines.getvalue()


def test_names_are_blanked_in_tracebacks_too(lines: io.StringIO) -> None:
    try:
        _fail("cannot parse Müller^Jürgen^^Dr")
    except ValueError:
        structlog.get_logger().exception("instance.failed")
    assert "ValueError" in lines.getvalue()
    assert "rgen" not in lines.getvalue()


def _fail(message: str) -> None:
    raise ValueError(message)


def test_what_is_no_patient_data_stays_readable(lines: io.StringIO) -> None:
    structlog.get_logger().info("listener.started", aet="ONCUE", port=11112, address="10.0.0.1", ratio=2.5)
    line = json.loads(lines.getvalue())
    assert (line["aet"], line["port"], line["address"], line["ratio"]) == ("ONCUE", 11112, "10.0.0.1", 2.5)


def test_lines_below_the_level_are_left_out(lines: io.StringIO) -> None:
    structlog.get_logger().debug("loud")
    assert lines.getvalue() == ""


def test_what_pydicom_quotes_is_left_out(lines: io.StringIO) -> None:
    logging.getLogger("pydicom").warning("Invalid value for VR DA: 'of somebody'.")
    assert not lines.getvalue()
