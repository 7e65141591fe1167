"""What `oncue models` shows to people."""

from __future__ import annotations

from dataclasses import replace

from storage import site_models
from storage.database import utc_now
from storage.domain import LabelEntry, LabelRole
from tests.console.conftest import Place
from tests.support.commands import oncue
from tests.support.installed_models import install_model, remove_model
from workers.site_models.card import SiteModelCard
from workers.site_models.label_codes import LESION


def test_a_model_of_a_hundred_labels_takes_one_line_of_a_terminal(place: Place) -> None:
    model = install_model(place.database, place.state, "organs")
    remove_model(place.database, "organs")
    labels = tuple(LabelEntry(value, f"zone_{value}", LabelRole.LESION, LESION, None, None) for value in range(1, 105))
    card = replace(SiteModelCard.from_json(model.card), labels=labels).to_json()
    with place.database.write() as session:
        site_models.add(session, replace(model, card=card), now=utc_now())
    (row,) = [line for line in oncue("models", "list", "--state", place.state).out.splitlines() if "organs" in line]
    assert "zone_1, zone_2, zone_3 and 101 more" in row
    assert model.sha256[:12] in row
    assert model.sha256 not in row
    (listed,) = [
        one for one in oncue("models", "list", "--state", place.state, "--json").json if one["name"] == "organs"
    ]
    assert (len(listed["labels"]), listed["sha256"]) == (104, model.sha256)
