"""The window that suits a structure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medlsam.geometry import Grid
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.registry import SEGMENTERS
from medlsam.segment.windows import choose_window, hu_in_boxes, saturated
from medlsam.volume import Image

SAM = SEGMENTERS["sam_vit_b"]


@pytest.mark.parametrize(
    ("hu", "window"),
    [
        ([-20, 30, 60], None),
        ([-900, -850, 30], "lung-wide"),
        ([30, 300, 900], "bone"),
        ([-900, 30, 40, 900], None),  # half of it is seen
        ([-900, -900, 300, 900, 1000], "bone"),  # most of what is not seen is bright
        ([3000, 3000, 3000], None),  # metal: no window shows it
        ([], None),
    ],
)
def test_what_lies_beyond_the_models_window_is_shown_in_another(hu: list[float], window: str | None) -> None:
    found = choose_window(hu, SAM)
    assert (None if found is None else found.name) == window


def test_a_model_without_other_windows_keeps_its_own() -> None:
    assert choose_window([-900.0] * 9, replace(SAM, windows=())) is None
    assert choose_window([-900.0] * 9, SEGMENTERS["sam-tiny"]) is None


def test_windows_of_the_registry() -> None:
    ends = {
        name: [(window.name, window.low, window.high) for window in spec.windows]
        for name, spec in SEGMENTERS.items()
    }
    assert ends["mobile_sam"] == ends["sam_vit_h"] == [("lung-wide", -1350, 150), ("bone", -500, 1300)]
    assert ends["medsam_vit_b"] == ends["litemedsam"] == [("lung-medsam", -910, 590), ("bone", -500, 1300)]
    assert (SAM.window.low, SAM.window.high) == (-160, 240)
    assert SAM.in_window((-160.0, 240.0)) == SAM.in_window(None) == SAM


def test_hu_of_all_pixels_in_the_boxes() -> None:
    array = np.arange(2 * 4 * 5, dtype=np.int16).reshape(2, 4, 5)
    volume = Image(array, Grid(array.shape))
    boxes = [SlicePrompt(0, (0.5, 0.5, 2.5, 1.5)), SlicePrompt(1, (-0.5, 2.5, 0.5, 3.5))]
    assert hu_in_boxes(volume, boxes).tolist() == [6, 7, 35]
    assert hu_in_boxes(volume, []).tolist() == []


def test_saturation() -> None:
    assert saturated([-161, -160, 240, 241], -160, 240) == 0.5
    assert saturated([], 0, 1) == 0.0
