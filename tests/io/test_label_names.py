"""Tables of label names, and lists of cases."""

from __future__ import annotations

import pytest

from medlsam.errors import TemplateError, UsageError
from medlsam.io.label_names import read_case_list, read_label_names, read_patients
from medlsam.runtime.atomic_files import write_json


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"liver": 1, "spleen": 2}, {1: "liver", 2: "spleen"}),
        ({"1": "liver", "2": "spleen"}, {1: "liver", 2: "spleen"}),
        ({"labels": {"0": "background", "1": "liver"}}, {1: "liver"}),
        ({"labels": {"background": 0, "liver": 4}}, {4: "liver"}),
    ],
)
def test_label_names_either_way(tmp_path, table, expected):
    write_json(tmp_path / "labels.json", table)
    assert read_label_names(tmp_path / "labels.json") == expected


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"liver": 1, "spleen": 1}, "spleen or value 1 is there twice"),
        ({"1": "liver", "2": "liver"}, "liver or value 2 is there twice"),
        ({"liver": [1, 2]}, "regions of several values"),
        ({"liver": -1}, '"liver": -1'),
        ({"liver": True}, '"liver": true'),
        ({"liver": 70000}, "has value 70000"),
        ({"background": 0}, "no structure"),
        ([1, 2], "got list"),
    ],
)
def test_wrong_label_tables_are_refused(tmp_path, table, words):
    write_json(tmp_path / "labels.json", table)
    with pytest.raises(TemplateError, match=words):
        read_label_names(tmp_path / "labels.json")


def test_case_lists(tmp_path):
    write_json(tmp_path / "list.json", ["a", "b"])
    write_json(tmp_path / "splits.json", {"val": ["c"], "train": 3})
    assert read_case_list(tmp_path / "list.json") == ["a", "b"]
    assert read_case_list(f"{tmp_path / 'splits.json'}:val") == ["c"]
    for spec, words in (
        ("none.json", "no such case list"),
        ("none.json:val", "no such case list"),
        ("splits.json", "splits.json:key, keys: val, train"),
        ("splits.json:test", "no key 'test'; keys: val, train"),
        ("splits.json:train", "expected a list"),
        ("list.json:val", "no key 'val'"),
    ):
        with pytest.raises(UsageError, match=words):
            read_case_list(f"{tmp_path / spec}")


@pytest.mark.parametrize(
    "table",
    [
        {"a": "x", "b": "7"},
        {"a": "x", "b": 7},
        {"cases": {"a": {"patient": "x"}, "b": {"patient": 7}, "c": {}}},
    ],
)
def test_patients_of_a_table_or_of_prepared_data(tmp_path, table):
    write_json(tmp_path / "patients.json", table)
    assert read_patients(tmp_path / "patients.json") == {"a": "x", "b": "7"}


@pytest.mark.parametrize("table", [{}, ["a"], {"a": ["x"]}, {"a": True}, {"cases": {"a": {}}}])
def test_tables_without_patients(tmp_path, table):
    write_json(tmp_path / "patients.json", table)
    with pytest.raises(UsageError, match="no patients; expected scan to patient"):
        read_patients(tmp_path / "patients.json")
