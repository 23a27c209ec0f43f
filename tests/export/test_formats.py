"""The table of formats: what is refused before any work, which series is taken, and what is written."""

import xml.etree.ElementTree as ElementTree
import zipfile
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medlsam.errors import GeometryError, UsageError, VolumeError
from medlsam.export.formats import FORMATS, OUTPUT_FILES, check_outputs, open_series, write_outputs
from medlsam.geometry import Grid
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.output_options import OutputOptions
from medlsam.volume import Image, LabelMap
from tests.support.data.found_structures import (
    LYING,
    NAMES,
    ORIGIN,
    SHAPE,
    SPACING,
    draw_labels,
    read_ct,
    segmentation_of,
    series_with_structures,
)
from tests.support.dicom_objects import segments_on, structures_in

ALL = OutputOptions(format="nifti,dicom-seg,rtstruct,slicer", per_structure=True)  # type: ignore[arg-type]
DICOM = OutputOptions(format="dicom-seg,rtstruct")  # type: ignore[arg-type]


def names_in(folder):
    return {f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()}


def test_every_format_writes_its_files(tmp_path):
    image = read_ct(tmp_path / "ct", Grid(SHAPE, SPACING, ORIGIN))
    found = segmentation_of(draw_labels(SHAPE), image.grid, image.source)
    assert write_outputs(found, tmp_path / "out", ALL, open_series(image, ALL, "a")) == []
    structures = {f"structures/{name}.nii.gz" for name in ("liver", "LeftParotid", "Łódź_7")}
    # These structures have neither points nor boxes.
    markups = {"points.mrk.json", "boxes.mrk.json"}
    assert names_in(tmp_path / "out") == (set(OUTPUT_FILES) - markups) | structures


def test_names_travel_in_the_label_map(tmp_path):
    image = read_ct(tmp_path / "ct", Grid(SHAPE, SPACING, ORIGIN))
    write_outputs(
        segmentation_of(draw_labels(SHAPE), image.grid, image.source), tmp_path, OutputOptions(), None
    )
    (extension,) = nibabel.load(tmp_path / "segmentation.nii.gz").header.extensions
    labels = ElementTree.fromstring(extension.get_content()).iter("Label")
    assert {int(label.get("Key")): label.text for label in labels} == NAMES


def test_the_label_map_has_the_colours_of_the_other_files(tmp_path):
    image = read_ct(tmp_path / "ct", Grid(SHAPE, SPACING, ORIGIN))
    found = segmentation_of(draw_labels(SHAPE), image.grid, image.source)
    write_outputs(found, tmp_path / "out", OutputOptions(format="nifti,slicer"), None)
    (extension,) = nibabel.load(tmp_path / "out" / "segmentation.nii.gz").header.extensions
    table = ElementTree.fromstring(extension.get_content())
    own = {
        label.text: [float(label.get(part)) for part in ("Red", "Green", "Blue")]
        for label in table.iter("Label")
    }
    read = sitk.ReadImage(str(tmp_path / "out" / "segmentation.seg.nrrd"))
    keys = [key for key in read.GetMetaDataKeys() if key.endswith("_Name")]
    for key in keys:
        colour = [float(part) for part in read.GetMetaData(key.replace("_Name", "_Color")).split()]
        assert own[read.GetMetaData(key)] == pytest.approx(colour, abs=0.01)
    assert keys


@pytest.mark.parametrize("name", FORMATS)
def test_one_format_writes_the_label_map_and_its_own(tmp_path, name):
    image = read_ct(tmp_path / "ct", Grid(SHAPE, SPACING, ORIGIN))
    found = segmentation_of(draw_labels(SHAPE), image.grid, image.source)
    options = OutputOptions(format=name)  # type: ignore[arg-type]
    write_outputs(found, tmp_path / "out", options, open_series(image, options, "a"))
    written = names_in(tmp_path / "out")
    assert "segmentation.nii.gz" in written
    assert written - {"segmentation.nii.gz"} <= set(FORMATS[name].files)


def test_a_scan_without_structures_warns(tmp_path):
    image = read_ct(tmp_path / "ct", Grid(SHAPE, SPACING, ORIGIN))
    empty = segmentation_of(np.zeros(SHAPE, np.uint8), image.grid, image.source)
    warnings = write_outputs(empty, tmp_path / "out", ALL, open_series(image, ALL, "a"))
    assert [text.split(":")[0] for text in warnings] == ["dicom-seg", "rtstruct"]
    assert names_in(tmp_path / "out") == {"segmentation.nii.gz", "segmentation.seg.nrrd"}


def test_no_series_is_read_where_none_is_needed(tmp_path):
    image = read_ct(tmp_path / "ct", Grid(SHAPE, SPACING, ORIGIN))
    gone = Image(image.array, image.grid, replace(image.source, files=(tmp_path / "gone.dcm",)))
    assert open_series(gone, OutputOptions(format="slicer", per_structure=True), "a") is None  # type: ignore[arg-type]
    with pytest.raises(VolumeError, match=r"gone\.dcm"):
        open_series(gone, DICOM, "a")


def nifti_of(series: Image, path: Path) -> Image:
    write_volume(series, path)
    return read_image(path)


@pytest.mark.parametrize("lying", LYING)
@pytest.mark.parametrize("folder", ["series", "series/a", "."])
def test_a_nifti_scan_is_written_into_its_reference_series(tmp_path, lying, folder):
    series = read_ct(tmp_path / "series" / "a", Grid(SHAPE, SPACING, ORIGIN, LYING[lying]))
    scan = nifti_of(series, tmp_path / "scan.nii.gz")
    options = replace(DICOM, reference_series=str(tmp_path / folder))
    found = segmentation_of(draw_labels(SHAPE), scan.grid, scan.source)
    write_outputs(found, tmp_path / "out", options, open_series(scan, options, "a"))
    masks = segments_on(tmp_path / "out" / "segmentation.dcm", series.grid)
    outlines = structures_in(tmp_path / "out" / "rtstruct.dcm", series.source.files)
    for value, name in NAMES.items():
        if name in masks:
            np.testing.assert_array_equal(masks[name], found.labels.array == value)
            np.testing.assert_array_equal(outlines[name], found.labels.array == value)


def test_a_scan_without_a_series_is_refused(tmp_path):
    series = read_ct(tmp_path / "ct", Grid(SHAPE, SPACING, ORIGIN))
    scan = nifti_of(series, tmp_path / "scan.nii.gz")
    with pytest.raises(
        VolumeError, match=r"scan\.nii\.gz: dicom-seg, rtstruct refer .* is no DICOM; name its series"
    ):
        open_series(scan, DICOM, "a")
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        for file in series.source.files:
            archive.write(file, file.name)
    zipped = read_image(tmp_path / "ct.zip")
    with pytest.raises(VolumeError, match=r"ct\.zip: .* was read from a zip"):
        open_series(zipped, DICOM, "a")
    assert open_series(zipped, replace(DICOM, reference_series=str(tmp_path / "ct")), "a") is not None
    other = nifti_of(
        Image(series.array[1:], Grid((8, *SHAPE[1:]), SPACING, ORIGIN)), tmp_path / "part.nii.gz"
    )
    with pytest.raises(GeometryError, match=r"no series here has the voxels of .*part\.nii\.gz"):
        open_series(other, replace(DICOM, reference_series=str(tmp_path / "ct")), "a")


def test_the_scans_own_series_counts_before_a_reference(tmp_path):
    image = read_ct(tmp_path / "ct", Grid(SHAPE, SPACING, ORIGIN))
    read_ct(tmp_path / "other", Grid(SHAPE, SPACING, ORIGIN), series="2")
    series = open_series(image, replace(DICOM, reference_series=str(tmp_path / "other")), "a")
    assert series is not None
    assert series.uid == image.source.series_uid


def test_a_label_map_turned_since_is_written_where_it_lies(tmp_path):
    found = series_with_structures(tmp_path / "ct", LYING["prone"])
    turned = found.labels.derived(found.labels.array[::-1, ::-1, ::-1], _turned(found.labels.grid))
    image = Image(np.zeros(SHAPE, np.int16), turned.grid, turned.source)
    write_outputs(replace(found, labels=turned), tmp_path / "out", DICOM, open_series(image, DICOM, "a"))
    masks = segments_on(tmp_path / "out" / "segmentation.dcm", found.labels.grid)
    np.testing.assert_array_equal(masks["liver"], found.labels.array == 1)
    assert isinstance(turned, LabelMap)


def _turned(grid):
    corner = grid.ijk_to_lps(np.subtract(grid.shape_zyx[::-1], 1))
    return Grid(grid.shape_zyx, grid.spacing_xyz, tuple(corner), tuple(-np.asarray(grid.direction)))


def test_calls_that_no_scan_can_satisfy(tmp_path):
    for name in ("a.nii.gz", "b.mha"):
        (tmp_path / name).touch()
    files = [tmp_path / "a.nii.gz", tmp_path / "b.mha"]
    with pytest.raises(
        UsageError, match=r"dicom-seg, rtstruct: the scans are no DICOM.*--reference-series DIR"
    ):
        check_outputs(DICOM, files)
    # One that may be DICOM is told by itself; scans that are not there as well.
    check_outputs(DICOM, [*files, tmp_path])
    check_outputs(DICOM, [tmp_path / "gone.nii.gz"])
    check_outputs(OutputOptions(), files)
    check_outputs(replace(DICOM, reference_series=str(tmp_path)), files)
    with pytest.raises(UsageError, match="is for the formats dicom-seg and rtstruct: ask for one"):
        check_outputs(OutputOptions(reference_series=str(tmp_path)), files)
    with pytest.raises(UsageError, match=r"gone: no such folder; give that of the DICOM series"):
        check_outputs(replace(DICOM, reference_series=str(tmp_path / "gone")), files)
