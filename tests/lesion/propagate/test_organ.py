"""The organ of a lesion: inside, spared by the organ's mask, beside it, between two, and nowhere near one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import medlsam
from medlsam.errors import GeometryError, UsageError
from medlsam.geometry import Box, Grid
from medlsam.lesion.propagate.organ import OrganRule, Organs, lesion_organ
from medlsam.lesion.propagate.organ_files import read_organs, segmented_organs
from medlsam.results import Localization, LocatedStructure, Segmentation
from medlsam.volume import LabelMap

GRID = Grid((20, 40, 40), (2.0, 2.0, 3.0), (0.0, 0.0, 0.0))
NAMES = {1: "liver", 2: "kidney"}


def cube(x0: int, x1: int, y: tuple[int, int] = (10, 20), z: tuple[int, int] = (5, 12)) -> NDArray[np.bool_]:
    mask = np.zeros(GRID.shape_zyx, bool)
    mask[z[0] : z[1], y[0] : y[1], x0:x1] = True
    return mask


def labels() -> NDArray[np.uint8]:
    return np.where(cube(2, 15), 1, np.where(cube(25, 38), 2, 0)).astype(np.uint8)


def organs(array: NDArray[np.uint8] | None = None) -> Organs:
    return Organs(labels() if array is None else array, NAMES, GRID)


SMALL = {"y": (13, 17), "z": (7, 10)}


def test_a_lesion_inside_an_organ_is_its_own_also_where_the_mask_spares_it() -> None:
    lesion = cube(6, 10, **SMALL)
    found = lesion_organ(lesion, organs())
    assert (found.organ, found.relation, found.distance_mm, found.overlap) == ("liver", "inside", 0.0, 1.0)
    assert found.shares == {"liver": 1.0}
    spared = lesion_organ(lesion, organs(np.where(lesion, 0, labels()).astype(np.uint8)))
    assert (spared.organ, spared.relation, spared.overlap) == ("liver", "inside", 0.0)
    assert 0.3 < spared.shares["liver"] < 1


def test_beside_an_organ_the_nearest_is_named_with_its_distance() -> None:
    found = lesion_organ(cube(17, 19, **SMALL), organs())
    # two voxels of 2 mm between the lesion and the liver
    assert (found.organ, found.relation, found.distance_mm) == ("liver", "near", pytest.approx(4.0))
    far = lesion_organ(cube(17, 19, **SMALL), organs(), OrganRule(near_mm=3.0))
    assert (far.organ, far.relation, far.distance_mm) == (None, "none", None)
    assert json.dumps(found.to_dict())


def test_in_thick_slices_neighbours_touch() -> None:
    thick = Grid(GRID.shape_zyx, (1.0, 1.0, 7.0))
    above = cube(2, 15, (10, 20), (10, 14)).astype(np.uint8)
    # spared by the organ's mask below it: the shell of 3 mm does not reach the next slice, the neighbour does
    found = lesion_organ(cube(6, 10, **SMALL), Organs(above, NAMES, thick), OrganRule(least_share=0.02))
    assert (found.organ, found.relation, found.distance_mm) == ("liver", "inside", 0.0)
    found = lesion_organ(cube(6, 10, **SMALL), Organs(above, NAMES, thick), OrganRule(least_share=0.9))
    assert (found.organ, found.relation, found.distance_mm) == ("liver", "near", 0.0)
    found = lesion_organ(cube(6, 10, (13, 17), (7, 8)), Organs(above, NAMES, thick))
    assert found.distance_mm == pytest.approx(14.0), "two slices between them"


def test_of_two_that_touch_it_the_one_with_more_of_the_shell_is_nearer() -> None:
    # the first organ touches a corner, the second a face
    array = np.where(cube(2, 6, (5, 13), (2, 7)), 1, np.where(cube(10, 14, (12, 18)), 2, 0)).astype(np.uint8)
    found = lesion_organ(cube(6, 10, **SMALL), organs(array), OrganRule(least_share=0.9))
    assert (found.organ, found.distance_mm, found.ambiguous_with) == ("kidney", 0.0, ("liver",))


def test_between_two_organs_both_are_named() -> None:
    both = np.where(cube(2, 20), 1, np.where(cube(20, 38), 2, 0)).astype(np.uint8)
    found = lesion_organ(cube(17, 22, **SMALL), organs(both))
    assert (found.organ, found.ambiguous_with) == ("liver", ("kidney",))
    assert found.shares["liver"] > found.shares["kidney"] > 0
    clear = lesion_organ(cube(10, 19, **SMALL), organs(both))
    assert clear.ambiguous_with == ()
    middle = lesion_organ(cube(19, 21, **SMALL), organs())
    assert (middle.relation, {middle.organ, *middle.ambiguous_with}) == ("near", {"liver", "kidney"})


def test_values_without_a_name_do_not_count() -> None:
    found = lesion_organ(cube(12, 15, **SMALL), Organs(labels(), {2: "kidney"}, GRID))
    assert (found.organ, found.relation) == ("kidney", "near")


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(GeometryError, match="at least one voxel"):
        lesion_organ(np.zeros(GRID.shape_zyx, bool), organs())
    with pytest.raises(GeometryError, match="they need one grid"):
        lesion_organ(np.ones((2, 2, 2), bool), organs())


def save(path: Path, array: NDArray[np.uint8], grid: Grid = GRID) -> None:
    medlsam.write_volume(LabelMap(array, grid), path)


def test_organs_come_from_label_maps_and_folders(tmp_path: Path) -> None:
    lesion = cube(6, 10, **SMALL)
    save(tmp_path / "one" / "organs.nii.gz", labels())
    nameless = lesion_organ(lesion, read_organs(tmp_path / "one" / "organs.nii.gz", GRID))
    assert nameless.organ == "label 1"
    (tmp_path / "one" / "labels.json").write_text('{"liver": 1, "kidney": 2}')
    assert lesion_organ(lesion, read_organs(tmp_path / "one" / "organs.nii.gz", GRID)).organ == "liver"
    medlsam.write_volume(LabelMap(labels(), GRID), tmp_path / "named.nii.gz", names=NAMES)
    assert lesion_organ(lesion, read_organs(tmp_path / "named.nii.gz", GRID)).organ == "liver"
    (tmp_path / "labels.json").write_text('{"lesion 1": 1}')  # such as a command leaves in the folder
    assert read_organs(tmp_path / "named.nii.gz", GRID).names == NAMES
    (tmp_path / "one" / "labels.json").write_text('{"kidney": 2}')
    assert read_organs(tmp_path / "one" / "organs.nii.gz", GRID).names == {1: "label 1", 2: "kidney"}
    (tmp_path / "labels.json").unlink()
    for value, name in NAMES.items():  # as TotalSegmentator writes them
        save(tmp_path / "ts" / f"{name}.nii.gz", (labels() == value).astype(np.uint8))
    save(tmp_path / "ts" / "spleen.nii.gz", np.zeros(GRID.shape_zyx, np.uint8))
    read = read_organs(tmp_path / "ts", GRID)
    assert set(read.names.values()) == {"liver", "kidney"}
    assert lesion_organ(lesion, read).organ == "liver"
    for name, x1 in (("a_small", 8), ("z_large", 38)):  # one before and one after the liver
        save(tmp_path / "over" / f"{name}.nii.gz", cube(2, x1).astype(np.uint8))
    save(tmp_path / "over" / "liver.nii.gz", cube(2, 15).astype(np.uint8))
    read = read_organs(tmp_path / "over", GRID)
    owner = [read.names.get(int(value), "") for value in read.labels[6, 12, [4, 10, 30, 39]]]
    assert owner == ["a_small", "liver", "z_large", ""], "of two organs the smaller has the voxel"
    save(tmp_path / "out" / "case" / "segmentation.nii.gz", labels())  # as medlsam segment writes it
    (tmp_path / "out" / "labels.json").write_text('{"1": "liver", "2": "kidney"}')
    assert lesion_organ(lesion, read_organs(tmp_path / "out" / "case", GRID)).organ == "liver"
    with pytest.raises(UsageError, match="there is no such"):
        read_organs(tmp_path / "absent", GRID)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no file of one organ"):
        read_organs(tmp_path / "empty", GRID)


def test_organs_of_another_geometry_are_brought_onto_the_scan(tmp_path: Path) -> None:
    turned = Grid(GRID.shape_zyx, GRID.spacing_xyz, (78.0, 78.0, 0.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    save(tmp_path / "a.nii.gz", np.ascontiguousarray(labels()[:, ::-1, ::-1]), turned)
    assert np.array_equal(read_organs(tmp_path / "a.nii.gz", GRID).labels, labels())
    save(tmp_path / "b.nii.gz", labels(), Grid(GRID.shape_zyx, GRID.spacing_xyz, (900.0, 0.0, 0.0)))
    with pytest.raises(GeometryError, match="are they of another one"):
        read_organs(tmp_path / "b.nii.gz", GRID)


def test_located_boxes_and_segmentations_are_organs_too(tmp_path: Path) -> None:
    def located(name: str, x0: float, x1: float) -> LocatedStructure:
        return LocatedStructure(name, "found", 1.0, box=Box((x0, 19, 14), (x1, 39, 34)))

    found = Localization("a", {"liver": located("liver", 3, 29), "kidney": located("kidney", 20, 28)})
    (tmp_path / "localization.json").write_text(json.dumps(found.to_dict()))
    read = read_organs(tmp_path / "localization.json", GRID)
    values = {name: value for value, name in read.names.items()}
    assert read.labels[6, 12, 5] == values["liver"]
    assert read.labels[6, 12, 12] == values["kidney"], "of two boxes the smaller has the voxel"
    (tmp_path / "other.json").write_text('{"a": 1}')
    with pytest.raises(UsageError, match=r"not a localization\.json"):
        read_organs(tmp_path / "other.json", GRID)
    made = Segmentation("a", LabelMap(labels(), GRID), NAMES, found)
    assert lesion_organ(cube(6, 10, **SMALL), segmented_organs(made, GRID)).organ == "liver"
