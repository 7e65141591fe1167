"""The doctor looks at every set of weights that ships, those of families too."""

from __future__ import annotations

from console.doctor.computing_probes import probe_weights
from tests.console.conftest import Place


def test_the_weights_of_families_are_looked_at_as_the_rest(place: Place) -> None:
    said = [part.detail.partition(" ")[0] for part in probe_weights(place.installation)]
    assert {
        "segmentation-lgg-small",
        "body-region",
        "pet",
        "limb-mr",
        "body-ct",
        "lung-ct",
        "head-mr",
        "breast-us",
    } <= set(said)
