"""Seconds from a click to a 3D lesion mask, and the memory of that: 256 x 256 x 60 voxels, two threads.

    python benchmarks/lesion/click_time.py [--segmenter NAME|FILE] [--threads 2] [--repeats 5]

A ball of 40 mm in a cylinder of soft tissue, marked by a box, by diameters and by a point. The segmenter is loaded
before (a viewer keeps it), and one lesion is segmented to warm up. Printed are the median and the range of the seconds,
the processor's seconds (on a machine that others use, wall time says more about them than about this), and the peak
memory of the process. A quarter of a minute; far more where others use the cores, since torch's threads wait for each
other at work: then `OMP_WAIT_POLICY=passive` before the command.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.common import answer, command
from medlsam.geometry import Box, Grid
from medlsam.lesion.propagate.prompts import LesionPrompt
from medlsam.lesion.propagate.run import MemoryPropagator
from medlsam.segment.load import load_segmenter
from medlsam.volume import Image

SHAPE = (60, 256, 256)
SPACING = (1.5, 1.5, 3.0)
RADIUS_MM = 20.0


def made_up() -> tuple[Image, dict[str, LesionPrompt]]:
    """A scan with one lesion, and the marks on it."""
    grid = Grid(SHAPE, SPACING)
    center = grid.ijk_to_lps((130, 120, 30))
    z, y, x = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    lps = grid.ijk_to_lps(np.stack([x, y, z], axis=-1))
    body = np.hypot(lps[..., 0] - 190, lps[..., 1] - 190) < 150
    lesion = ((lps - center) ** 2).sum(axis=-1) < RADIUS_MM**2
    hu = np.where(body, 50.0, -1000.0) + 45 * lesion + np.random.default_rng(0).normal(0, 12, SHAPE)
    low, high = center - RADIUS_MM, center + RADIUS_MM
    cx, cy, cz = center.tolist()
    long = ((low[0], cy, cz), (high[0], cy, cz))
    short = ((cx, low[1], cz), (cx, high[1], cz))
    marks = {
        "box": LesionPrompt("box", box=Box((low[0], low[1], cz), (high[0], high[1], cz))),
        "RECIST": LesionPrompt("recist", long=long, short=short),
        "point": LesionPrompt("point", point=(cx, cy, cz)),
    }
    return Image(hu.astype(np.int16), grid), marks


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--segmenter", default="sam-tiny", help="a known name or a weights file")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="(%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    propagator = MemoryPropagator(load_segmenter(arguments.segmenter, arguments.device))
    image, marks = made_up()
    before = _peak_mb()
    propagator.propagate(image, marks["box"])
    table = Table(
        title=f"one lesion of {2 * RADIUS_MM:.0f} mm in {SHAPE[2]} x {SHAPE[1]} x {SHAPE[0]}", box=SIMPLE_HEAD
    )
    for head in ("mark", "seconds", "range", "processor", "volume, ml"):
        table.add_column(head, justify="left" if head == "mark" else "right")
    document: dict[str, object] = {}
    for name, mark in marks.items():
        wall, work, volume = [], [], 0.0
        for _ in range(arguments.repeats):
            start, busy = time.perf_counter(), time.process_time()
            block = propagator.propagate(image, mark)[1]
            wall.append(time.perf_counter() - start)
            work.append(time.process_time() - busy)
            volume = float((block.probability >= 0.5).sum() * image.grid.voxel_ml)
        spread = f"{min(wall):.2f} to {max(wall):.2f}"
        table.add_row(name, f"{np.median(wall):.2f}", spread, f"{np.median(work):.2f}", f"{volume:.1f}")
        document[name] = {"seconds": wall, "processor_seconds": work, "volume_ml": volume}
    truth = 4 / 3 * np.pi * RADIUS_MM**3 / 1000
    memory = f"peak memory {_peak_mb():.0f} MB, of which {before:.0f} MB before the first lesion"
    table.caption = f"the lesion has {truth:.1f} ml; {arguments.threads} threads; {memory}"
    answer([table], document | {"peak_mb": _peak_mb(), "before_mb": before}, arguments.json)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    command(main)
