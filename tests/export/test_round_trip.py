"""Every kind of scan, however it lies, into every output, read back by other programs: where does a voxel end up?

``python -m pytest tests/export/test_round_trip.py -s`` prints the table: for each output the largest distance, mm,
between where a voxel of a structure was drawn and where the output has it; voxels of outlines are the pixels whose
centres lie inside. A segment's voxels are compared as a mask on the scan's grid.
"""

import json
import zipfile
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from scipy.spatial import cKDTree

from medlsam.export.formats import open_series, write_outputs
from medlsam.export.slicer_markups import write_markups
from medlsam.geometry import ExtremePoints, Grid, mask_box
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.output_options import OutputOptions
from medlsam.results import Localization, LocatedStructure
from medlsam.volume import Image
from tests.support.data.dicom_files import write_ct
from tests.support.data.dicom_series import write_enhanced
from tests.support.data.found_structures import (
    DOT,
    FRAMES,
    HOLLOW,
    LYING,
    NAMES,
    ORIGIN,
    PIECES,
    SHAPE,
    SPACING,
    draw_labels,
    segmentation_of,
)
from tests.support.data.orientations import ORIENTATIONS
from tests.support.dicom_objects import pixel_places, segments_on, structures_in

ALL = OutputOptions(format="dicom-seg,rtstruct,slicer", per_structure=True)
INPUTS = ("dicom", "dicom, zipped", "dicom, multi-frame", "nii.gz", "nrrd", "mha")
VALUES = (HOLLOW, PIECES, DOT)


def stored(kind, scan, folder):
    """Write a scan as one of the inputs; its path, and the series that it was made from."""
    series = folder / "series"
    files = write_ct(scan, series)
    if kind == "dicom":
        return series, series
    if kind == "dicom, zipped":
        with zipfile.ZipFile(folder / "a.zip", "w") as archive:
            for file in files:
                archive.write(file, file.name)
        return folder / "a.zip", series
    if kind == "dicom, multi-frame":
        write_enhanced(scan, folder / "a.dcm", FRAMES)
        return folder / "a.dcm", series
    write_volume(scan, folder / f"a.{kind}")
    return folder / f"a.{kind}", series


def drawn_in(scan, image):
    """The structures of the scan as it was drawn, voxel for voxel, on the grid as it was read."""
    kji = np.indices(image.array.shape).reshape(3, -1).T
    ijk = scan.grid.lps_to_ijk(image.grid.ijk_to_lps(kji[:, ::-1]))
    assert np.abs(ijk - np.rint(ijk)).max() < 0.01
    k, j, i = np.rint(ijk).astype(int)[:, ::-1].T
    return draw_labels(SHAPE)[k, j, i].reshape(image.array.shape)


def apart(found, scan, value):
    """The largest distance, mm, between the voxels found (N, 3) and those drawn; each has its own partner."""
    k, j, i = np.nonzero(draw_labels(SHAPE) == value)
    drawn = scan.grid.ijk_to_lps(np.stack([i, j, k], axis=1))
    assert len(found) == len(drawn)
    distances, partners = cKDTree(drawn).query(found)
    assert len(set(partners.tolist())) == len(drawn)
    return float(distances.max())


def nifti_voxels(path, value):
    """Where a NIfTI file has the voxels of a value, LPS mm, as nibabel reads it."""
    read = nibabel.load(path)
    ijk = np.argwhere(np.asarray(read.dataobj) == value)
    return nibabel.affines.apply_affine(np.diag([-1, -1, 1, 1]) @ read.affine, ijk)


def nrrd_voxels(path, value):
    """Where a NRRD file has the voxels of a value, LPS mm, as SimpleITK reads it."""
    read = sitk.ReadImage(str(path))
    kji = np.argwhere(sitk.GetArrayFromImage(read) == value)
    return np.asarray([read.TransformIndexToPhysicalPoint(index[::-1].tolist()) for index in kji])


def markups_apart(found, image, folder):
    """The largest distance, mm, between boxes and points as located and as plain JSON in LPS."""
    boxes = {
        name: mask_box(found.labels.array == value, image.grid)
        for value, name in NAMES.items()
        if value in VALUES
    }
    points = {
        name: ExtremePoints.from_mask(found.labels.array == value, image.grid)
        for value, name in NAMES.items()
        if value in VALUES
    }
    located = {
        name: LocatedStructure(name, "found", 0.9, points=points[name], box=box)
        for name, box in boxes.items()
    }
    write_markups(Localization("a", located), folder)
    worst = 0.0
    for node in json.loads((folder / "boxes.mrk.json").read_text(encoding="utf-8"))["markups"]:
        assert node["coordinateSystem"] == "LPS"
        size = np.abs(np.reshape(node["orientation"], (3, 3))) @ node["size"]
        faces = np.stack([np.asarray(node["center"]) - size / 2, np.asarray(node["center"]) + size / 2])
        worst = max(worst, float(np.abs(faces - [boxes[node["name"]].min, boxes[node["name"]].max]).max()))
    for node in json.loads((folder / "points.mrk.json").read_text(encoding="utf-8"))["markups"]:
        placed = [control["position"] for control in node["controlPoints"]]
        worst = max(worst, float(np.abs(np.asarray(placed) - points[node["name"]].array).max()))
    return worst


@pytest.mark.parametrize("lying", LYING)
@pytest.mark.parametrize("kind", INPUTS)
def test_every_voxel_comes_back_to_its_place(tmp_path, kind, lying):
    noise = np.random.default_rng(1).integers(-900, 900, SHAPE).astype(np.int16)
    scan = Image(noise, Grid(SHAPE, SPACING, ORIGIN, LYING[lying]))
    path, series = stored(kind, scan, tmp_path)
    image = read_image(path)
    found = segmentation_of(drawn_in(scan, image), image.grid, image.source)
    options = ALL if image.source.files else replace(ALL, reference_series=str(series))
    out = tmp_path / "out"
    opened = open_series(image, options, "a")
    assert write_outputs(found, out, options, opened) == []
    files = (
        [tmp_path / "a.dcm"]
        if kind == "dicom, multi-frame"
        else [header.filename for header in opened.headers]
    )
    outlines = structures_in(out / "rtstruct.dcm", files, image.source.frames)
    places = pixel_places(files, image.source.frames)
    segments = segments_on(out / "segmentation.dcm", scan.grid)
    errors = {"markups": markups_apart(found, image, out)}
    for value in VALUES:
        name = NAMES[value]
        own = out / "structures" / f"{name.replace(' ', '_')}.nii.gz"
        np.testing.assert_array_equal(segments[name], draw_labels(SHAPE) == value)
        for output, voxels in (
            ("nifti", nifti_voxels(out / "segmentation.nii.gz", value)),
            ("per structure", nifti_voxels(own, 1)),
            ("slicer", nrrd_voxels(out / "segmentation.seg.nrrd", value)),
            ("rtstruct", places[outlines[name]]),
        ):
            errors[output] = max(errors.get(output, 0.0), apart(voxels, scan, value))
    print(f"\n{kind:20} {lying:12}", *(f"{output} {error:.0e}  " for output, error in errors.items()), end="")
    # What the headers are rounded to: single precision in NIfTI, six digits in the series.
    assert max(errors.values()) < 0.001


@pytest.mark.parametrize("kind", ["nii.gz", "nrrd"])
def test_all_48_ways_to_store_the_voxels_of_one_series(tmp_path, kind):
    """The same voxels, flipped and transposed in every way, into outputs that lie in the series' own slices."""
    noise = np.random.default_rng(1).integers(-900, 900, SHAPE).astype(np.int16)
    scan = Image(noise, Grid(SHAPE, SPACING, ORIGIN, LYING["oblique"]))
    files = write_ct(scan, tmp_path / "series")
    places, worst = pixel_places(files, ()), 0.0
    for order, signs in ORIENTATIONS:
        stored_as = turned(scan, order, signs)
        write_volume(stored_as, tmp_path / f"a.{kind}")
        image = read_image(tmp_path / f"a.{kind}")
        found = segmentation_of(drawn_in(scan, image), image.grid, image.source)
        options = replace(
            ALL, format=("rtstruct",), per_structure=False, reference_series=str(tmp_path / "series")
        )
        out = tmp_path / "out"
        assert write_outputs(found, out, options, open_series(image, options, "a")) == []
        write_volume(found.labels, out / "segmentation.nii.gz")
        outlines = structures_in(out / "rtstruct.dcm", files, ())
        for value in VALUES:
            for voxels in (nifti_voxels(out / "segmentation.nii.gz", value), places[outlines[NAMES[value]]]):
                worst = max(worst, apart(voxels, scan, value))
    print(f"\n{kind}, 48 axis orders of an oblique scan: {worst:.0e} mm", end="")
    assert worst < 0.001


def turned(scan, order, signs):
    """The same voxels stored with other axes: array axis n runs along the scan's axis ``order[n]``, or against it."""
    array = scan.array.transpose(order)
    array = array[tuple(slice(None, None, sign) for sign in signs)]
    shape, matrix = scan.array.shape, scan.grid.matrix[:, ::-1]  # columns are the steps of array axes
    origin = np.asarray(scan.grid.origin_xyz)
    steps = []
    for axis, sign in zip(order, signs, strict=True):
        steps.append(sign * matrix[:, axis])
        if sign < 0:
            origin = origin + (shape[axis] - 1) * matrix[:, axis]
    columns = np.stack(steps[::-1], axis=1)
    spacing = np.linalg.norm(columns, axis=0)
    direction = tuple((columns / spacing).ravel())
    return Image(np.ascontiguousarray(array), Grid(array.shape, tuple(spacing), tuple(origin), direction))
