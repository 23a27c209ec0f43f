"""A teacher's masks on disk: made once, found by what they depend on."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medlsam.segment.distill.labels import Labelling, TaughtScan, in_words
from medlsam.segment.distill.options import DistillOptions
from medlsam.segment.distill.prompts import SliceBoxes, plan
from medlsam.volume import Image
from tests.support.data.distill_data import bright_things
from tests.support.fakes.fake_teacher import FakeTeacher

IMAGE = bright_things(0)
OPTIONS = DistillOptions(slices_per_scan=3, prompts_per_slice=4)
PLANNED = plan(IMAGE, OPTIONS, np.random.default_rng(0))


def label(
    folder: Path,
    teacher: FakeTeacher,
    image: Image = IMAGE,
    planned: list[SliceBoxes] = PLANNED,
    neighbour_mm: float = 3.0,
    tell: Callable[[str], None] = lambda text: None,
) -> TaughtScan:
    scan = Labelling(teacher, folder, neighbour_mm, 9, tell).label("a", "p", image, planned, 3)
    scan.judge(0.7)
    return scan


def test_each_slice_is_encoded_once_for_all_its_boxes(tmp_path: Path) -> None:
    teacher = FakeTeacher()
    scan = label(tmp_path, teacher)
    assert teacher.seen == len(PLANNED)
    assert len(scan.kept) + scan.dropped.total() == sum(len(own.boxes) for own in PLANNED)
    assert scan.kept


def test_masks_and_pixels_are_those_of_the_slice(tmp_path: Path) -> None:
    scan = label(tmp_path, FakeTeacher())
    stacked, array = scan.image(), IMAGE.array.clip(-1024, 3071)
    for index in scan.kept:
        mask = scan.mask(index)
        z, slab = PLANNED[mask.row].z, scan.slab(mask.row)
        assert (slab.image[1] == array[z]).all()
        assert (slab.image[0] == array[max(z - 1, 0)]).all()
        assert (stacked.array[3 * mask.row + 1] == array[z]).all()
        # all of the mask is bright
        assert array[z][mask.pixels].mean() > 60
    assert stacked.grid.spacing_xyz == (2.0, 2.0, 3.0)


def test_masks_are_made_once(tmp_path: Path) -> None:
    label(tmp_path, FakeTeacher())
    again = FakeTeacher()
    first = label(tmp_path, again)
    assert again.seen == 0
    assert len(list(tmp_path.iterdir())) == 1
    assert (
        first.mask(first.kept[0]).pixels == label(tmp_path, FakeTeacher()).mask(first.kept[0]).pixels
    ).all()


@pytest.mark.parametrize("changed", ["teacher", "pixels", "boxes", "neighbours"])
def test_what_they_depend_on_is_made_anew(tmp_path: Path, changed: str) -> None:
    label(tmp_path, FakeTeacher())
    teacher = FakeTeacher(signature="other" if changed == "teacher" else "fake")
    array = IMAGE.array.copy()
    array[0, 0, 0] += changed == "pixels"
    planned = PLANNED[:-1] if changed == "boxes" else PLANNED
    label(tmp_path, teacher, Image(array, IMAGE.grid), planned, 9.0 if changed == "neighbours" else 3.0)
    assert teacher.seen == len(planned)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_that_was_cut_off_is_made_anew(tmp_path: Path) -> None:
    scan = label(tmp_path, FakeTeacher())
    kept = scan.kept
    scan.file.write_bytes(scan.file.read_bytes()[:1000])
    again = FakeTeacher()
    assert label(tmp_path, again).kept == kept
    assert again.seen == len(PLANNED)


def test_another_limit_needs_no_second_pass(tmp_path: Path) -> None:
    scan = label(tmp_path, FakeTeacher(quality=0.8))
    before = len(scan.kept)
    scan.judge(0.81)
    assert not scan.kept
    assert scan.dropped["low_iou"] >= before
    scan.judge(0.79)
    assert len(scan.kept) == before


def test_scans_go_to_other_processes(tmp_path: Path) -> None:
    scan = label(tmp_path, FakeTeacher())
    other = pickle.loads(pickle.dumps(scan))
    assert (other.mask(scan.kept[0]).pixels == scan.mask(scan.kept[0]).pixels).all()


def test_the_time_is_told_after_the_first_slice(tmp_path: Path) -> None:
    told: list[str] = []
    label(tmp_path, FakeTeacher(), tell=told.append)
    assert len(told) == 1
    assert "fake takes" in told[0]
    assert f"for the {9 - 3 + len(PLANNED) - 1} slices that are left" in told[0]


@pytest.mark.parametrize(("seconds", "words"), [(12, "12 s"), (600, "10 min"), (9000, "2.5 h")])
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
