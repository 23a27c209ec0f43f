"""HCUCH's tables: written and read back, whatever the case and spaces of the heads; and wrong ones named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medlsam.errors import DatasetError
from medlsam.lesion.recist.hcuch import (
    RecistMeasurement,
    Series,
    read_kinds,
    read_measurements,
    read_series,
    write_kinds,
    write_measurements,
    write_series,
)
from medlsam.lesion.recist.lesion import Kind

ROWS = [
    RecistMeasurement(
        1, "1.3.12.2.nii.gz", 4, "A", 24.0, "training", "20190220", "1.3.51", "1.3.12.2", "abdomen", 14, "baseline"
    ),
    RecistMeasurement(1, "1.3.12.9.nii.gz", 2, "A", 18.5, study_order="follow-up-1"),
]  # fmt: skip
SERIES = Series(1, "1.3.12.2", 10, "thorax", "1.3.51", "20221012", 1.5, 0.74, 0.74, 1.0, 340, 512, 512)


def test_measurements_come_back(tmp_path: Path) -> None:
    write_measurements(ROWS, tmp_path / "recist_measurements.csv")
    assert read_measurements(tmp_path / "recist_measurements.csv") == ROWS
    first, second = (tmp_path / "recist_measurements.csv").read_text().splitlines()[:2]
    assert first == (
        "patient_id,subset,study_date,study_uuid,uuid,filename,region,final_3d_objects,lesion_label_value,"
        "lesion_label_alias,recist_measurement_mm,study_order"
    )
    assert second.endswith(",14,4,A,24,baseline")


def test_the_words_of_the_papers_table_are_known(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(
        "\ufeffPatient ID,Filename of CT series,Foreground Value,Alias to identify lesion within the patient,"
        "RECIST diameter measurement (mm),something else\n3, a.nii.gz ,5.0,B, 12.5,x\n",
        encoding="utf-8",
    )
    assert read_measurements(table) == [RecistMeasurement(3, "a.nii.gz", 5, "B", 12.5)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("patient_id,filename\n1,a\n", "no lesion_label_value.*columns are patient_id, filename"),
        (
            "patient_id,filename,lesion_label_value,lesion_label_alias,recist_measurement_mm\n1,a,2,A,wide\n",
            "row 1, recist_measurement_mm: expected a number, got 'wide'",
        ),
        (
            "patient_id,filename,lesion_label_value,lesion_label_alias,recist_measurement_mm\n1,a,2.5,A,3\n",
            "expected a whole number, got '2.5'",
        ),
        (
            "patient_id,filename,lesion_label_value,lesion_label_alias,recist_measurement_mm\n1,a,2,A,nan\n",
            "expected a number, got 'nan'",
        ),
    ],
)
def test_what_is_no_such_table_is_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(DatasetError, match=said):
        read_measurements(tmp_path / "table.csv")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_measurements(tmp_path / "none.csv")


def test_series_come_back(tmp_path: Path) -> None:
    write_series([SERIES], tmp_path / "series.json")
    assert read_series(tmp_path / "series.json") == [SERIES]
    (entry,) = json.loads((tmp_path / "series.json").read_text())
    assert list(entry)[:4] == ["id", "region", "uuid", "study_uuid"]
    (tmp_path / "series.json").write_text("{}")
    with pytest.raises(DatasetError, match="expected a list"):
        read_series(tmp_path / "series.json")


def test_kinds_of_a_mask(tmp_path: Path) -> None:
    kinds = {1: Kind("m", "lung"), 12: Kind("n", "mediastinum")}
    write_kinds(kinds, tmp_path / "labels.json")
    assert json.loads((tmp_path / "labels.json").read_text()) == {"1": "m,lung", "12": "n,mediastinum"}
    assert read_kinds(tmp_path / "labels.json") == kinds


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"1": {"type": "n", "site": "iliac"}}, {1: Kind("n", "iliac")}),
        ({"1": {"organ": "liver"}}, {1: Kind("", "liver")}),
        ({"background": 0, "liver_tumor": 3}, {3: Kind("", "liver_tumor")}),
        ({"labels": {"lymph_node": 2}}, {2: Kind("n", "lymph_node")}),
        (
            {
                "lesions": [
                    {"value": 3, "type": "bone, other", "organ": None},
                    {"value": 4, "type": "t,liver"},
                ]
            },
            {3: Kind("", "bone, other"), 4: Kind("t", "liver")},
        ),
    ],
)
def test_other_ways_to_say_kinds(written: object, expected: dict[int, Kind], tmp_path: Path) -> None:
    (tmp_path / "kinds.json").write_text(json.dumps(written))
    assert read_kinds(tmp_path / "kinds.json") == expected


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"1": "q,lung"}, "value 1.*no type"),
        ({"a": "b"}, "one of the two"),
        ({"liver_tumor": 1, "liver_cyst": 1}, "value 1 is named twice, again by 'liver_cyst'"),
        ({"lesions": [{"name": "a"}]}, "lesions with a value each"),
        ({"1": 2.5}, "type and site"),
        ([], "list"),
    ],
)
def test_wrong_kinds_are_named(written: object, said: str, tmp_path: Path) -> None:
    (tmp_path / "kinds.json").write_text(json.dumps(written))
    with pytest.raises(DatasetError, match=said):
        read_kinds(tmp_path / "kinds.json")
