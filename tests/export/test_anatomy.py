"""Names to codes: every spelling, every class of TotalSegmentator, and the codes as the dictionary has them."""

import csv
import re

import pytest
from pydicom.sr import _concepts_dict
from pydicom.sr.codedict import codes

from medlsam.export.anatomy import ABNORMAL_STRUCTURE, ANATOMICAL_STRUCTURE, SIDES, anatomy_of, colour_of
from tests.support.paths import ROOT

#: The classes of TotalSegmentator's task "total", version 2.
TOTAL = re.findall(
    r"\S+",
    """
spleen kidney_right kidney_left gallbladder liver stomach pancreas adrenal_gland_right adrenal_gland_left
lung_upper_lobe_left lung_lower_lobe_left lung_upper_lobe_right lung_middle_lobe_right lung_lower_lobe_right
esophagus trachea thyroid_gland small_bowel duodenum colon urinary_bladder prostate kidney_cyst_left
kidney_cyst_right sacrum vertebrae_S1 heart aorta pulmonary_vein brachiocephalic_trunk subclavian_artery_right
subclavian_artery_left common_carotid_artery_right common_carotid_artery_left brachiocephalic_vein_left
brachiocephalic_vein_right atrial_appendage_left superior_vena_cava inferior_vena_cava portal_vein_and_splenic_vein
iliac_artery_left iliac_artery_right iliac_vena_left iliac_vena_right humerus_left humerus_right scapula_left
scapula_right clavicula_left clavicula_right femur_left femur_right hip_left hip_right spinal_cord
gluteus_maximus_left gluteus_maximus_right gluteus_medius_left gluteus_medius_right gluteus_minimus_left
gluteus_minimus_right autochthon_left autochthon_right iliopsoas_left iliopsoas_right brain skull sternum
costal_cartilages
""",
)
TOTAL += [
    f"vertebrae_{part}{n}" for part, count in (("L", 5), ("T", 12), ("C", 7)) for n in range(1, count + 1)
]
TOTAL += [f"rib_{side}_{n}" for side in ("left", "right") for n in range(1, 13)]
HEAD = ["Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Esophagus", "Larynx", "Mandible"]
#: SNOMED CT codes that pydicom's dictionary lacks; the same as in the terminology of TotalSegmentator's segmentations.
NOT_IN_DICTIONARY = {
    "65985001", "110765007", "181674001", "78333006", "75297007", "244849004", "68455001", "48535007",
    "78247007", "25888004", "25523003", "15339008", "59558009", "24915002", "5953002", "22565002",
    "77644006", "58830002", "43993008",
}  # fmt: skip


def rows():
    with (ROOT / "medlsam" / "export" / "anatomy.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_code_means_what_the_dictionary_says():
    known = {}
    for entries in _concepts_dict.concepts["SCT"].values():
        for code, (meaning, _) in entries.items():
            known.setdefault(code, set()).add(meaning.casefold())
    for row in rows():
        if row["code"] in NOT_IN_DICTIONARY:
            assert row["code"] not in known
        else:
            assert row["meaning"].casefold() in known[row["code"]], row
    assert {row["code"] for row in rows()} > NOT_IN_DICTIONARY
    for code, entry in {
        ANATOMICAL_STRUCTURE: codes.SCT.AnatomicalStructure,
        ABNORMAL_STRUCTURE: codes.SCT.MorphologicallyAbnormalStructure,
        SIDES["left"]: codes.SCT.Left,
        SIDES["right"]: codes.SCT.Right,
    }.items():
        assert code == (entry.value, entry.scheme_designator, entry.meaning)


def test_no_code_and_no_name_stands_twice():
    numbers = [row["code"] for row in rows()]
    assert len(numbers) == len(set(numbers))
    names = [(name, row["kind"] in SIDES and row["kind"]) for row in rows() for name in row["names"].split()]
    assert len(names) == len(set(names))
    assert {row["kind"].split()[0] for row in rows()} == {
        "single",
        "paired",
        "left",
        "right",
        "abnormal",
        "in",
    }


@pytest.mark.parametrize("name", TOTAL + HEAD)
def test_every_class_of_total_segmentator_and_of_the_head_is_coded(name):
    found = anatomy_of(name)
    assert found.type[1] == "SCT"
    side = next((side for side in SIDES if side in name.casefold()), None)
    if found.side is not None:
        assert found.side == SIDES[side]
    elif side is not None:
        # The code says it itself.
        assert side in found.type[2].casefold()


def test_the_classes_have_codes_of_their_own():
    assert len(TOTAL) == 117
    assert len({(anatomy_of(name).type, anatomy_of(name).side) for name in TOTAL}) == 117


@pytest.mark.parametrize(
    "name",
    [
        "kidney_left",
        "left kidney",
        "Kidney (L)",
        "LeftKidney",
        "KIDNEY_LEFT",
        "Lt Kidney",
        "kidney-l",
        "Left_Kidney",
        "kidneyL",
    ],
)
def test_spellings_of_one_structure(name):
    assert anatomy_of(name) == anatomy_of("kidney_left")
    assert anatomy_of(name).side == SIDES["left"]
    assert colour_of(name) == colour_of("kidney_left")


@pytest.mark.parametrize(
    ("name", "code", "side"),
    [
        ("Kidney", "64033007", None),
        ("kidneys", "64033007", None),
        ("L5", None, None),
        ("vertebrae_L5", "49668003", None),
        ("Vertebra L5", "49668003", None),
        ("rib_right_11", "58830002", "right"),
        ("left upper lobe of lung", "45653009", "left"),
        ("heart_atrium_left", "82471001", None),
        ("heart_atrium_right", "73829009", None),
        ("heart_atrium", None, None),
        ("lung_middle_lobe_left", None, None),
        ("spleen_left", None, None),
        ("left right kidney", None, None),
        ("gtv_tumor", "108369006", None),
        ("Parotid R", "45289007", "right"),
        ("", None, None),
        ("Leber", None, None),
    ],
)
def test_what_a_name_says_and_what_it_does_not(name, code, side):
    found = anatomy_of(name)
    if code is None:
        assert found.type[1] == "99MEDLSAM"
        assert found.side is None
        assert not found.is_organ
    else:
        assert found.type[:2] == (code, "SCT")
        assert found.side == (side and SIDES[side])


def test_an_abnormality_lies_in_an_organ():
    cyst = anatomy_of("kidney_cyst_right")
    assert (cyst.category, cyst.type[2], cyst.region, cyst.side) == (
        ABNORMAL_STRUCTURE,
        "Cyst",
        ("64033007", "SCT", "Kidney"),
        SIDES["right"],
    )
    assert not cyst.is_organ
    assert anatomy_of("lesion").category == ABNORMAL_STRUCTURE


def test_own_codes_fit_into_dicom():
    for name in ("Leber", "x" * 200, "a\\b", "größte Läsion", "\n"):
        value, scheme, meaning = anatomy_of(name).type
        assert len(value) <= 16
        assert len(scheme) <= 16
        assert 0 < len(meaning) <= 64
        assert "\\" not in meaning
    assert anatomy_of("Leber").type != anatomy_of("Niere").type


def test_colours_are_told_apart_and_never_change():
    assert colour_of("liver") == colour_of("Liver") == (230, 77, 150)
    assert len({colour_of(name) for name in TOTAL}) == len(TOTAL)
    assert sum(colour_of("kidney_left")) > sum(colour_of("kidney_right"))
    assert all(0 <= part <= 255 for name in TOTAL for part in colour_of(name))
