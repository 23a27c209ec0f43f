"""The phantoms of the demo, made by several processes; apart from the demo, so that these need no torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from medlsam.io.write import write_volume
from medlsam.phantoms import phantom
from medlsam.runtime.atomic_files import write_json
from medlsam.volume import LabelMap


def write_demo_scans(
    output: Path,
    template_seeds: Sequence[int],
    scan_seeds: Sequence[int],
    organs: Sequence[str],
    region: str | tuple[float, float],
    spacing_xyz: tuple[float, float, float],
) -> None:
    """Templates as an nnU-Net dataset, scans as a flat folder, their labels apart from them.

    Args:
        output: gets ``templates``, ``scans`` and ``truth``; what an earlier demo left there is removed.
        template_seeds: the people who serve as templates.
        scan_seeds: the people who are segmented.
        organs: structures that are labelled, numbered from 1.
        region: see ``phantom``.
        spacing_xyz: voxel size, mm.
    """
    for folder in ("templates", "scans", "truth"):
        shutil.rmtree(output / folder, ignore_errors=True)
    jobs = []
    for seeds, stem, images, labels in (
        (template_seeds, "template", output / "templates" / "imagesTr", output / "templates" / "labelsTr"),
        (scan_seeds, "person", output / "scans", output / "truth"),
    ):
        for number, seed in enumerate(seeds, start=1):
            case = f"{stem}_{number:02d}"
            image, truth = images / f"{case}_0000.nii.gz", labels / f"{case}.nii.gz"
            jobs.append((seed, tuple(organs), region, spacing_xyz, image, truth))
    values = {"background": 0} | {organ: number for number, organ in enumerate(organs, start=1)}
    dataset = {"channel_names": {"0": "CT"}, "labels": values, "file_ending": ".nii.gz"}
    write_json(output / "templates" / "dataset.json", dataset | {"numTraining": len(template_seeds)})
    write_json(output / "truth" / "dataset.json", dataset | {"numTraining": len(scan_seeds)})
    workers = min(len(jobs), os.cpu_count() or 1, 8)
    if workers == 1 or len(jobs) <= 2:
        for job in jobs:
            _write_phantom(*job)
        return
    # Fresh processes: a fork of one in which torch already runs threads may hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(_write_phantom, *job) for job in jobs]:
            future.result()


def _write_phantom(
    seed: int,
    organs: tuple[str, ...],
    region: str | tuple[float, float],
    spacing_xyz: tuple[float, float, float],
    image: Path,
    labels: Path,
) -> None:
    made = phantom(seed, spacing_xyz, region)
    table = np.zeros(256, np.uint8)
    for value, name in made.names.items():
        if name in organs:
            table[value] = organs.index(name) + 1
    write_volume(made.image, image)
    write_volume(LabelMap(table[made.labels.array], made.labels.grid), labels)
