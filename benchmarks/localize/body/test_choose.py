"""The table for choices on bodies: who is whose patient, and what its cells say."""

from __future__ import annotations

import json

import numpy as np

from benchmarks.localize.body.choose import marked_faces, patient, row, to_json


def test_scans_of_one_patient_are_known_as_such() -> None:
    assert patient("hcc_005_b_ph1") == patient("hcc_005_a_pre") == "hcc_005"
    assert patient("crlm_1004") == "crlm_1004"


def test_no_reported_patient_is_marked() -> None:
    faces = marked_faces()
    assert not {"crlm_1006", "hcc_002_a1", "cptac_pda_c3l_00189", "nsclc_lung1_001"} & set(faces)
    for scan, structures in faces.items():
        for name, own in structures.items():
            sides = [
                (a, b) for a, b in zip(own[::2], own[1::2], strict=True) if a is not None and b is not None
            ]
            assert all(a < b for a, b in sides), f"{scan} {name}"


def test_cells_by_hand() -> None:
    """Patients count the same, and faces that were not marked do not count."""
    nan = np.nan
    found = {
        ("hcc_005_b_ph1", "liver"): np.array([2.0, 4, nan, nan, 30, nan]),
        ("hcc_005_b_ph2", "liver"): np.array([2.0, 4, nan, nan, nan, nan]),
        ("crlm_1004", "liver"): np.array([nan, nan, 6.0, nan, nan, 10]),
    }
    # hcc_005: 42 mm over 5 faces; crlm_1004: 16 over 2.
    assert row(found) == ["7", "8.2 ±0.2", "3.0", "6.0", "20.0", "4.0", "14 %"]
    assert row(found, "liver") == row(found)


def test_faces_that_nobody_marked_are_null() -> None:
    document = to_json({("crlm_1004", "liver"): np.array([np.nan, 1.234, 2, 3, 4, 5])})
    assert json.loads(json.dumps(document, allow_nan=False)) == {"crlm_1004, liver": [None, 1.23, 2, 3, 4, 5]}


def test_a_row_of_one_scan() -> None:
    found = {
        ("crlm_1004", "liver"): np.array([1.0, 2, 3, 4, 5, 6]),
        ("lidc_0001", "liver"): np.array([30.0, 30, 30, 30, 30, 30]),
    }
    assert row(found, of_scan="crlm_1004")[:2] == ["6", "3.5 ±0.0"]
