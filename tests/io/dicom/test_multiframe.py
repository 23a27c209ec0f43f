"""Enhanced CT and other files of many frames: taken by their places, with each frame's own rescale, or refused."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest

from medlsam.errors import VolumeError
from medlsam.geometry import Grid
from medlsam.io.read import read_image
from tests.support.data.dicom_series import new_uids, save, slice_dataset, write_enhanced

TURNED = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
COUNT = 10


@pytest.fixture(scope="module", params=[(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0), TURNED])
def ct(request, make_ct):
    return make_ct(Grid((COUNT, 28, 32), (1.5, 2.0, 2.5), (-20.0, 10.0, 300.0), request.param))


def check(path, ct):
    found = read_image(path)
    assert found.grid.matches(ct.grid, 1e-3)
    np.testing.assert_array_equal(found.array, ct.array)
    return found


def refused(path, words):
    with pytest.raises(VolumeError, match=words) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "order",
    [
        list(range(COUNT)),
        list(range(COUNT))[::-1],
        [*range(0, COUNT, 2), *range(1, COUNT, 2)],
        np.random.default_rng(0).permutation(COUNT).tolist(),
    ],
)
def test_frames_are_taken_in_the_order_of_their_places(ct, tmp_path, order):
    write_enhanced(ct, tmp_path / "x.dcm", order)
    for path in (tmp_path / "x.dcm", tmp_path):
        found = check(path, ct)
        assert [order[frame] for frame in found.source.frames] == list(range(COUNT))
        assert found.source.files == (tmp_path / "x.dcm",)
        assert found.source.grid_is_scanners


def test_each_frame_has_its_own_rescale(ct, tmp_path):
    write_enhanced(ct, tmp_path / "x.dcm", intercept=lambda n: -1024 if n % 2 else -2047)
    check(tmp_path / "x.dcm", ct)


def test_a_missing_frame_is_refused_as_a_missing_slice(ct, tmp_path):
    write_enhanced(ct, tmp_path / "x.dcm", [n for n in range(COUNT) if n not in (4, 5)])
    refused(tmp_path / "x.dcm", r"not evenly spaced: usually 2\.5 mm, 7\.5 mm after slice 4 of 8")


def test_frames_without_places_are_refused(ct, tmp_path):
    write_enhanced(ct, tmp_path / "x.dcm", positions=False)
    refused(tmp_path / "x.dcm", "10 of 10 frames have no Plane Position of their own")


def test_frames_at_one_place_are_refused(ct, tmp_path):
    write_enhanced(ct, tmp_path / "x.dcm", [*range(COUNT), 3])
    refused(tmp_path / "x.dcm", "1 slices lie at the place of another")


def test_frames_without_spacing_or_of_several_are_refused(ct, tmp_path):
    def none(data):
        del data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence

    def several(data):
        shared = data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
        for n, frame in enumerate(data.PerFrameFunctionalGroupsSequence):
            frame.PixelMeasuresSequence = [deepcopy(shared[0])]
            frame.PixelMeasuresSequence[0].PixelSpacing = [2, 1.5 if n < 5 else 1.7]

    write_enhanced(ct, tmp_path / "none.dcm", change=none)
    refused(tmp_path / "none.dcm", "the frames have no PixelSpacing")
    write_enhanced(ct, tmp_path / "several.dcm", change=several)
    refused(
        tmp_path / "several.dcm",
        r"PixelSpacing changes between the frames: \[2\.0, 1\.5\] and \[2\.0, 1\.7\]",
    )


@pytest.mark.parametrize("place", [True, False])
def test_old_files_of_many_frames(ct, tmp_path, caplog, place):
    data = slice_dataset(ct, 0, new_uids())
    data.NumberOfFrames = COUNT
    data.PixelData = (ct.array.astype(int) + 1024).astype("<u2").tobytes()
    if not place:
        del data.ImagePositionPatient
    save(data, tmp_path / "unknown.dcm")
    refused(tmp_path / "unknown.dcm", "no Spacing Between Slices")
    data.SpacingBetweenSlices = "2.5"
    save(data, tmp_path / "x.dcm")
    found = read_image(tmp_path / "x.dcm")
    np.testing.assert_array_equal(found.array, ct.array)
    assert found.grid.spacing_xyz == ct.grid.spacing_xyz
    assert found.grid.origin_xyz == (ct.grid.origin_xyz if place else (0.0, 0.0, 0.0))
    assert ("follow each other" if place else "does not say where it lies") in caplog.text


def test_several_files_of_many_frames_in_one_series(ct, tmp_path):
    write_enhanced(ct, tmp_path / "a.dcm")
    write_enhanced(ct, tmp_path / "b.dcm")
    import pydicom

    first, second = (pydicom.dcmread(tmp_path / name) for name in ("a.dcm", "b.dcm"))
    second.SeriesInstanceUID, second.StudyInstanceUID = first.SeriesInstanceUID, first.StudyInstanceUID
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    save(second, tmp_path / "b.dcm")
    refused(tmp_path, "several files of one series hold many slices each")
