"""A made-up scan whose masks are to be corrected: a ball of which a part is missing, and a rod."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import Grid
from medlsam.pipeline.session import Session
from medlsam.results import Localization, LocatedStructure, Segmentation
from medlsam.segment.protocol import Segmenter
from medlsam.volume import Image, LabelMap

GRID = Grid((24, 60, 60), (2.0, 2.0, 3.0), (-60.0, -60.0, 100.0))
BALL, ROD = 3, 9
IN, OUT, FAR = (18.0, 0.0, 135.0), (-10.0, 0.0, 130.0), (-40.0, -40.0, 140.0)


def body(grid: Grid = GRID) -> tuple[Image, LabelMap]:
    """A ball and a rod in soft tissue, and labels of the ball that miss its upper part."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in grid.shape_zyx), indexing="ij")
    lps = grid.ijk_to_lps(np.stack([x, y, z], axis=-1))
    ball = ((lps - (0, 0, 135)) ** 2).sum(axis=-1) < 24**2
    rod = np.hypot(lps[..., 0] - 40, lps[..., 1]) < 8
    hu = 20.0 + 110 * ball + 300 * rod + np.random.default_rng(0).normal(0, 8, grid.shape_zyx)
    labels = np.zeros(grid.shape_zyx, np.uint8)
    labels[ball & (lps[..., 2] < 141) & (lps[..., 0] < 12)] = BALL
    labels[rod] = ROD
    return Image(hu.astype(np.int16), grid), LabelMap(labels, grid)


def session(segmenter: Segmenter, grid: Grid = GRID) -> Session:
    image, labels = body(grid)
    structures = {name: LocatedStructure(name, "found", 0.8) for name in ("ball", "rod")}
    found = Segmentation(
        "made", labels, {BALL: "ball", ROD: "rod"}, Localization("made", structures), image=image
    )
    return Session(found, segmenter)


def whole(own: Session, name: str) -> NDArray[np.bool_]:
    array, origin = own.mask(name)
    made = np.zeros(own.grid.shape_zyx, bool)
    made[tuple(slice(a, a + n) for a, n in zip(origin, array.shape, strict=True))] = array
    return made


def at(array: NDArray[np.generic], point: tuple[float, float, float], grid: Grid) -> object:
    x, y, z = np.rint(grid.lps_to_ijk(point)).astype(int)
    return array[z, y, x]
