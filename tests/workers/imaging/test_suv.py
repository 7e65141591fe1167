from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from tests.support.required import present
from workers.errors import SuvUnknown
from workers.imaging.suv import suv_factor

HALF_LIFE = 6588.0


def pet(**changes: object) -> Dataset:
    header, isotope = Dataset(), Dataset()
    isotope.RadionuclideTotalDose = "370000000"
    isotope.RadionuclideHalfLife = str(HALF_LIFE)
    isotope.RadiopharmaceuticalStartTime = "090000"
    header.RadiopharmaceuticalInformationSequence = [isotope]
    header.Units, header.DecayCorrection, header.CorrectedImage = "BQML", "START", ["DECY", "ATTN", "SCAT"]
    header.PatientWeight = "74"
    header.SeriesDate = header.AcquisitionDate = "20260102"
    header.SeriesTime = header.AcquisitionTime = "100000"
    for name, value in changes.items():
        place = isotope if name.startswith("Radi") and name != "RadiopharmaceuticalInformationSequence" else header
        if value is None:
            delattr(place, name)
        else:
            setattr(place, name, value)
    return header


def test_the_dose_decays_until_the_scan_begins() -> None:
    left = 370e6 * 2 ** (-3600 / HALF_LIFE)
    assert suv_factor([pet()]) == pytest.approx(74_000 / left, rel=1e-9)


def test_what_is_corrected_to_the_injection_knows_no_decay() -> None:
    assert suv_factor([pet(DecayCorrection="ADMIN")]) == pytest.approx(74_000 / 370e6, rel=1e-12)


def test_values_that_are_uptake_values_stay_what_they_are() -> None:
    assert suv_factor([pet(Units="GML")]) == 1.0


def test_an_injection_before_midnight_belongs_to_the_day_before() -> None:
    late = pet(SeriesTime="003000", AcquisitionTime="003000", RadiopharmaceuticalStartTime="233000")
    assert suv_factor([late]) == pytest.approx(suv_factor([pet()]), rel=1e-9)


def test_a_series_made_afterwards_counts_from_its_first_acquisition() -> None:
    beds = [pet(SeriesTime="180000", AcquisitionTime=time) for time in ("100600", "100000", "100300")]
    assert suv_factor(beds) == pytest.approx(suv_factor([pet()]), rel=1e-9)


def test_a_full_start_time_with_date_and_offset_is_read() -> None:
    full = pet(RadiopharmaceuticalStartDateTime="20260102090000.00+0100", RadiopharmaceuticalStartTime=None)
    assert suv_factor([full]) == pytest.approx(suv_factor([pet()]), rel=1e-9)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"PatientWeight": None}, "PatientWeight"),
        ({"PatientWeight": "0"}, "PatientWeight"),
        ({"PatientWeight": "74000"}, "PatientWeight"),
        ({"RadionuclideTotalDose": None}, "RadionuclideTotalDose"),
        ({"RadionuclideTotalDose": "370"}, "370 Bq"),  # written in megabecquerels
        ({"RadionuclideHalfLife": None}, "RadionuclideHalfLife"),
        ({"RadiopharmaceuticalStartTime": None}, "RadiopharmaceuticalStartDateTime"),
        ({"RadiopharmaceuticalInformationSequence": None}, "RadiopharmaceuticalInformationSequence"),
        ({"Units": None}, "Units"),
        ({"Units": "CNTS"}, "CNTS"),
        ({"Units": "CM2ML"}, "CM2ML"),
        ({"DecayCorrection": "NONE"}, "DecayCorrection"),
        ({"CorrectedImage": ["DECY"]}, "ATTN"),
        ({"SUVType": "LBM", "Units": "GML"}, "SUVType"),
        ({"RadiopharmaceuticalStartDateTime": "20260101060000"}, "hours lie between"),
    ],
)
def test_what_is_missing_or_impossible_is_named(changes: dict[str, object], named: str) -> None:
    with pytest.raises(SuvUnknown, match=named):
        suv_factor([pet(**changes)])


def test_private_factors_are_refused_by_name() -> None:
    philips = pet(Units="CNTS")
    philips.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0x00, "DS", "0.00042")
    with pytest.raises(SuvUnknown, match="SUV Scale Factor"):
        suv_factor([philips])


def test_units_that_differ_within_a_series_are_refused() -> None:
    with pytest.raises(SuvUnknown, match="differ"):
        suv_factor([pet(), pet(Units="GML")])


def test_a_real_series_reads_as_the_values_that_others_took_from_it(real_data: Path) -> None:
    folder = present(real_data / "sarcoma-ct-pet-mr")
    files = [pydicom.dcmread(path) for path in (folder / "dicom" / "STS_041" / "PET" / "image").glob("*.dcm")]
    factor = suv_factor(files)
    values = np.concatenate([(f.pixel_array * f.RescaleSlope + f.RescaleIntercept).ravel() * factor for f in files])
    with np.load(folder / "STS_041__PET.npz") as known:
        highest = float(known["image"].max())
    assert np.abs(values - highest).min() < 1e-3 * highest
