"""The page that a person gets, read by poppler, dciodvfy and Orthanc."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from dicom_gateway.errors import ObjectInvalid, SourceUnusable
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.report_page import build_report_page
from dicom_gateway.objects.styles import ObjectStyle
from dicom_gateway.objects.validation import check_object
from storage.domain import Analysis, Code, Finding, Presence, Priority, Site, Structure
from storage.objects import ObjectStore
from storage.volumes import Extent
from tests.conftest import ROOT
from tests.support import pages
from tests.support.peers import orthanc, storescu
from tests.support.readers import iod_errors
from tests.support.sources import LAYOUTS, WRITTEN_AT, SourceStudy, part10_bytes, store_study

AXIAL = LAYOUTS[0]
LEFT = Code("7771000", "SCT", "Left")
LONG = "diffuse astrocytoma, IDH-mutant, CNS WHO grade 3, as it is called in the newest edition"
MARGIN, WIDTH, HEIGHT = 45.0, 595.3, 841.9


@pytest.fixture
def study(objects: ObjectStore) -> SourceStudy:
    return store_study(AXIAL, objects)


def picture(shade: int = 90, size: tuple[int, int] = (384, 440)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (shade, shade, 40)).save(buffer, format="PNG")
    return buffer.getvalue()


def page(
    study: SourceStudy, analysis: Analysis, pictures: Sequence[bytes] = (), captions: Sequence[str] = ()
) -> Dataset:
    return build_report_page(
        analysis, study.datasets, pictures, written_at=WRITTEN_AT, equipment=Equipment(), captions=captions
    )


def pdf(dataset: Dataset, folder: Path) -> Path:
    path = folder / "page.pdf"
    path.write_bytes(dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength])
    return path


def nothing(study: SourceStudy) -> Analysis:
    return study.analysis(np.zeros(AXIAL.shape, np.uint8))


def many_findings(analysis: Analysis, count: int) -> tuple[Finding, ...]:
    first = analysis.findings[0]
    site = Site(Code("78277001", "SCT", "Temporal lobe of the cerebrum"), LEFT)
    return tuple(
        replace(first, number=number, volume_ml=100.0 + number, site=site, label=LONG) for number in range(1, count + 1)
    )


def many_organs(first: int, count: int) -> tuple[Structure, ...]:
    lung = Site(Code("39607008", "SCT", "Lung"), LEFT)
    return tuple(
        Structure(number, f"organ {number}", lung, 10.0 * number, f"organ-{number}", f"1.2.{number}")
        for number in range(first, first + count)
    )


def require_order(path: Path) -> None:
    """Require one A4 page on which no word leaves the margins or lies on another."""
    assert (pages.facts(path)["Pages"], pages.facts(path)["Page size"]) == ("1", "595.276 x 841.89 pts (A4)")
    found = pages.words(path)
    assert found
    for word in found:
        assert MARGIN - 0.5 <= word.left <= word.right <= WIDTH - MARGIN + 0.5, word
        assert 0.0 <= word.top <= word.bottom <= HEIGHT, word
    covered = [(one, other) for place, one in enumerate(found) for other in found[place + 1 :] if one.covers(other)]
    assert covered == []


@pytest.mark.peer
def test_a_page_says_what_was_found_why_it_is_urgent_and_what_it_is_not(study: SourceStudy, tmp_path: Path) -> None:
    analysis = study.analysis(study.lesion_labels(), route="brain-mr", notes=("series 1.2.840.113619.2.55.3: derived",))
    path = pdf(page(study, analysis, [picture()] * 3, ["Slice 2", "Slice 3", "Slice 5"]), tmp_path)
    require_order(path)
    text = pages.page_text(path)
    for stated in (
        "NOT FOR DIAGNOSTIC USE",
        "Größe, Zoë",
        "PATIENT-17",
        "1960-01-02",
        "2026-03-01",
        "ACC-4711",
        "2 lesions found, together 0.3 ml",
        "HIGH",
        "“rule”",
        "75 % low-grade glioma",
        "Slice 5",
        "latent-anomaly 1.2.3",
        "cd" * 32,
        "2026-03-04 06:06:07 UTC+01:00",
        "brain-mr",
        "derived",
        "unlike those that the analyser was trained on",
        "does not exclude disease",
        str(study.datasets[0].StudyInstanceUID),
    ):
        assert stated in text
    assert pages.facts(path)["Title"] == "Triage result"
    assert pages.fonts(path) == {"NotoSans-Regular": True, "NotoSans-Bold": True}


@pytest.mark.peer
@pytest.mark.parametrize(
    ("name", "character_set", "shown"),
    [
        ("Müller^Jörg^Karl^Dr.", "ISO_IR 192", ["Müller, Jörg Karl, Dr."]),
        ("Παπαδοπούλου^Ελένη", "ISO_IR 126", ["Παπαδοπούλου, Ελένη"]),
        ("Люксембург^Роза", "ISO_IR 144", ["Люксембург, Роза"]),
        ("Dvořák^Łukasz", "ISO_IR 101", ["Dvořák, Łukasz"]),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "ISO_IR 192", ["Yamada, Tarou", "山田 太郎", "やまだ たろう"]),
        ("Hong^Gildong=洪^吉洞=홍^길동", "ISO_IR 192", ["Hong, Gildong", "洪 吉洞", "홍 길동"]),
        ("Wang^XiaoDong=王^小东", "GB18030", ["Wang, XiaoDong", "王 小东"]),
        ("Nizar^Qabbani=قباني^لنزار", "ISO_IR 192", ["Nizar, Qabbani", "letters that this page cannot show"]),
        ("قباني^لنزار", "ISO_IR 127", ["The name cannot be shown here", "PATIENT-17"]),
        ("", "", ["No name stated"]),
    ],
)
def test_names_show_in_their_scripts_or_the_page_says_that_they_do_not(
    name: str, character_set: str, shown: list[str], objects: ObjectStore, tmp_path: Path
) -> None:
    study = store_study(AXIAL, objects, SpecificCharacterSet=character_set, PatientName=name)
    path = pdf(page(study, nothing(study)), tmp_path)
    require_order(path)
    text = pages.page_text(path)
    assert [stated for stated in shown if stated not in text] == []


@pytest.mark.peer
@pytest.mark.parametrize("pictures", [0, 1, 5, 12])
@pytest.mark.parametrize("findings", [12, 20])
@pytest.mark.parametrize("organs", [0, 3, 60])
def test_nothing_runs_over_and_what_is_left_out_is_counted(
    pictures: int, findings: int, organs: int, study: SourceStudy, tmp_path: Path
) -> None:
    analysis = study.analysis(study.lesion_labels())
    analysis = replace(
        analysis, findings=many_findings(analysis, findings), structures=many_organs(findings + 1, organs)
    )
    captions = [f"Slice {number} of 60" for number in range(1, pictures + 1)]
    path = pdf(page(study, analysis, [picture()] * pictures, captions), tmp_path)
    require_order(path)
    text = pages.page_text(path)
    volumes = [f"{100.0 + number:.2f}" for number in range(1, findings + 1)]
    shown = sum(volume in text for volume in volumes)
    if findings <= 12:
        assert shown == findings
    assert shown == findings or f"and {findings - shown} more" in text
    assert ("6 of 12 pictures" in text) == (pictures == 12)
    assert ("organ" in text) == (organs > 0)


@pytest.mark.peer
def test_what_a_result_is_about_stands_in_its_headline(study: SourceStudy, tmp_path: Path) -> None:
    absent = nothing(study).findings[0]
    label = replace(absent, presence=Presence.ASSESSED, label="melanoma", label_probability=0.81)
    left = replace(label, label=None, label_probability=None, abstained="too_few_examples")
    flat = replace(study.analysis(study.lesion_labels()).findings[0], extent=Extent.AREA, area_mm2=321.0)
    unknown = replace(flat, extent=Extent.UNKNOWN)
    cases = {
        "No lesion found": replace(nothing(study), findings=(absent,)),
        "Whole image: melanoma": replace(nothing(study), findings=(label,)),
        "Whole image: left to the reader": replace(nothing(study), findings=(left,)),
        "lesions were not looked for": replace(nothing(study), findings=(), structures=many_organs(1, 2)),
        "321": replace(nothing(study), findings=(flat,)),
        "nothing was measured": replace(nothing(study), findings=(unknown,)),
    }
    for stated, analysis in cases.items():
        path = pdf(page(study, analysis, [picture()]), tmp_path)
        require_order(path)
        text = pages.page_text(path)
        assert stated in text
        assert ("Volume, ml" in text) == bool(analysis.structures)
    for priority in Priority:
        urgent = replace(nothing(study), decision=replace(nothing(study).decision, priority=priority))
        assert priority.value in pages.page_text(pdf(page(study, urgent), tmp_path))


@pytest.mark.peer
def test_dciodvfy_and_our_own_check_find_no_error_and_orthanc_gives_the_file_back(
    study: SourceStudy, tmp_path: Path
) -> None:
    dataset = page(study, study.analysis(study.lesion_labels()), [picture()])
    check_object(dataset, references=[str(source.SOPInstanceUID) for source in study.datasets])
    path = tmp_path / "page.dcm"
    path.write_bytes(part10_bytes(dataset))
    assert iod_errors(path) == []
    assert (dataset.Modality, dataset.BurnedInAnnotation, dataset.SeriesNumber) == ("DOC", "YES", 99009)
    assert len(dataset.EncapsulatedDocument) % 2 == 0
    (tmp_path / "pacs").mkdir()
    with orthanc(tmp_path / "pacs") as pacs:
        assert storescu(pacs.ae_title, pacs.port, path).returncode == 0
        (instance,) = pacs.get("/instances")
        given = pacs.rest("GET", f"/instances/{instance}/pdf")
    assert given[: dataset.EncapsulatedDocumentLength] == pdf(dataset, tmp_path).read_bytes()


def test_the_same_analysis_gives_the_same_bytes_in_every_process(study: SourceStudy, objects: ObjectStore) -> None:
    analysis = study.analysis(study.lesion_labels())
    here = part10_bytes(page(study, analysis, [picture()]))
    assert part10_bytes(page(study, analysis, [picture()])) == here
    program = (
        "import sys, hashlib; from pathlib import Path; from storage.objects import ObjectStore;"
        "from tests.dicom_gateway.objects.test_report_page import *;"
        "study = store_study(AXIAL, ObjectStore(Path(sys.argv[1])));"
        "analysis = study.analysis(study.lesion_labels());"
        "print(hashlib.sha256(part10_bytes(page(study, analysis, [picture()]))).hexdigest())"
    )
    there = subprocess.run(
        [sys.executable, "-c", program, str(objects.root)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert there.stdout.strip() == objects.put(here)


def test_another_style_is_another_object(study: SourceStudy) -> None:
    analysis = nothing(study)
    style = ObjectStyle(series_number_base=500)
    styled = build_report_page(analysis, study.datasets, [], written_at=WRITTEN_AT, equipment=Equipment(), style=style)
    assert styled.SeriesNumber == 509
    assert styled.SOPInstanceUID != page(study, analysis).SOPInstanceUID


def test_a_page_with_a_broken_picture_or_a_broken_file_does_not_leave(study: SourceStudy) -> None:
    with pytest.raises(SourceUnusable, match="picture"):
        page(study, nothing(study), [b"no picture"])
    dataset = page(study, nothing(study))
    dataset.EncapsulatedDocument = dataset.EncapsulatedDocument[:-100]
    with pytest.raises(ObjectInvalid, match="PDF"):
        check_object(dataset, references=[])
    assert pydicom.uid.EncapsulatedPDFStorage == dataset.SOPClassUID
