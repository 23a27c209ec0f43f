"""``.seg.nrrd``: the label map as it is, and in the header what Slicer reads."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medlsam.errors import VolumeError
from medlsam.export.anatomy import colour_of
from medlsam.export.slicer_segmentation import write_slicer_segmentation
from medlsam.geometry import Grid
from medlsam.volume import LabelMap, Source
from tests.support.data.found_structures import (
    LYING,
    NAMES,
    ORIGIN,
    SHAPE,
    SPACING,
    draw_labels,
    segmentation_of,
)


def fields_of(path):
    """The header's own lines, and the values behind it."""
    data = path.read_bytes()
    head, body = data.split(b"\n\n", 1)
    lines = head.decode().splitlines()
    fields = dict(line.split(":=", 1) for line in lines if ":=" in line)
    return fields, dict(line.split(": ", 1) for line in lines if ":=" not in line and ": " in line), body


@pytest.mark.parametrize("lying", LYING)
def test_the_label_map_is_the_same(tmp_path, lying):
    grid = Grid(SHAPE, SPACING, ORIGIN, LYING[lying])
    found = segmentation_of(draw_labels(SHAPE), grid, Source())
    write_slicer_segmentation(found, tmp_path / "a.seg.nrrd")
    again = sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(again), found.labels.array)
    assert again.GetSpacing() == pytest.approx(grid.spacing_xyz)
    assert again.GetOrigin() == pytest.approx(grid.origin_xyz)
    assert again.GetDirection() == pytest.approx(grid.direction, abs=1e-9)


def test_what_slicer_reads(tmp_path):
    found = segmentation_of(draw_labels(SHAPE), Grid(SHAPE, SPACING, ORIGIN), Source())
    write_slicer_segmentation(found, tmp_path / "a.seg.nrrd")
    fields, standard, body = fields_of(tmp_path / "a.seg.nrrd")
    assert (standard["space"], standard["type"]) == ("left-posterior-superior", "unsigned short")
    assert np.frombuffer(gzip.decompress(body), "<u2").reshape(SHAPE).max() == 7
    assert fields["Segmentation_MasterRepresentation"] == "Binary labelmap"
    assert fields["Segmentation_ContainedRepresentationNames"] == "Binary labelmap|"
    assert fields["Segmentation_ReferenceImageExtentOffset"] == "0 0 0"
    assert [fields[f"Segment{n}_LabelValue"] for n in range(4)] == ["1", "2", "7", "300"]
    assert [fields[f"Segment{n}_Name"] for n in range(4)] == list(NAMES.values())
    assert {fields[f"Segment{n}_Layer"] for n in range(4)} == {"0"}
    assert fields["Segment0_Extent"] == "5 19 4 17 2 5"
    assert fields["Segment2_Extent"] == "28 28 23 23 6 6"
    assert fields["Segment3_Extent"] == "0 -1 0 -1 0 -1"
    colour = [float(part) * 255 for part in fields["Segment1_Color"].split()]
    assert colour == pytest.approx(colour_of("LeftParotid"), abs=1e-3)
    assert fields["Segment1_Tags"] == (
        "Segmentation.Status:inprogress|TerminologyEntry:Segmentation category and type - 3D Slicer General Anatomy "
        "list~SCT^91723000^Anatomical Structure~SCT^45289007^Parotid gland~SCT^7771000^Left~Anatomic codes - DICOM "
        "master list~^^~^^|"
    )
    assert "Segment4_Name" not in fields


def test_names_do_not_break_the_header(tmp_path):
    names = {1: "a:=b\nc", 2: "x~y^z|w", 7: "kidney_cyst_left"}
    found = replace(segmentation_of(draw_labels(SHAPE), Grid(SHAPE), Source()), names=names)
    write_slicer_segmentation(found, tmp_path / "a.seg.nrrd")
    fields, _, _ = fields_of(tmp_path / "a.seg.nrrd")
    assert (fields["Segment0_Name"], fields["Segment1_Name"]) == ("a:=b c", "x~y^z|w")
    assert "~99MEDLSAM" not in fields["Segment1_Name"]
    assert "^x y z w~" in fields["Segment1_Tags"]
    assert "SCT^367643001^Cyst~^^~" in fields["Segment2_Tags"]
    assert "SCT^64033007^Kidney~SCT^7771000^Left|" in fields["Segment2_Tags"]
    assert sitk.ReadImage(str(tmp_path / "a.seg.nrrd")).GetSize() == SHAPE[::-1]


def test_few_labels_take_one_byte(tmp_path):
    found = segmentation_of(draw_labels(SHAPE), Grid(SHAPE), Source(), {1: "liver", 2: "spleen", 7: "colon"})
    write_slicer_segmentation(found, tmp_path / "a.seg.nrrd")
    assert sitk.ReadImage(str(tmp_path / "a.seg.nrrd")).GetPixelID() == sitk.sitkUInt8


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    found = segmentation_of(np.zeros(SHAPE, np.uint8), Grid(SHAPE), Source())
    (tmp_path / "a.seg.nrrd").mkdir()
    with pytest.raises(VolumeError, match=r"a\.seg\.nrrd: cannot be written"):
        write_slicer_segmentation(found, tmp_path / "a.seg.nrrd")
    assert LabelMap(found.labels.array, found.labels.grid).array.sum() == 0
    assert [f.name for f in tmp_path.iterdir()] == ["a.seg.nrrd"]
