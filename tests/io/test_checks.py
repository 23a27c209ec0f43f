"""What belongs together: labels with names, label maps with scans."""

from __future__ import annotations

import numpy as np
import pytest

from medlsam.errors import GeometryError, TemplateError, VolumeError
from medlsam.geometry import Grid
from medlsam.io.checks import check_labels, check_same_grid
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.volume import (
    Image,
    LabelMap,
    Source,
)
from tests.support.data.orientations import oblique


def test_empty_and_unnamed_labels_are_refused(tmp_path):
    grid = Grid((4, 4, 4))
    labels = np.zeros(grid.shape_zyx, np.uint8)
    with pytest.raises(VolumeError, match=r"a\.nii\.gz: the label map is empty"):
        check_labels(LabelMap(labels, grid, Source(tmp_path / "a.nii.gz")), {1: "liver"})
    labels[0, 0, :2] = (1, 9)
    with pytest.raises(TemplateError, match=r"a\.nii\.gz: value 9 has no name .*known: 1 liver"):
        check_labels(LabelMap(labels, grid, Source(tmp_path / "a.nii.gz")), {1: "liver"})
    check_labels(LabelMap(labels, grid), {1: "liver", 9: "spleen", 10: "not drawn"})


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Grid((4, 5, 7), (1.0, 1.0, 2.0)), "7 x 5 x 4 voxels against 6 x 5 x 4"),
        (Grid((4, 5, 6), (1.0, 1.0, 2.5)), r"spacing is \[1.0, 1.0, 2.5\] against"),
        (Grid((4, 5, 6), (1.0, 1.0, 2.0), (0.0, 0.0, 3.0)), r"3.0 mm apart; origin is \[0.0, 0.0, 3.0\]"),
        (Grid((4, 5, 6), (1.0, 1.0, 2.0), direction=oblique(5)), "direction is"),
    ],
)
def test_labels_on_another_grid_are_refused_naming_both(tmp_path, other, words):
    grid = Grid((4, 5, 6), (1.0, 1.0, 2.0))
    image = Image(np.zeros(grid.shape_zyx, np.int16), grid, Source(tmp_path / "image.nrrd"))
    check_same_grid(image, image)
    labels = LabelMap(np.zeros(other.shape_zyx, np.uint8), other, Source(tmp_path / "labels.nrrd"))
    with pytest.raises(GeometryError, match=words) as caught:
        check_same_grid(image, labels)
    assert "labels.nrrd" in str(caught.value)
    assert "image.nrrd" in str(caught.value)


@pytest.mark.realdata
def test_real_scans_are_read_and_pictures_of_scans_are_not(real_ct):
    scans = [
        *sorted(real_ct.glob("body/*/image.nii.gz")),
        *sorted(real_ct.glob("lesions/sts_*/image.nii.gz"))[::4],
    ]
    scans += sorted(real_ct.glob("openkbp/imagesTr/*.nii.gz"))[::25]
    assert len(scans) > 20
    for path in scans:
        scan = read_image(path)
        assert scan.array.dtype == np.int16, path
        assert scan.array.min() >= -1024
        labels = path.with_name("labels.nii.gz")
        if labels.is_file():
            check_same_grid(scan, read_label_map(labels))
    pictures = sorted(real_ct.glob("lesions/deeplesion_*/image.nii.gz"))
    assert pictures
    for path in pictures:
        with pytest.raises(VolumeError, match=r"values 0 to 255.*8-bit"):
            read_image(path)
