from __future__ import annotations

import pytest

from tests.console.conftest import Place
from tests.support.commands import oncue
from tests.support.installed_models import install_model


def test_a_name_that_a_worker_is_to_serve_and_nobody_knows_is_said(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONCUE_WORKER_SERVES", '["zero-shot", "label", "liver"]')
    (part,) = oncue("doctor", "--state", place.state, "--json", "--only", "models").json
    assert (part["subject"], part["verdict"]) == ("worker.serves", "remark")
    families = "family-body-ct, family-breast-us, family-head-mr, family-limb-mr, family-lung-ct, family-pet"
    assert part["detail"].startswith(f"no analyser or model liver is known, only {families}, label, zero-shot: ")
    assert "`oncue models add FOLDER --name liver`" in part["detail"]
    install_model(place.database, place.state, "liver")
    (model,) = oncue("doctor", "--state", place.state, "--json", "--only", "models").json
    assert model["subject"] == "model liver"
