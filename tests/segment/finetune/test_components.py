"""What fine-tuning learns from: scans, their components in slices, jittered boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medlsam.errors import TemplateError, UsageError
from medlsam.geometry import Grid
from medlsam.segment.finetune.components import components
from medlsam.segment.finetune.labelled import LabelledScan, find_labelled
from medlsam.segment.finetune.protocol import jittered
from medlsam.volume import Image, LabelMap
from tests.support.data.tuning_data import scan, write_cases

RNG = np.random.default_rng


# components


def labelled(labels: np.ndarray[Any, Any], names: dict[int, str]) -> LabelledScan:
    depth, height, width = labels.shape
    grid = Grid((depth, height, width), (1.0, 1.0, 1.0))
    return LabelledScan("a", "a", Image(labels.astype(np.int16), grid), LabelMap(labels, grid), names)


def test_components_are_numbered_by_size_and_small_ones_left_out() -> None:
    labels = np.zeros((2, 20, 20), np.uint8)
    labels[1, 2:5, 3:7] = 1  # 12 pixels
    labels[1, 10:15, 10:15] = 1  # 25 pixels
    labels[1, 18, 0:9] = 1  # 9 pixels: too small
    labels[0, 5:10, 5:10] = 2
    own = labelled(labels, {1: "spot"})
    large, small = components(own)
    assert (large.number, large.box_xyxy) == (0, (9.5, 9.5, 14.5, 14.5))
    assert (small.number, small.box_xyxy) == (1, (2.5, 1.5, 6.5, 4.5))
    assert np.array_equal(
        large.mask((20, 20)) | small.mask((20, 20)), (labels[1] == 1) & (np.arange(20) < 18)[:, None]
    )
    assert [part.structure for part in components(replace(own, names={2: "block"}))] == ["block"]


def test_parts_that_touch_at_a_corner_are_one() -> None:
    labels = np.zeros((1, 12, 12), np.uint8)
    labels[0, 1:4, 1:4] = labels[0, 4:8, 4:8] = 1
    own = labelled(labels, {1: "spot"})
    assert [part.box_xyxy for part in components(own)] == [(0.5, 0.5, 7.5, 7.5)]


def test_slices_are_taken_evenly() -> None:
    assert [part.z for part in components(scan(0))] == [1, 2, 3]
    assert [part.z for part in components(scan(0), slices=2)] == [1, 3]


@given(st.integers(0, 10_000), st.floats(0, 30), st.integers(1, 30), st.integers(1, 30))
def test_a_jittered_box_stays_in_the_slice_and_keeps_half_of_itself(
    seed: int, jitter: float, width: int, height: int
) -> None:
    box = np.array([2.5, -0.5, 2.5 + width, -0.5 + height])
    moved = np.array(jittered(box.tolist(), (40, 40), jitter, RNG(seed)))
    assert (moved >= -0.5).all() and (moved <= 39.5).all()  # noqa: PT018 - one box
    assert (np.abs(moved - box) <= jitter + 1e-9).all()
    assert (moved[2:] - moved[:2] >= np.array([width, height]) / 2 - 1e-9).all()


def test_jitter_moves_all_corners() -> None:
    moved = np.array([jittered((10, 10, 30, 30), (40, 40), 5, RNG(seed)) for seed in range(200)])
    offset = moved - [10, 10, 30, 30]
    assert (offset.min(axis=0) < -4).all()
    assert (offset.max(axis=0) > 4).all()


def test_scans_are_found_with_their_patients(tmp_path: Path) -> None:
    write_cases(tmp_path / "a", [1, 2])
    write_cases(tmp_path / "b", [3])
    found = find_labelled([tmp_path / "a", tmp_path / "b"], patients={"egg_1": "x", "egg_3": "x"})
    assert {case.name: case.patient for case in found} == {"egg_1": "x", "egg_2": "egg_2", "egg_3": "x"}
    assert [c.name for c in find_labelled([tmp_path / "a"], cases=["egg_2"])] == ["egg_2"]
    assert found[0].read().image.array.shape == (5, 28, 36)


@pytest.mark.realdata
def test_a_real_sarcoma_has_one_prompt_a_slice(real_ct: Path) -> None:
    (found,) = find_labelled([real_ct / "lesions"], cases=["sts_002"])
    own = found.read()
    levels = np.flatnonzero(own.labels.array.any(axis=(1, 2)))
    parts = components(own)
    assert {part.structure for part in parts} == {"tumour"}
    assert {part.z for part in parts} <= set(levels.tolist())
    assert len({part.z for part in parts}) > 10


@pytest.mark.parametrize(
    ("given_", "text"),
    [
        ({"cases": ["eg_2"]}, "cases: there is no labelled scan 'eg_2' .did you mean 'egg_2'"),
        ({"organs": ["eg"]}, "organs: no scan has 'eg' .did you mean 'egg'"),
        ({"patients": {"other": "x"}}, "names none of the labelled scans"),
        ({"cases": []}, "the list is empty"),
    ],
)
def test_names_that_are_not_there(tmp_path: Path, given_: dict[str, Any], text: str) -> None:
    write_cases(tmp_path, [1, 2])
    with pytest.raises(UsageError, match=text):
        find_labelled([tmp_path], **given_)


def test_two_scans_of_one_name(tmp_path: Path) -> None:
    write_cases(tmp_path / "a", [1])
    write_cases(tmp_path / "b", [1])
    with pytest.raises(TemplateError, match="have one name, egg_1"):
        find_labelled([tmp_path / "a", tmp_path / "b"])
