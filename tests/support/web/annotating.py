"""Small scans to annotate, and what a killed process had been told was saved."""

from __future__ import annotations

import random
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from medlsam.geometry import FACES, Grid
from medlsam.io.cases import Case, find_cases
from medlsam.io.write import write_volume
from medlsam.viewer.annotate.folder import AnnotatedFolder
from medlsam.volume import Image

GRID = Grid((20, 24, 28), (2.0, 2.0, 2.5), (-30.0, -20.0, 100.0))


def draw(seed: int, grid: Grid = GRID) -> Image:
    """Soft tissue in air."""
    array = np.random.default_rng(seed).integers(-20, 60, grid.shape_zyx).astype(np.int16)
    array[:, :3] = -1000
    return Image(array, grid)


def write_scans(folder: Path, count: int = 2, suffix: str = ".nii.gz") -> list[Case]:
    """Scans ``scan_1``, ``scan_2``, ... as files, found again."""
    for number in range(1, count + 1):
        write_volume(draw(number), folder / f"scan_{number}{suffix}")
    return find_cases(folder)


def click_forever(scans: Path, output: Path, seed: int, told: Connection) -> None:
    """Click until somebody kills this process. What is about to be done is told before, and ``done`` after it."""
    chance = random.Random(seed)
    with AnnotatedFolder(find_cases(scans), output) as project:
        told.send("open")
        while True:
            case, face = chance.choice(project.cases), chance.choice(FACES)
            name = chance.choice(["liver", *project.structures])
            point = [round(chance.uniform(*span), 3) for span in ((-20, 20), (-10, 20), (110, 140))]
            what = chance.choice(["place"] * 6 + ["absent", "rename"])
            if what == "rename" and (name not in project.structures or name == "liver"):
                name, what = f"organ {chance.randrange(4)}", "place"
            new = f"organ {chance.randrange(10**6)}"
            told.send([what, case, name, face, point, new])
            if what == "place":
                project.place(case, name, point, face)
            elif what == "absent":
                project.mark_absent(case, name)
            else:
                project.rename_structure(name, new)
            told.send("done")
