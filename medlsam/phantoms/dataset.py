"""Labelled phantoms as files, drawn by several processes. Nothing here needs torch, so that these start fast."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from medlsam.io.write import write_volume
from medlsam.phantoms.generate import phantom
from medlsam.volume import LabelMap


def write_phantoms(
    people: Sequence[tuple[int, Path, Path]],
    organs: Sequence[str],
    region: str | tuple[float, float],
    spacing_xyz: tuple[float, float, float],
) -> None:
    """Draw people, and write the scan and the label map of each.

    Args:
        people: for each one the seed, the scan's file and the label map's file.
        organs: structures that are labelled, numbered from 1.
        region: see ``phantom``.
        spacing_xyz: voxel size, mm.
    """
    write = partial(_write_phantom, organs=tuple(organs), region=region, spacing_xyz=spacing_xyz)
    workers = min(len(people), os.cpu_count() or 1, 8)
    if workers == 1 or len(people) <= 2:
        for person in people:
            write(*person)
        return
    # Fresh processes: a fork of one in which torch already runs threads may hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(write, *person) for person in people]:
            future.result()


def _write_phantom(
    seed: int,
    image: Path,
    labels: Path,
    organs: tuple[str, ...],
    region: str | tuple[float, float],
    spacing_xyz: tuple[float, float, float],
) -> None:
    made = phantom(seed, spacing_xyz, region)
    table = np.zeros(256, np.uint8)
    for value, name in made.names.items():
        if name in organs:
            table[value] = organs.index(name) + 1
    write_volume(made.image, image)
    write_volume(LabelMap(table[made.labels.array], made.labels.grid), labels)
