"""Tiny labelled scans with blobs for lesions, as an nnU-Net dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medlsam.geometry import Grid
from medlsam.io.write import write_volume
from medlsam.runtime.atomic_files import write_json
from medlsam.volume import Image, LabelMap

NAMES = {"background": 0, "liver cyst": 1, "kidney stone": 2}
GRID = Grid((24, 40, 40), (2.0, 2.0, 3.0), (-40.0, 10.0, 100.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))


def blobs(seed: int, grid: Grid = GRID) -> tuple[Image, LabelMap]:
    """A body of 40 HU with two dark cysts and a bright stone."""
    rng = np.random.default_rng(seed)
    shape = np.asarray(grid.shape_zyx)
    places = np.indices(grid.shape_zyx).astype(np.float32)
    labels = np.zeros(grid.shape_zyx, np.uint8)
    for value, radius in ((1, 6.0), (1, 4.5), (2, 3.5)):
        middle = rng.uniform(radius / 2 + 1, shape - radius / 2 - 1)
        labels[((places - middle[:, None, None, None]) ** 2).sum(0) < radius**2] = value
    hu = np.choose(labels, (40, -20, 250)) + rng.normal(0, 12, grid.shape_zyx)
    hu[:, :2] = -1000
    labels[:, :2] = 0
    return Image(hu.astype(np.int16), grid), LabelMap(labels, grid)


def write_blobs(folder: Path, count: int = 2, names: dict[str, int] | None = None) -> Path:
    """Write a dataset of so many scans, with the lesions of ``NAMES``."""
    for number in range(count):
        image, labels = blobs(number)
        write_volume(image, folder / "imagesTr" / f"case{number}_0000.nii.gz")
        write_volume(labels, folder / "labelsTr" / f"case{number}.nii.gz")
    content = {
        "channel_names": {"0": "CT"},
        "labels": names or NAMES,
        "numTraining": count,
        "file_ending": ".nii.gz",
    }
    write_json(folder / "dataset.json", content)
    return folder
