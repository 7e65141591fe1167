from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from dicom_gateway.completeness.rules import Rules
from dicom_gateway.config import GatewaySettings


@pytest.mark.parametrize(
    ("settings", "learns"),
    [({}, True), ({"quiet_seconds": 3}, False), ({"quiet_seconds": 3, "quiet_learned": True}, True)],
)
def test_a_quiet_time_that_somebody_set_is_kept_to(settings: dict[str, Any], learns: bool) -> None:
    rules = Rules.of(GatewaySettings(**settings))
    assert (rules.learns, rules.quiet_seconds) == (learns, settings.get("quiet_seconds", 10))


def test_learned_quiet_times_have_room_between_their_bounds() -> None:
    with pytest.raises(ValidationError, match="quiet_least_seconds is above quiet_most_seconds"):
        GatewaySettings(quiet_least_seconds=30, quiet_most_seconds=20)
