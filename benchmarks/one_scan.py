"""Where the time goes when one scan is segmented: seconds per stage, for both searches.

    python benchmarks/one_scan.py [--spacing 1.5] [--repeats 3]

The scan and the templates are phantoms, so it runs anywhere. Prints a table of medians.
"""

from __future__ import annotations

import argparse
import statistics

from rich.console import Console
from rich.table import Table

import medlsam
from medlsam.localize.build_templates import Template, build_templates
from medlsam.phantoms import phantom
from medlsam.runtime.stopwatch import Stopwatch

TEMPLATE_SEEDS = (1, 2, 3)
SCAN_SEED = 11


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spacing", type=float, default=2.0, help="voxel spacing of the scan, mm")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    model = medlsam.load()
    made = [phantom(seed=seed, spacing_xyz=(3.0, 3.0, 3.0), region="thorax") for seed in TEMPLATE_SEEDS]
    scans = [Template(f"p{i}", m.image, m.labels) for i, m in enumerate(made)]
    templates = build_templates(model.localizer, scans, made[0].names)
    scan = phantom(seed=SCAN_SEED, spacing_xyz=(arguments.spacing,) * 3, region="thorax").image
    rows: dict[str, dict[str, list[float]]] = {}
    for search in ("consensus", "random-start"):
        for _ in range(arguments.repeats):
            stopwatch = Stopwatch()
            model.segment(scan, templates, stopwatch=stopwatch, search=search)
            for stage, seconds in stopwatch.seconds.items():
                rows.setdefault(stage, {}).setdefault(search, []).append(seconds)
    z, y, x = scan.array.shape
    table = Table(
        title=f"{x} x {y} x {z} voxels, {len(templates.structures)} structures, median of {arguments.repeats}, s"
    )
    for column in ("stage", "consensus", "random-start"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage, found in rows.items():
        table.add_row(
            stage, *[f"{statistics.median(found.get(s, [0.0])):.2f}" for s in ("consensus", "random-start")]
        )
    Console().print(table)


if __name__ == "__main__":
    main()
