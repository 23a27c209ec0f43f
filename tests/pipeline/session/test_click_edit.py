"""How far a click acts, by looks alone."""

from __future__ import annotations

import numpy as np
import pytest

from medlsam.geometry import Grid
from medlsam.pipeline.session.click_edit import apply_click, radius_mm
from medlsam.pipeline.session.mask import MaskPart
from medlsam.volume import Image

GRID = Grid((40, 50, 50), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))


def test_a_click_beyond_the_end_of_a_thin_structure_adds_nothing_wider() -> None:
    y, x = np.mgrid[:50, :50]
    disc = np.hypot(y - 25, x - 25) <= 3
    mask = np.zeros(GRID.shape_zyx, bool)
    mask[:20, disc] = True
    rod = MaskPart.of(mask)
    assert radius_mm(rod, GRID) == pytest.approx(6.1, abs=0.1)
    # All of the scan looks alike: nothing but its width says where the rod ends.
    volume = Image(np.full(GRID.shape_zyx, 40, np.int16), GRID)
    made = apply_click(volume, rod, (28, 25, 25), True, [], None).on(GRID)
    assert (made & mask).sum() == mask.sum()
    z, y, x = np.nonzero(made & ~mask)
    assert np.hypot(y - 25, x - 25).max() <= 4
    assert set(range(20, 33)) <= set(z.tolist())
    # What a click outside takes away is bounded by the mask itself.
    cut = apply_click(volume, rod, (10, 25, 25), False, [], None).on(GRID)
    assert not cut[10, disc].all()
