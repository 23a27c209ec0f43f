"""What a notebook's widget costs: seconds to show a scan, to follow an edit, and to draw a slice; bytes that are sent.

    python benchmarks/viewer/notebook.py [--size 512 512 200] [--structures 40]

Blocks in noise, so nothing that compresses better than a scan. No widget is made: this is the work in the kernel, not
in the browser. Printed are medians of three, or of twenty slices, of the processor's seconds, one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.common import answer, command
from medlsam.export.notebook.cells import Table as Rows
from medlsam.export.notebook.niivue import nifti
from medlsam.export.notebook.shown import shown_segmentation
from medlsam.export.notebook.slider import draw_slice
from medlsam.geometry import Grid
from medlsam.results import Localization, Segmentation
from medlsam.volume import Image, LabelMap
from medlsam.windows import WINDOWS


def seconds(work: Callable[[], object], times: int = 3) -> float:
    """Median of the processor's seconds."""
    found = []
    for _ in range(times):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return float(np.median(found))


def made(size: Sequence[int], structures: int) -> Segmentation:
    """Noise with blocks of labels, stored with the head first, as many scanners do."""
    x, y, z = size
    random = np.random.default_rng(0)
    grid = Grid((z, y, x), (0.8, 0.8, 2.0), direction=(1, 0, 0, 0, 1, 0, 0, 0, -1))
    labels = np.zeros(grid.shape_zyx, np.uint8)
    for value in range(1, structures + 1):
        low = [int(random.integers(0, n - n // 5)) for n in grid.shape_zyx]
        part = (slice(a, a + n // 5) for a, n in zip(low, grid.shape_zyx, strict=True))
        labels[tuple(part)] = value
    image = random.normal(0, 30, grid.shape_zyx).astype(np.int16)
    names = {value: f"structure {value}" for value in range(1, structures + 1)}
    return Segmentation(
        "noise", LabelMap(labels, grid), names, Localization("noise", {}), image=Image(image, grid)
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 200), help="x y z (%(default)s)")
    parser.add_argument("--structures", type=int, default=40, help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    segmentation, rows = made(arguments.size, arguments.structures), Rows("noise", ("structure",), ())
    shown = shown_segmentation(segmentation, None, rows)
    grid = shown.image.grid
    figures = {
        "scan and labels turned, s": seconds(lambda: shown_segmentation(segmentation, None, rows)),
        "scan encoded, s": seconds(lambda: nifti(shown.image.array, grid)),
        "scan, MB": len(nifti(shown.image.array, grid)) / 1e6,
        "labels encoded, s": seconds(lambda: nifti(shown.labels, grid)),
        "labels, MB": len(nifti(shown.labels, grid)) / 1e6,
        "labels after an edit, s": seconds(
            lambda: shown.with_labels(segmentation.labels, segmentation.names, rows)
        ),
        "slice drawn, s": seconds(lambda: draw_slice(shown, grid.shape_zyx[0] // 2, WINDOWS["abdomen"]), 20),
    }
    table = Table("", "value", box=SIMPLE_HEAD)
    for name, value in figures.items():
        table.add_row(name, f"{value:.2f}")
    document = {"size": list(arguments.size), "structures": arguments.structures, **figures}
    answer([table], document, arguments.json)


if __name__ == "__main__":
    command(main)
