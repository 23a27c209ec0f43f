"""The marks that the benchmark of real lesions makes, and what it reports on."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest

from benchmarks.lesion import lesion_cases, propagate_choose, propagate_real
from benchmarks.lesion.lesion_cases import CHOOSE, LesionCase
from medlsam.errors import UsageError
from medlsam.geometry import Grid
from medlsam.lesion.propagate.memory import MemoryOptions
from medlsam.volume import Image

GRID = Grid((9, 40, 50), (1.0, 2.0, 3.0), (5.0, -7.0, 11.0))


def case(name: str = "sts_010") -> LesionCase:
    z, y, x = np.meshgrid(*(np.arange(n) for n in GRID.shape_zyx), indexing="ij")
    mask = ((z - 4) / 3.3) ** 2 + ((y - 20) / 6.2) ** 2 + ((x - 25) / 18.3) ** 2 <= 1
    hu = np.where(mask, 20, 60).astype(np.int16)
    return LesionCase(name, Image(hu, GRID), mask, 4)


def test_what_was_chosen_on_is_not_reported_on() -> None:
    groups = [case(f"sts_{number:03d}").group for number in range(1, 15)]
    assert groups.count("sarcoma, chosen on") == len(CHOOSE) == 7
    assert groups.count("sarcoma") == 7
    assert case("deeplesion_000001").group == "deeplesion"


def test_marks_are_those_of_the_reference() -> None:
    box = lesion_cases.box_prompt(case()).box
    assert box is not None
    assert box.size == pytest.approx((37.0, 26.0, 0.0))
    assert box.center[2] == 11.0 + 4 * 3
    marked = lesion_cases.recist_prompt(case())
    assert marked.long is not None
    assert marked.short is not None
    assert math.dist(*marked.long) == pytest.approx(36, abs=0.5), "between centres of pixels"
    assert math.dist(*marked.short) == pytest.approx(24, abs=2.1)
    point = lesion_cases.point_prompt(case()).point
    assert point == pytest.approx((30.0, 33.0, 23.0))


def test_region_growing_finds_what_threshold_can_find() -> None:
    one = case()
    assert lesion_cases.dice(lesion_cases.region_growing(one), one.reference) > 0.85


def test_constants_are_changed_by_name() -> None:
    options = propagate_real.changed("views=3,view_weight=0.25,mask_prompt=True")
    assert (options.views, options.view_weight, options.mask_prompt) == (3, 0.25, True)
    with pytest.raises(UsageError, match="wiews: no constant"):
        propagate_real.changed("wiews=3")


def test_one_constant_at_a_time_is_tried_and_none_of_the_reported_lesions_is_read() -> None:
    tried = propagate_choose.variations()
    now = tried.pop(propagate_choose.NOW)
    assert now == MemoryOptions()
    for name, options in tried.items():
        differing = [
            item.name for item in fields(options) if getattr(options, item.name) != getattr(now, item.name)
        ]
        assert differing == [name.partition("=")[0]]
    assert set(propagate_choose.variations("past")) == {"as it is", "past=1", "past=3"}
