"""A hospital's series: the outputs hold the same masks, and dciodvfy has nothing against them that is ours."""

import json

import numpy as np
import pytest

from medlsam.export.formats import open_series, write_outputs
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.measure.metrics import dice
from medlsam.output_options import OutputOptions
from tests.support.data.found_structures import segmentation_of
from tests.support.dicom_objects import conformance_errors, needs_dciodvfy, segments_on, structures_in

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def outputs(real_ct, tmp_path_factory):
    """The 31 structures of the series' labels, written; and the scan."""
    folder = tmp_path_factory.mktemp("real")
    image = read_image(real_ct / "dicom" / "ts_example")
    labels = read_label_map(real_ct / "body" / "ts_example_dicom" / "labels.nii.gz")
    listed = json.loads((real_ct / "body" / "ts_example_dicom" / "labels.json").read_text())
    assert labels.grid.matches(image.grid)
    found = segmentation_of(
        labels.array, image.grid, image.source, {value: name for name, value in listed.items()}
    )
    options = OutputOptions(format="dicom-seg,rtstruct")
    assert write_outputs(found, folder, options, open_series(image, options, "a")) == []
    return folder, found


def test_the_segmentation_is_the_same_mask(outputs):
    folder, found = outputs
    masks = segments_on(folder / "segmentation.dcm", found.labels.grid)
    assert set(masks) == set(found.names.values())
    for value, name in found.names.items():
        np.testing.assert_array_equal(masks[name], found.labels.array == value)


def test_the_structure_set_is_the_same_mask(outputs):
    folder, found = outputs
    masks = structures_in(folder / "rtstruct.dcm", found.labels.source.files)
    scores = {name: dice(masks[name], found.labels.array == value) for value, name in found.names.items()}
    assert len(scores) == 31
    assert min(scores.values()) == 1.0


@needs_dciodvfy
@pytest.mark.parametrize("name", ["segmentation.dcm", "rtstruct.dcm"])
def test_dciodvfy_finds_no_error(outputs, name):
    folder, found = outputs
    # The series itself has some (its UIDs are empty); none of them is handed on.
    assert conformance_errors(found.labels.source.files[0])
    assert conformance_errors(folder / name) == set()
