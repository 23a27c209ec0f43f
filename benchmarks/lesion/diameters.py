"""How far off are diameters of ellipses whose axes are known?

    python benchmarks/lesion/diameters.py

Ellipses of random size, angle, place and pixels (not square), and as many of the least favourable kind: at 0, 45 or 90
degrees, with their middle on the middle or the edge of a pixel. Half axes are three pixels or more. Errors are in
pixels, of the pixel's longer side: largest, mean, and how many ellipses are off by more than one. Compared are what the
outline goes around (``medlsam.measure.recist``), the short axis as a chord and as the width of the outline, and HCUCH's
oriented box as its authors' code has it, through the centres of pixels. A few seconds.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.common import answer, command, options
from medlsam.measure.recist import hcuch_axes, recist_diameters
from medlsam.measure.shape import Outline, axial_diameters

#: Full length of the long axis, mm; short one as a share of it; pixel sides, mm.
LONGEST_MM, RATIO, PIXEL_MM = (6.0, 60.0), (0.3, 1.0), (0.5, 1.3)
#: Half axes have at least so many pixels.
LEAST_PIXELS = 3
OUTLINES: tuple[Outline, ...] = ("edges", "corners", "centres")


def ellipse(
    axes: tuple[float, float], degrees: float, pixel: tuple[float, float], shift: tuple[float, float]
) -> NDArray[np.bool_]:
    """(1, Y, X): the pixels whose centres lie in an ellipse.

    Args:
        axes: long and short, full lengths, mm.
        degrees: from x to the long one.
        pixel: sides along x and y, mm.
        shift: of its middle in its pixel, along x and y, as a share of the pixel.
    """
    half = [int(np.ceil(axes[0] / 2 / size)) + 2 for size in pixel]
    x, y = ((np.arange(-n, n + 1) + d) * size for n, d, size in zip(half, shift, pixel, strict=True))
    angle = np.deg2rad(degrees)
    along = x[None] * np.cos(angle) + y[:, None] * np.sin(angle)
    across = y[:, None] * np.cos(angle) - x[None] * np.sin(angle)
    found: NDArray[np.bool_] = ((2 * along / axes[0]) ** 2 + (2 * across / axes[1]) ** 2 <= 1)[None]
    return found


def drawn(
    rng: np.random.Generator, aligned: bool
) -> tuple[tuple[float, float], NDArray[np.bool_], tuple[float, float]]:
    """Draw one ellipse: its axes, its mask, and its pixels."""
    x, y = (float(v) for v in rng.uniform(*PIXEL_MM, 2))
    long = float(rng.uniform(*LONGEST_MM))
    short = max(long * float(rng.uniform(*RATIO)), 2 * LEAST_PIXELS * max(x, y))
    long = max(long, short)
    degrees = float(rng.choice([0, 45, 90]) if aligned else rng.uniform(0, 180))
    dx, dy = (float(v) for v in (rng.choice([0, 0.5], 2) if aligned else rng.uniform(-0.5, 0.5, 2)))
    return (long, short), ellipse((long, short), degrees, (x, y), (dx, dy)), (x, y)


def measured(mask: NDArray[np.bool_], pixel: tuple[float, float]) -> dict[str, tuple[float, float]]:
    """Long and short axis by every way, mm."""
    spacing = (*pixel, 1.0)
    found = {}
    for outline in OUTLINES:
        own = recist_diameters(mask, spacing, outline)
        found[f"outline through {outline}"] = (own.longest_mm, own.perpendicular_mm)
    found["edges, width in place of chord"] = axial_diameters(mask, (1.0, pixel[1], pixel[0]))
    for outline in ("centres", "edges"):
        box = hcuch_axes(mask, spacing, outline)
        found[f"HCUCH's box, {outline}"] = (box.major_mm, box.minor_mm)
    return found


def main() -> None:
    parser = options(__doc__, real=False)
    parser.add_argument("--ellipses", type=int, default=200, help="of each kind (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    printed, document = [], {}
    for kind in ("random", "aligned with the pixels"):
        errors: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for _ in range(given.ellipses):
            (long, short), mask, pixel = drawn(rng, kind != "random")
            for way, (found_long, found_short) in measured(mask, pixel).items():
                errors[way].append(((found_long - long) / max(pixel), (found_short - short) / max(pixel)))
        table, document[kind] = summary(f"{given.ellipses} ellipses, {kind}", errors)
        printed.append(table)
    answer(printed, document, given.json)


def summary(title: str, errors: dict[str, list[tuple[float, float]]]) -> tuple[Table, dict[str, Any]]:
    """What is printed, and the figures behind it."""
    table = Table(title=f"{title}: error in pixels")
    table.add_column("way")
    for axis in ("long", "short"):
        for head in ("largest", "mean", "mean size", "over 1"):
            table.add_column(f"{axis}: {head}", justify="right")
    document: dict[str, Any] = {}
    for way, pairs in errors.items():
        own = np.asarray(pairs)
        cells, document[way] = [], {"n": len(own)}
        for axis, values in zip(("long", "short"), own.T, strict=True):
            figures = {
                "largest": float(np.abs(values).max()), "mean": float(values.mean()),
                "mean_size": float(np.abs(values).mean()), "over_one": int((np.abs(values) > 1).sum()),
            }  # fmt: skip
            document[way][axis] = figures
            cells += [f"{figures['largest']:.2f}", f"{figures['mean']:+.2f}", f"{figures['mean_size']:.2f}"]
            cells.append(str(figures["over_one"]))
        table.add_row(way, *cells)
    return table, document


if __name__ == "__main__":
    command(main)
