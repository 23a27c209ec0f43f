"""LIDC through the index of the Imaging Data Commons, which a stand-in plays: series are fetched one at a time."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from medlsam.data import prepare
from medlsam.errors import DownloadError, UsageError
from medlsam.geometry import Grid
from medlsam.io.read import read_image
from medlsam.volume.volume import Image
from tests.support.data.dicom_files import write_ct
from tests.support.data.public_sources import MakeCt

GRID = Grid((8, 20, 24), (1.0, 1.0, 2.0), (5.0, 6.0, 7.0))


class Table:
    """As much of a table of pandas as is asked for."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return np.array([row[key] for row in self.rows])
        return Table([row for row, taken in zip(self.rows, key, strict=True) if taken])

    def to_dict(self, kind: str) -> list[dict[str, Any]]:
        assert kind == "records"
        return self.rows


class StandIn:
    """The index and the transfer, with the argument names of idc-index 0.13."""

    fetched: ClassVar[list[str]]
    lose: ClassVar[int]
    scan: ClassVar[Image]

    def __init__(self) -> None:
        rows = [
            ("lidc_idri", "CT", "LIDC-IDRI-0002", "1.2.3.22"),
            ("lidc_idri", "CT", "LIDC-IDRI-0002", "1.2.3.21"),
            ("lidc_idri", "CT", "LIDC-IDRI-0001", "1.2.3.11"),
            ("lidc_idri", "SEG", "LIDC-IDRI-0001", "1.2.3.12"),
            ("nlst", "CT", "100", "1.2.3.31"),
        ]
        keys = ("collection_id", "Modality", "PatientID", "SeriesInstanceUID")
        self.index = Table(
            [
                dict(zip(keys, row, strict=True)) | {"instanceCount": 8, "license_short_name": "CC BY 3.0"}
                for row in rows
            ]
        )

    def download_from_selection(
        self,
        downloadDir: str,  # noqa: N803 - idc-index names them
        seriesInstanceUID: list[str],  # noqa: N803
        dirTemplate: None,  # noqa: N803
        quiet: bool,
        show_progress_bar: bool,
    ) -> None:
        (uid,) = seriesInstanceUID
        StandIn.fetched.append(uid)
        assert Path(downloadDir).is_dir()
        files = write_ct(StandIn.scan, Path(downloadDir), uid.rpartition(".")[2])
        for file in files[: StandIn.lose]:
            file.unlink()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, make_ct: MakeCt) -> type[StandIn]:
    module = ModuleType("idc_index")
    module.IDCClient = StandIn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "idc_index", module)
    StandIn.fetched, StandIn.lose, StandIn.scan = [], 0, make_ct(GRID)
    return StandIn


def test_ct_series_are_fetched_converted_and_removed(index: type[StandIn], tmp_path: Path) -> None:
    result = prepare("lidc", tmp_path)
    assert result.done == ("LIDC-IDRI-0001", "LIDC-IDRI-0002", "LIDC-IDRI-0002_2")
    assert index.fetched == ["1.2.3.11", "1.2.3.21", "1.2.3.22"]
    scan = read_image(result.folder / "imagesTs" / "LIDC-IDRI-0002_2_0000.nii.gz")
    np.testing.assert_array_equal(scan.array, index.scan.array)
    assert scan.grid.matches(GRID, 1e-3)
    assert not list((tmp_path / "downloads").rglob("*.dcm"))
    assert prepare("lidc", tmp_path).skipped == result.done
    assert len(index.fetched) == 3


def test_a_series_that_came_in_part_is_named(index: type[StandIn], tmp_path: Path) -> None:
    index.lose = 2
    result = prepare("lidc", tmp_path)
    assert result.exit_code == 1
    assert (
        "series 1.2.3.11 of LIDC-IDRI-0001: 6 of 8 files came; run it again"
        in result.failed["LIDC-IDRI-0001"]
    )
    index.lose = 0
    assert len(prepare("lidc", tmp_path).done) == 3


def test_a_transfer_that_fails_is_named(
    index: type[StandIn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: StandIn, **_: Any) -> None:
        raise SystemError("s5cmd says no")

    monkeypatch.setattr(index, "download_from_selection", fail)
    assert "s5cmd says no" in prepare("lidc", tmp_path).failed["LIDC-IDRI-0001"]


def test_without_the_extra_and_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "idc_index", None)
    with pytest.raises(UsageError, match=r"pip install 'medlsam\[idc\]', or give your copy with --from"):
        prepare("lidc", tmp_path)
    monkeypatch.setenv("MEDLSAM_OFFLINE", "1")
    with pytest.raises(DownloadError, match="MEDLSAM_OFFLINE is set"):
        prepare("lidc", tmp_path)


def test_an_empty_index_is_named(
    index: type[StandIn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = SimpleNamespace(index=Table([{"collection_id": "x", "Modality": "CT"}]))
    monkeypatch.setattr(sys.modules["idc_index"], "IDCClient", lambda: empty)
    with pytest.raises(DownloadError, match="lists no CT series of lidc_idri"):
        prepare("lidc", tmp_path)
