"""Label maps from files."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medlsam.errors import VolumeError
from medlsam.io.labels import read_label_map
from medlsam.volume import LabelMap, Source, to_canonical
from tests.support.data.orientations import oblique


def test_label_maps_are_small_unsigned_numbers(tmp_path):
    for value, dtype in ((255, np.uint8), (300, np.uint16)):
        array = np.zeros((4, 4, 4), np.float32)
        array[1, 2, 3] = value
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "l.nii.gz"))
        again = read_label_map(tmp_path / "l.nii.gz")
        assert again.array.dtype == dtype
        assert again.array[1, 2, 3] == value


@pytest.mark.parametrize("value", [0.5, -1.0, 70000.0])
def test_what_is_no_label_map_is_refused(tmp_path, value):
    array = np.zeros((4, 4, 4), np.float32)
    array[1, 2, 3] = value
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "l.nii.gz"))
    with pytest.raises(VolumeError, match=rf"l\.nii\.gz: not a label map: values .*{value:g}"):
        read_label_map(tmp_path / "l.nii.gz")


def test_whole_floats_are_a_label_map_wherever_it_lies(tmp_path):
    array = np.random.default_rng(0).choice([0, 2, 9], (20, 22, 24)).astype(np.float32)
    image = sitk.GetImageFromArray(array)
    image.SetDirection(oblique(20))
    sitk.WriteImage(image, str(tmp_path / "l.nii.gz"))
    found = read_label_map(tmp_path / "l.nii.gz")
    assert isinstance(found, LabelMap)
    assert found.source == Source(tmp_path / "l.nii.gz")
    np.testing.assert_array_equal(found.array, array)
    assert np.unique(to_canonical(found).array).tolist() == [0, 2, 9]
