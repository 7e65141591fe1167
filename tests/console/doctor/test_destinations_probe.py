from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from storage import destinations
from storage.database import utc_now
from storage.delivery_tables import DestinationCircuitRow
from storage.destinations import DestinationEntry
from storage.domain import ObjectKind
from tests.console.conftest import Place
from tests.support import storescp_profiles as profiles
from tests.support.commands import oncue
from tests.support.peers import StoreScp, dcmtk_storescp, free_port

pytestmark = [pytest.mark.slow, pytest.mark.peer]

SEG, SR, SC, PM = ObjectKind.SEG, ObjectKind.SR, ObjectKind.SC, ObjectKind.PM


def examined(place: Place) -> list[tuple[str, str, str]]:
    parts: list[dict[str, Any]] = oncue("doctor", "--state", place.state, "--json", "--only", "destinations").json
    return [(part["subject"], part["verdict"], part["detail"]) for part in parts]


def add(place: Place, name: str, address: str, *forms: ObjectKind, **words: Any) -> None:
    entry = DestinationEntry(name, address, forms or (SEG, SR), **words)
    with place.database.write() as session:
        destinations.add(session, entry, actor="cli:op", now=utc_now())


def address(peer: StoreScp) -> str:
    return f"{peer.ae_title}@127.0.0.1:{peer.port}"


def test_the_doctor_says_of_each_entry_what_it_takes(place: Place, tmp_path: Path) -> None:
    with dcmtk_storescp(tmp_path, *profiles.taking(tmp_path, {SR, SC})) as peer:
        add(place, "a", address(peer), SR)
        add(place, "b", address(peer), SEG, SR)
        add(place, "c", address(peer), PM, routes=("gone",))
        found = examined(place)
    assert found[0] == ("destination a", "fine", f"{address(peer)} answers; it gets SR")
    assert found[1] == ("destination b", "remark", f"{address(peer)}: SEG not_taken, SC instead")
    assert found[2][:2] == ("destination c", "remark")
    assert found[2][2].startswith("no route is called gone")
    assert found[3] == (
        "destination c", "broken", f"[peer_rejected_object] {address(peer)}: PM not_taken, nothing instead"
    )  # fmt: skip # a row


def test_the_doctor_says_what_keeps_results_from_a_destination(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = f"GONE@127.0.0.1:{free_port()}"
    add(place, "held", gone, paused=True)
    add(place, "lost", gone)
    now = utc_now()
    with place.database.write() as session:
        until = now + timedelta(hours=1)
        session.add(
            DestinationCircuitRow(
                destination="lost", failures=7, open_until=until, code="peer_unreachable", reason="r", changed_at=now
            )
        )
    monkeypatch.setenv("ONCUE_GATEWAY_DESTINATIONS", f'["{gone}"]')
    held, circuit, silent, doubled = examined(place)
    assert held == ("destination held", "remark", "paused; 0 deliveries wait: oncue destinations resume held")
    assert circuit[:2] == ("destination lost", "remark")
    assert "after 7 attempts" in circuit[2]
    assert (silent[0], silent[1]) == ("destination lost", "broken")
    assert doubled[1] == "remark"
    assert "is what counts" in doubled[2] or "which is what counts" in doubled[2]
