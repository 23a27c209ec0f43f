"""Requests: each structure is segmented as its request says."""

from __future__ import annotations

import numpy as np
import pytest

from medlsam.geometry import Box
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.planes import (
    SIDES,
    side_prompts,
)
from medlsam.segment.prompts import wpl
from medlsam.segment.propagate import Propagation
from medlsam.segment.request import SegmentationRequest, segment_requests
from tests.support.fakes.inside_segmenter import Inside, mask_of, slanting


def test_three_axes_find_what_the_scan_holds() -> None:
    volume, inside = slanting(), Inside()
    box = Box((1.5, 7.5, 1.5), (14.5, 13.5, 9.5))
    sides = {turn.name: side_prompts(box, None, volume.grid, turn) for turn in SIDES}
    found = segment_requests(inside, volume, {"bar": SegmentationRequest(wpl(box, volume.grid), sides)})  # type: ignore[arg-type]
    assert len(inside.calls) == 3
    assert np.array_equal(mask_of(found["bar"], volume.array.shape), volume.array > 0)
    assert found["bar"].probability.max() == pytest.approx(0.9), "all three planes agree"


def test_each_structure_is_asked_as_it_wants_to_be() -> None:
    volume, inside = slanting(), Inside()
    box = Box((1.5, 7.5, 1.5), (14.5, 13.5, 9.5))
    rough = MaskBlock((2, 8, 2), np.ones((1, 2, 2), np.float32))
    requests = {
        "plain": SegmentationRequest(wpl(box, volume.grid)),
        "bar": SegmentationRequest(wpl(box, volume.grid), mask_prompt=rough, propagation=Propagation()),
        "none": SegmentationRequest([]),
    }
    found = segment_requests(inside, volume, requests)  # type: ignore[arg-type]
    assert list(found) == ["plain", "bar"]
    assert inside.mask_prompts[0] == {"bar": rough}
    assert {key.split("/")[0] for call in inside.calls[1:] for key in call} == {"bar"}
