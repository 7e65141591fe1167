from __future__ import annotations

from structlog.testing import capture_logs

from dicom_gateway.receiving.bounded_log import BoundedLog


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_a_peer_repeats_is_written_a_few_times_and_then_counted() -> None:
    clock = Clock()
    log = BoundedLog(clock)
    with capture_logs() as lines:
        for _ in range(1000):
            log.write("association.cut", code="pdu_too_long", address="10.0.0.1", level="warning")
        log.write("association.cut", code="pdu_too_long", address="10.0.0.2")
    assert [line["address"] for line in lines] == ["10.0.0.1"] * 5 + ["10.0.0.2"]
    clock.now += 61
    with capture_logs() as lines:
        log.write("association.cut", code="pdu_too_long", address="10.0.0.1")
    assert [(line["event"], line.get("times")) for line in lines] == [
        ("log.lines_left_out", 995),
        ("association.cut", None),
    ]


def test_many_addresses_write_no_more_than_a_bound() -> None:
    log = BoundedLog(Clock())
    with capture_logs() as lines:
        for number in range(5000):
            log.write("connection.ended", code="not_an_association_request", address=f"2001:db8::{number:x}")
    assert len(lines) <= 105
