"""The two kinds of volume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medlsam.errors import GeometryError
from medlsam.geometry import Grid
from medlsam.volume import (
    Image,
    LabelMap,
    Source,
    Volume,
    lps_grid,
    resample,
    to_canonical,
)
from tests.support.data.orientations import direction_of, oblique


def test_volume_needs_an_array_of_its_grid():
    with pytest.raises(GeometryError, match="shape"):
        Image(np.zeros((3, 4, 5), np.int16), Grid((5, 4, 3)))


def test_a_volume_is_an_image_or_a_label_map():
    with pytest.raises(TypeError, match="Image .* or a LabelMap"):
        Volume(np.zeros((3, 4, 5), np.uint8), Grid((3, 4, 5)))


@pytest.mark.parametrize("kind", [Image, LabelMap])
@pytest.mark.parametrize("direction", [direction_of((1, 0, 2), (-1, 1, -1)), oblique(20)])
def test_what_is_derived_keeps_its_kind_and_source_but_not_the_scanners_grid(kind, direction):
    source = Source(Path("scan"), "CT", "1.2", "1.2.3", (Path("a"), Path("b")), grid_is_scanners=True)
    volume = kind(np.zeros((6, 7, 8), np.int16), Grid((6, 7, 8), direction=direction), source)
    for found in (to_canonical(volume), resample(volume, lps_grid(volume.grid, (2.0, 2.0, 2.0)))):
        assert type(found) is kind
        assert found.path == Path("scan")
        assert found.source == replace(source, grid_is_scanners=False)
