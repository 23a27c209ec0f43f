"""Results to write: a series on disk, read again, with structures drawn into its voxels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import Grid
from medlsam.io.read import read_image
from medlsam.results import Localization, LocatedStructure, Segmentation
from medlsam.volume import Image, LabelMap, Source
from tests.support.data.dicom_files import write_ct
from tests.support.data.dicom_series import write_enhanced
from tests.support.data.orientations import oblique

#: Values with a gap, one above 255, and names that are coded, private, and not Latin-1.
NAMES = {1: "liver", 2: "LeftParotid", 7: "Łódź 7", 300: "nothing of it"}
HOLLOW, PIECES, DOT = 1, 2, 7

#: How patients lie: the directions of the array's columns, rows and slices in LPS, one a column of the matrix.
LYING: dict[str, tuple[float, ...]] = {
    "axial": (1, 0, 0, 0, 1, 0, 0, 0, 1),
    "prone": (-1, 0, 0, 0, -1, 0, 0, 0, 1),
    "decubitus": (0, -1, 0, 1, 0, 0, 0, 0, 1),
    "feet first": (-1, 0, 0, 0, 1, 0, 0, 0, -1),
    "sagittal": (0, 0, -1, 1, 0, 0, 0, -1, 0),
    "coronal": (1, 0, 0, 0, 0, 1, 0, -1, 0),
    "oblique": oblique(17.0),
}
#: Rows and columns differ in number and in size.
SHAPE, SPACING, ORIGIN = (9, 26, 31), (0.9, 1.3, 2.5), (-31.7, 12.345, 301.25)


def draw_labels(shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """Labels (slices, rows, columns): a shell with two holes and an island, two pieces, and a single voxel."""
    labels = np.zeros(shape, np.uint16)
    labels[2:6, 4:18, 5:20] = HOLLOW
    labels[3:5, 7:15, 8:13] = 0
    labels[3:5, 10:12, 10:11] = HOLLOW
    labels[3:5, 6:8, 15:17] = 0
    # A corner that two pieces share, and the very edge of the picture.
    labels[4, 20:22, 2:5] = labels[4, 22:25, 5:7] = PIECES
    labels[7:9, 0:3, -4:] = PIECES
    labels[6, 23, 28] = DOT
    return labels


def segmentation_of(
    labels: NDArray[Any], grid: Grid, source: Source, names: dict[int, str] | None = None
) -> Segmentation:
    """A segmentation whose structures were all found."""
    names = NAMES if names is None else names
    located = {name: LocatedStructure(name, "found", 0.9) for name in names.values()}
    return Segmentation("case", LabelMap(labels, grid, source), names, Localization("case", located))


def series_with_structures(
    folder: Path, direction: tuple[float, ...] = LYING["axial"], **tags: Any
) -> Segmentation:
    """Write a CT series, read it, and draw structures into its voxels."""
    image = read_ct(folder, Grid(SHAPE, SPACING, ORIGIN, direction), **tags)
    return segmentation_of(draw_labels(image.array.shape), image.grid, image.source)


#: The slices of the frames of a multi-frame scan, as they are stored.
FRAMES = (3, 0, 8, 5, 7, 1, 4, 2, 6)


def read_multiframe(file: Path, direction: tuple[float, ...] = LYING["axial"]) -> Image:
    """Write a scan of noise as one file, its frames out of order, and read it."""
    noise = np.random.default_rng(0).integers(-900, 900, SHAPE).astype(np.int16)
    write_enhanced(Image(noise, Grid(SHAPE, SPACING, ORIGIN, direction)), file, FRAMES)
    return read_image(file)


def read_ct(folder: Path, grid: Grid, **tags: Any) -> Image:
    """Write a CT series of noise with the headers that a hospital's has, and read it."""
    noise = np.random.default_rng(0).integers(-900, 900, grid.shape_zyx).astype(np.int16)
    patient = {
        "t0008_0005": "ISO_IR 100",
        "t0010_0010": "M\xfcller^Anna",
        "t0010_0020": "P 12",
        "t0010_0040": "F",
        "t0008_0020": "20240229",
        "t0008_0030": "101112",
        "t0020_0010": "7",
        "t0008_0050": "A1",
    }
    write_ct(Image(noise, grid), folder, **(patient | tags))
    return read_image(folder)
