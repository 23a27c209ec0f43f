"""How rough a rough mask is."""

from __future__ import annotations

import pytest
import torch

from benchmarks.segment.tiny_samples import off_and_dice


def test_sides_are_measured_outward_in_mm() -> None:
    mask = torch.zeros(32, 32)
    mask[8:16, 8:24] = 1
    hint = torch.nn.functional.avg_pool2d(mask[None], 2)[0]
    sample = {
        "mask": mask,
        "mask_prompt": hint,
        "box": torch.tensor([7.0, 8, 22, 17]),
        "error": torch.tensor(4.0),
    }
    found = off_and_dice(sample, told_mm=2.0)  # a pixel is half a millimetre
    assert found is not None
    assert found[0] == pytest.approx([0.5, 0.0, -1.0, 0.5])
    assert found[1] == pytest.approx(1.0)
    mask[0, 0] = 1
    assert off_and_dice(sample, told_mm=2.0) is None, "the crop may cut it off"
