"""What the words of an order say of where a patient is cared for."""

from __future__ import annotations

import pytest

from storage.care_settings import CareSetting, setting_of_order

E, I, O = CareSetting.EMERGENCY, CareSetting.INPATIENT, CareSetting.OUTPATIENT  # noqa: E741 - one letter each reads


@pytest.mark.parametrize(
    ("location", "setting"),
    [
        ("Emergency Dept.", E),
        ("ER", E),
        ("A&E Majors", E),
        ("Zentrale Notaufnahme", E),
        ("ZNA", E),
        ("Service des Urgences", E),
        ("SAU BOX 3", E),
        ("URGENCIAS", E),
        ("Pronto Soccorso", E),
        ("Serviço de Urgência", E),
        ("Spoedeisende Hulp", E),
        ("Akutmottagningen", E),
        ("Skadestuen", E),
        ("Päivystys", E),
        ("Oddział ratunkowy", E),
        ("Acil Servis", E),
        ("Ward 7B", I),
        ("ICU^Bed 4", I),
        ("STATION 3", I),
        ("Intensivstation", I),
        ("Réanimation", I),
        ("Hospitalización planta 4", I),
        ("Reparto Neurologia", I),
        ("Verpleegafdeling C2", I),
        ("Avdelning 12", I),
        ("Outpatients", O),
        ("Ambulanz Neurologie", O),
        ("Consultas externas", O),
        ("Hôpital de jour", O),
        ("Polikliniek", O),
        ("Poradnia neurologiczna", O),
        ("Notfallambulanz", E),
        ("Emergency ward", E),
        ("", None),
        ("Radiology", None),
        ("Klinik für Neurologie", None),
        ("Observer's room", None),
        ("Fred ER 3", None),
        ("steward", None),
    ],
)
def test_a_location_in_the_hospitals_own_language_says_the_setting(location: str, setting: CareSetting | None) -> None:
    assert setting_of_order(location=location) is setting


def test_a_stat_order_is_an_emergency_and_the_patients_place_comes_before_the_scanners() -> None:
    assert setting_of_order(priority="STAT", location="Ward 1") is E
    assert setting_of_order(priority="HIGH", location="Ward 1") is I
    assert setting_of_order(priority="ROUTINE") is None
    assert setting_of_order(location="Ward 1", department="Emergency Radiology") is I
    assert setting_of_order(location="somewhere", department="Emergency Radiology") is E
