"""A localizer that knows where everything is, and labelled scans of the anatomy that it knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from medlsam.geometry import Grid
from medlsam.localize.build_templates import Template
from medlsam.localize.network.embedding import Embedding
from medlsam.volume import Image, LabelMap, Source
from tests.support.fakes.fake_embedding import fake_embedding

NAMES = {1: "lung_left", 2: "lung_right"}

#: Low and high corners in the reference anatomy, mm.
PLACES = {1: ((-60.0, -40.0, -52.0), (-12.0, 20.0, 28.0)), 2: ((20.0, -36.0, -44.0), (72.0, 24.0, 40.0))}


class FakeLocalizer:
    """Every scan holds the same anatomy, around its own middle."""

    name, signature, device = "fake", "0" * 64, torch.device("cpu")

    def __init__(self) -> None:
        self.seen = 0

    def embed(self, volume: Image) -> Embedding:
        self.seen += 1
        x, y, z = volume.grid.box.center
        return fake_embedding((x, y, z))


def labelled(name: str, shift: tuple[float, float, float], without: Sequence[int] = ()) -> Template:
    """A scan of 256 mm around a place, with two boxes at their places in the anatomy."""
    grid = Grid((64, 64, 64), (4.0, 4.0, 4.0), tuple(s - 126.0 for s in shift))  # type: ignore[arg-type]
    labels = np.zeros(grid.shape_zyx, np.uint8)
    for value, (low, high) in PLACES.items():
        if value not in without:
            # Voxels from the one whose low faces lie at the low corner up to, not with, the one at the high corner.
            first, last = (
                np.rint(grid.lps_to_ijk(np.add(corner, shift)) + 0.5).astype(int) for corner in (low, high)
            )
            labels[first[2] : last[2], first[1] : last[1], first[0] : last[0]] = value
    image = np.where(labels > 0, -800, 30).astype(np.int16)
    return Template(name, Image(image, grid, Source(Path(name))), LabelMap(labels, grid))
