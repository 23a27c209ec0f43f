"""How far off are surface and sphericity of statistics.csv, and what do the statistics of a large scan cost?

    python benchmarks/results/surface.py

Balls and ellipsoids lie anywhere in their voxels and at any angle; bricks at any angle (turned) and along the voxel
axes (straight). SimpleITK's estimate stands beside ours. Then seconds for a scan of 512 x 512 x 200 voxels with 14
structures. Ten seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from rich.table import Table
from scipy.spatial.transform import Rotation

from benchmarks.common import answer, command, options, progress
from medlsam.geometry import Grid
from medlsam.measure.shape import sphericity, surface_area
from medlsam.measure.statistics import structure_statistics
from medlsam.results import Localization, LocatedStructure, Segmentation
from medlsam.volume import Image, LabelMap

Spacing = tuple[float, float, float]
Mask = NDArray[np.bool_]
#: Of voxels, (z, y, x) mm.
SPACINGS: tuple[Spacing, ...] = ((1, 1, 1), (3, 1, 1), (5, 0.8, 0.8))
#: Semi-axes, mm.
ROUND = (
    (5, 5, 5),
    (10, 10, 10),
    (20, 20, 20),
    (40, 40, 40),
    (10, 10, 50),
    (5, 25, 25),
    (10, 30, 50),
    (30, 40, 50),
)
#: Edges, mm.
BRICKS = ((20, 20, 20), (10, 30, 50), (40, 40, 40))
TRIES = 12


def drawn(inside: Callable[[Any], Any], reach: float, spacing: Spacing, seed: int, turn: bool = True) -> Mask:
    """The voxels whose middles lie inside of a shape around 0, shifted by part of a voxel and turned at random."""
    generator = np.random.default_rng(seed)
    half = [math.ceil(reach / s) + 1 for s in spacing]
    axes = [
        (np.arange(-n, n + 1) + shift) * s
        for n, shift, s in zip(half, generator.uniform(-0.5, 0.5, 3), spacing, strict=True)
    ]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    if turn:
        places = places @ Rotation.random(random_state=seed).as_matrix()
    return np.asarray(inside(places))


def ellipsoid_surface(semi_axes: tuple[float, ...]) -> float:
    """mm2, by summing small patches."""
    a, b, c = semi_axes
    steps = 1000
    u, v = np.meshgrid(
        (np.arange(steps) + 0.5) * math.pi / steps,
        (np.arange(steps) + 0.5) * 2 * math.pi / steps,
        indexing="ij",
    )
    across = np.sqrt(
        (b * c * np.sin(u) ** 2 * np.cos(v)) ** 2
        + (a * c * np.sin(u) ** 2 * np.sin(v)) ** 2
        + (a * b * np.sin(u) * np.cos(u)) ** 2
    )
    return float(across.sum() * 2 * math.pi**2 / steps**2)


def of_simpleitk(mask: Mask, spacing: Spacing) -> float:
    """The surface as SimpleITK estimates it, mm2."""
    image = sitk.GetImageFromArray(np.pad(mask, 1).astype(np.uint8))
    image.SetSpacing(spacing[::-1])
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.ComputePerimeterOn()
    shapes.Execute(image)
    return float(shapes.GetPerimeter(1))


def large_scan() -> Segmentation:
    """14 ellipsoids, from a gland to a lung, in 512 x 512 x 200 voxels of 0.8 x 0.8 x 2 mm."""
    grid = Grid((200, 512, 512), (0.8, 0.8, 2.0))
    labels = np.zeros(grid.shape_zyx, np.uint8)
    generator = np.random.default_rng(0)
    for value, size in enumerate(np.geomspace(8, 90, 14), start=1):
        half = [round(size * f / s) for f, s in zip((1.2, 0.8, 0.8), (2.0, 0.8, 0.8), strict=True)]
        low = [int(generator.integers(0, n - 2 * h - 1)) for n, h in zip(grid.shape_zyx, half, strict=True)]
        block = labels[tuple(slice(start, start + 2 * h + 1) for start, h in zip(low, half, strict=True))]
        z, y, x = (np.linspace(-1, 1, n) ** 2 for n in block.shape)
        block[(z[:, None, None] + y[:, None] + x) <= 1] = value
    names = {value: f"structure_{value}" for value in range(1, 15)}
    hu = generator.integers(-100, 200, grid.shape_zyx, dtype=np.int16)
    located = {name: LocatedStructure(name, "found", 0.9) for name in names.values()}
    return Segmentation(
        "scan", LabelMap(labels, grid), names, Localization("scan", located), image=Image(hu, grid)
    )


def shape_rows() -> list[dict[str, Any]]:
    """Error of the surface, and sphericity, of each shape in each spacing."""
    rows = []
    for spacing in SPACINGS:
        progress(f"voxels of {spacing} mm")
        shapes: list[tuple[str, float, Callable[[int], Mask]]] = []
        for semi in ROUND:
            name = f"ball, radius {semi[0]}" if len(set(semi)) == 1 else f"ellipsoid {semi}"

            def ellipsoid(seed: int, semi: Any = semi) -> Mask:
                return drawn(lambda at: ((at / semi) ** 2).sum(axis=-1) <= 1, max(semi), spacing, seed)  # noqa: B023

            shapes.append((name, ellipsoid_surface(semi), ellipsoid))
        for edges in BRICKS:
            for turn in (True, False):

                def brick(seed: int, edges: Any = edges, turn: bool = turn) -> Mask:
                    half = np.asarray(edges) / 2
                    reach = float(np.linalg.norm(half))
                    return drawn(lambda at: (np.abs(at) <= half).all(axis=-1), reach, spacing, seed, turn)  # noqa: B023

                a, b, c = edges
                shapes.append(
                    (
                        f"brick {edges} {'turned' if turn else 'straight'}",
                        2.0 * (a * b + a * c + b * c),
                        brick,
                    )
                )
        for name, true, make in shapes:
            masks = [make(seed) for seed in range(TRIES)]
            ours = np.array([surface_area(mask, spacing) for mask in masks])
            theirs = np.array([of_simpleitk(mask, spacing) for mask in masks])
            volumes = [np.count_nonzero(mask) * math.prod(spacing) for mask in masks]
            round_as = [sphericity(v, s) for v, s in zip(volumes, ours, strict=True)]
            rows.append(
                {
                    "spacing_zyx_mm": spacing,
                    "shape": name,
                    "n": TRIES,
                    "error": (ours / true - 1).tolist(),
                    "error_simpleitk": (theirs / true - 1).tolist(),
                    "sphericity": round_as,
                }
            )
    return rows


def main() -> None:
    """Measure and print."""
    arguments = options(__doc__, real=False).parse_args()
    rows = shape_rows()
    table = Table(title=f"error of the surface in %, mean ±std (largest) of n = {TRIES} places")
    for head in ("voxel mm (z, y, x)", "shape", "ours", "SimpleITK", "sphericity"):
        table.add_column(head, justify="left" if head in ("shape", "voxel mm (z, y, x)") else "right")
    for row in rows:
        cells = []
        for key in ("error", "error_simpleitk"):
            percent = 100 * np.array(row[key])
            cells.append(f"{percent.mean():+.1f} ±{percent.std():.1f} ({np.abs(percent).max():.0f})")
        cells.append(f"{np.mean(row['sphericity']):.3f}")
        table.add_row(str(row["spacing_zyx_mm"]), row["shape"], *cells)
    found = large_scan()
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        structure_statistics(found)
        seconds.append(time.perf_counter() - began)
    cost = Table(title="statistics of 512 x 512 x 200 voxels with 14 structures")
    cost.add_column("seconds, the least of five", justify="right")
    cost.add_row(f"{min(seconds):.2f}")
    answer([table, cost], {"shapes": rows, "seconds": min(seconds)}, arguments.json)


if __name__ == "__main__":
    command(main)
