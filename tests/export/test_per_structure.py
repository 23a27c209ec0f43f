"""One mask a structure, under names that every file system takes."""

from pathlib import PurePosixPath

import nibabel
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medlsam.export.per_structure import file_names, write_structures
from medlsam.geometry import Grid
from medlsam.volume import Source
from tests.support.data.found_structures import (
    LYING,
    ORIGIN,
    SHAPE,
    SPACING,
    draw_labels,
    segmentation_of,
)


def test_masks_in_the_scans_geometry(tmp_path):
    grid = Grid(SHAPE, SPACING, ORIGIN, LYING["oblique"])
    found = segmentation_of(draw_labels(SHAPE), grid, Source())
    written = write_structures(found, tmp_path)
    assert written == [
        "structures/liver.nii.gz",
        "structures/LeftParotid.nii.gz",
        "structures/Łódź_7.nii.gz",
    ]
    assert sorted(f.relative_to(tmp_path).as_posix() for f in tmp_path.rglob("*.nii.gz")) == sorted(written)
    for name, value in zip(written, (1, 2, 7), strict=True):
        again = nibabel.load(tmp_path / name)
        assert again.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(
            np.asarray(again.dataobj).transpose(2, 1, 0), found.labels.array == value
        )
        corner = again.affine @ [*np.subtract(SHAPE[::-1], 1), 1]
        # NIfTI counts to the right and to the front, LPS to the left and to the back.
        np.testing.assert_allclose(
            corner[:3] * [-1, -1, 1], grid.ijk_to_lps(np.subtract(SHAPE[::-1], 1)), atol=1e-3
        )


@given(st.dictionaries(st.integers(1, 500), st.text(max_size=200), max_size=8))
def test_every_name_makes_a_file_of_its_own(names):
    files = file_names(names)
    assert set(files) == set(names)
    assert len({file.casefold() for file in files.values()}) == len(files)
    for file in files.values():
        assert PurePosixPath(file).name == file
        assert not set(file) & set('<>:"/\\|?*\0\n ')
        assert not file.startswith((".", "_"))
        assert len(file.encode()) < 140
        assert file.endswith(".nii.gz")


def test_names_that_would_meet():
    names = {1: "Liver", 2: "liver", 3: "a/b", 4: "a b", 5: "../x", 6: "con", 7: "", 8: "Kidney (L)"}
    assert list(file_names(names).values()) == [
        "Liver.nii.gz",
        "liver_2.nii.gz",
        "a_b.nii.gz",
        "a_b_2.nii.gz",
        "x.nii.gz",
        "con_.nii.gz",
        "structure.nii.gz",
        "Kidney_L.nii.gz",
    ]
