from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medlsam.geometry import Grid
from medlsam.measure.place import Slices, edge_distance, instance_numbers, mask_center
from medlsam.volume import Source


def slice_file(path: Path, number: object) -> Path:
    """A DICOM file with nothing but an Instance Number."""
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"1.2.3.{path.stem}"
    if number is not None:
        header.InstanceNumber = number
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pydicom.dcmwrite(path, header, enforce_file_format=True)
    return path


def source(folder: Path, numbers: list[Any], **more: Any) -> Source:
    files = tuple(slice_file(folder / f"{index}.dcm", number) for index, number in enumerate(numbers))
    return Source(folder, files=files, **{"grid_is_scanners": True} | more)


PLACE = (slice(1, 3), slice(4, 6), slice(0, 2))


def test_slices_are_counted_as_the_scanner_counts_them(tmp_path: Path) -> None:
    # From head to feet, as many scanners do: the lowest slice has the highest number.
    scan = source(tmp_path, [104, 103, 102, 101])
    assert instance_numbers(scan) == [104, 103, 102, 101]
    assert Slices(Grid((4, 8, 9)), scan).of(PLACE) == (102, 103, "instance")


def test_frames_of_one_file_are_counted_from_1(tmp_path: Path) -> None:
    scan = Source(tmp_path, files=(tmp_path / "all.dcm",), frames=(3, 2, 1, 0), grid_is_scanners=True)
    assert Slices(Grid((4, 8, 9)), scan).of(PLACE) == (2, 3, "instance")


@pytest.mark.parametrize("numbers", [[1, 2, None, 4], [1, 2, 2, 3], ["", 1, 2, 3]])
def test_without_usable_numbers_slices_are_counted_by_index(tmp_path: Path, numbers: list[Any]) -> None:
    assert Slices(Grid((4, 8, 9)), source(tmp_path, numbers)).of(PLACE) == (2, 3, "index")


def test_a_resampled_scan_and_lost_files_have_no_numbers(tmp_path: Path) -> None:
    assert instance_numbers(source(tmp_path, [1, 2], grid_is_scanners=False)) is None
    scan = source(tmp_path, [1, 2])
    scan.files[1].unlink()
    assert instance_numbers(scan) is None
    assert instance_numbers(Source()) is None


def test_the_index_counts_from_the_feet() -> None:
    down = Grid((4, 8, 9), direction=(1, 0, 0, 0, -1, 0, 0, 0, -1))
    assert Slices(down, Source()).of(PLACE) == (2, 3, "index")
    assert Slices(down, Source()).of((slice(0, 1), *PLACE[1:])) == (4, 4, "index")
    # Stored by columns: the patient's axis is that of the array's last one.
    turned = Grid((4, 8, 9), direction=(0, 0, 1, 0, 1, 0, 1, 0, 0))
    assert Slices(turned, Source()).of(PLACE) == (1, 2, "index")


def test_of_equal_distances_the_one_along_the_patient_counts() -> None:
    assert edge_distance((slice(2, 8),) * 3, Grid((10, 10, 10))) == (2.0, "z+")
    assert edge_distance((slice(2, 8), slice(1, 8), slice(3, 8)), Grid((10, 10, 10))) == (1.0, "y-")


def test_an_oblique_scan_names_the_nearest_patient_axis() -> None:
    c, s = np.cos(0.3), np.sin(0.3)
    grid = Grid((10, 10, 10), (1.0, 1.0, 2.0), direction=(1, 0, 0, 0, c, -s, 0, s, c))
    assert edge_distance((slice(4, 5), slice(8, 10), slice(4, 5)), grid) == (0.0, "y+")
    assert edge_distance((slice(1, 5), slice(4, 5), slice(4, 5)), grid) == (2.0, "z-")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_center_is_the_mean_of_all_voxels(seed: int) -> None:
    mask = np.random.default_rng(seed).random((3, 4, 5)) < 0.3
    mask[1, 2, 3] = True
    grid = Grid((9, 9, 9), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0), (0, -1, 0, 0, 0, 1, 1, 0, 0))
    voxels = np.argwhere(mask) + np.array([2, 3, 1])
    expected = grid.ijk_to_lps(voxels[:, ::-1]).mean(axis=0)
    assert mask_center(mask, (slice(2, 5), slice(3, 7), slice(1, 6)), grid) == pytest.approx(expected)
