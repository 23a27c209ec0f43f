"""dciodvfy has nothing against the outputs, however the series is stored and however little it says."""

import numpy as np
import pytest
from pydicom import dcmread

from medlsam.export.formats import open_series, write_outputs
from medlsam.geometry import Grid
from medlsam.output_options import OutputOptions
from medlsam.volume import Image, Source
from tests.support.data.found_structures import (
    LYING,
    ORIGIN,
    SHAPE,
    SPACING,
    draw_labels,
    read_ct,
    segmentation_of,
)
from tests.support.data.multiframe_ct import write_multiframe
from tests.support.dicom_objects import conformance_errors, needs_dciodvfy

DICOM = OutputOptions(format="dicom-seg,rtstruct")
GRID = Grid(SHAPE, SPACING, ORIGIN)


def plain(folder):
    return read_ct(folder, GRID)


def oblique(folder):
    return read_ct(folder, Grid(SHAPE, SPACING, ORIGIN, LYING["oblique"]))


def tilted(folder):
    return read_ct(folder, GRID, shift_mm=(0.0, 0.63, 0.0))


def without_patient(folder):
    image = read_ct(folder, GRID)
    for file in image.source.files:
        header = dcmread(file)
        for name in ("PatientName", "PatientID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"):
            delattr(header, name)
        header.PatientAge, header.PatientWeight = "", ""
        header.save_as(file)
    return image


def multiframe(folder):
    image = Image(np.random.default_rng(0).integers(-900, 900, SHAPE).astype(np.int16), GRID)
    order = (3, 0, 8, 5, 7, 1, 4, 2, 6)
    write_multiframe(image, folder / "ct.dcm", order)
    frames = tuple(int(n) for n in np.argsort(order))
    source = Source(folder, "CT", "1.2.3", "1.2.3.4", (folder / "ct.dcm",), frames, grid_is_scanners=True)
    return Image(image.array, image.grid, source)


@needs_dciodvfy
@pytest.mark.parametrize("kind", [plain, oblique, tilted, without_patient, multiframe])
def test_outputs_conform(tmp_path, kind):
    image = kind(tmp_path / "ct")
    found = segmentation_of(draw_labels(image.array.shape), image.grid, image.source)
    write_outputs(found, tmp_path, DICOM, open_series(image, DICOM, "a"))
    for name in ("segmentation.dcm", "rtstruct.dcm"):
        assert conformance_errors(tmp_path / name) == set()
