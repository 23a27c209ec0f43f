"""Which masks of a teacher are learned."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from medlsam.segment.distill.judge import FAULTS, judge

BOX = (9.5, 9.5, 29.5, 24.5)


def disc(center: tuple[float, float] = (19.5, 17), radius: float = 6) -> NDArray[np.bool_]:
    y, x = np.mgrid[:40, :50]
    return np.asarray((x - center[0]) ** 2 + (y - center[1]) ** 2 <= radius**2)


def block(rows: slice, columns: slice) -> NDArray[np.bool_]:
    mask = np.zeros((40, 50), bool)
    mask[rows, columns] = True
    return mask


def test_a_good_mask_stays_as_it_is() -> None:
    found = judge(disc(), BOX, 0.9, 0.7)
    assert not isinstance(found, str)
    assert (found == disc()).all()


@pytest.mark.parametrize(
    ("mask", "quality", "fault"),
    [
        (disc(), 0.69, "low_iou"),
        (np.zeros((40, 50), bool), 0.9, "empty"),
        (block(slice(12, 15), slice(12, 15)), 0.9, "empty"),
        (block(slice(10, 25), slice(10, 30)), 0.9, "fills_box"),
        (np.ones((40, 50), bool), 0.9, "fills_box"),
        (disc((33, 17)), 0.9, "leaves_box"),
        (disc((45, 30)), 0.9, "leaves_box"),
    ],
)
def test_others_are_dropped_with_a_reason(mask: NDArray[np.bool_], quality: float, fault: str) -> None:
    assert judge(mask, BOX, quality, 0.7) == fault
    assert fault in FAULTS


def test_without_a_limit_no_expectation_is_too_low() -> None:
    assert not isinstance(judge(disc(), BOX, -3.0, 0.0), str)


def test_specks_and_what_lies_outside_are_cut_off() -> None:
    """They would widen the tight box that the student is told to be exact."""
    dirty = disc() | block(slice(23, 24), slice(28, 29)) | block(slice(30, 31), slice(40, 43))
    found = judge(dirty, BOX, 0.9, 0.7)
    assert not isinstance(found, str)
    assert (found == disc()).all()


def test_two_parts_stay_two() -> None:
    both = disc((14, 17), 4) | disc((25, 17), 3)
    found = judge(both, BOX, 0.9, 0.7)
    assert not isinstance(found, str)
    assert (found == both).all()


@pytest.mark.parametrize("box", [(-0.5, -0.5, 0.4, 0.4), (48.6, 38.6, 49.5, 39.5), (3.1, 3.1, 3.2, 3.2)])
def test_a_box_of_a_pixel_is_judged_too(box: tuple[float, float, float, float]) -> None:
    assert isinstance(judge(disc(), box, 0.9, 0.7), str)
