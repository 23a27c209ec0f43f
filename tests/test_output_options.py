"""Which files are written for each scan."""

from pathlib import Path

from medlsam.export.formats import FORMATS as WRITTEN
from medlsam.output_options import FORMATS, OutputOptions


def test_every_format_is_in_the_table_that_writes_them() -> None:
    assert tuple(WRITTEN) == FORMATS


def test_formats_come_in_one_order_and_with_the_label_map() -> None:
    assert OutputOptions().format == ("nifti",)
    wanted = ("nifti", "dicom-seg", "slicer")
    for given in ("slicer,dicom-seg", "slicer, nifti ,dicom-seg,", ["dicom-seg", "slicer"]):
        assert OutputOptions(format=given).format == wanted  # type: ignore[arg-type]


def test_the_reference_series_is_kept_absolute(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert OutputOptions(reference_series="ct").reference_series == str(tmp_path / "ct")
    assert OutputOptions().reference_series is None
