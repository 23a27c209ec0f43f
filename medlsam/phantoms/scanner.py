"""What a scanner adds to the body: the couch, the streaks of metal, blur and noise, the circle it sees."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.geometry import Grid
from medlsam.phantoms.person import Person
from medlsam.volume.hounsfield import HIGHEST_HU


def physical_axis(grid: Grid, axis: int) -> NDArray[np.float32]:
    """(Z, Y, X) or broadcastable: one LPS coordinate of each voxel, mm."""
    z, y, x = grid.shape_zyx
    m = grid.matrix[axis]
    value = np.full((1, 1, 1), grid.origin_xyz[axis])
    for k, (count, shape) in enumerate(((x, (1, 1, -1)), (y, (1, -1, 1)), (z, (-1, 1, 1)))):
        # Without a part of its own an axis is left out: on straight grids this stays a line.
        if abs(m[k]) > 1e-9:
            value = value + m[k] * np.arange(count).reshape(shape)
    return np.asarray(value, dtype=np.float32)


def table_hu(hu: NDArray[np.float32], person: Person, grid: Grid) -> None:
    """Put the couch (flat or curved) and, under the head, a cushion into the air; in place."""
    center = person.to_physical(np.array([[0.0, 0.0, 500.0]]))[0]
    back = center[1] + (131 + 22 * max(person.fat - 1, 0)) * person.scale[1]
    curved = person.value("couch", 0, 1) < 0.5
    x, y, z = (physical_axis(grid, axis) for axis in range(3))
    sag = (x - np.float32(center[0])) ** 2 / np.float32(1500 if curved else 1e7)
    depth = y - np.float32(back) + np.minimum(sag, 60)
    wide = np.abs(x - np.float32(center[0])) < 225
    air = hu < -700
    board = (depth > 0) & (depth < 32) & wide & air
    inside = board & (depth > 3.5) & (depth < 28.5)
    np.copyto(hu, np.float32(-60), where=board)
    np.copyto(hu, np.float32(-935), where=inside)
    neck = person.to_physical(np.array([[0.0, 70.0, 690.0]]))[0]
    cushion = air & (z > neck[2]) & (depth < 0) & (y > neck[1] - 5) & (np.abs(x - np.float32(center[0])) < 95)
    np.copyto(hu, np.float32(-955), where=cushion & ~board)


def metal_artefact(hu: NDArray[np.float32], person: Person, grid: Grid) -> None:
    """Dental fillings and a hip implant with dark and bright streaks in their slices; in place."""
    fillings = np.array([[-27.0, -52.0, 735.0], [30.0, -58.0, 740.0], [-20.0, -70.0, 744.0]])
    fillings = fillings[:, :] - np.pad(person.neck_shear(fillings[:, 2:]), ((0, 0), (0, 1)))
    implant = np.array([[-92.0, -4.0, 62.0]])
    shape = hu.shape
    x, y, z = (np.broadcast_to(physical_axis(grid, axis), shape) for axis in range(3))
    for points, radius, reach in ((fillings, 5.0, 9.0), (implant, 24.0, 26.0)):
        for index, (cx, cy, cz) in enumerate(person.to_physical(points)):
            near = np.flatnonzero(np.abs(z - np.float32(cz)).ravel() < reach)
            if not len(near):
                continue
            dx, dy = x.ravel()[near] - np.float32(cx), y.ravel()[near] - np.float32(cy)
            dz = z.ravel()[near] - np.float32(cz)
            distance = np.hypot(dx, dy) + 1
            rng = person.generator(f"metal {radius} {index}")
            count, phase = int(rng.integers(5, 9)), rng.uniform(0, 6.28)
            angle = np.arctan2(dy, dx)
            rays = np.cos(count * angle + phase) + 0.7 * np.cos((2 * count + 3) * angle - phase)
            fade = np.exp(-distance / np.float32(70 + radius)) * (1 - (dz / reach) ** 2)
            flat = hu.reshape(-1)
            flat[near] += np.where(flat[near] > -800, 1.0, 0.35) * np.float32(650) * rays * fade
            core = dx * dx + dy * dy + dz * dz < radius**2
            flat[near[core]] = HIGHEST_HU


def scanner_noise(hu: NDArray[np.float32], person: Person, grid: Grid, noise_hu: float) -> None:
    """Blur as the scanner's point spread does, with noise that the same blur correlates; in place."""
    sigma = [min(0.45 + 0.5 / s, 1.2) for s in grid.spacing_xyz[::-1]]
    if noise_hu > 0:
        # The blur takes away most of white noise: its gain is the sum of squared kernel weights per axis.
        gain = 1.0
        for s in sigma:
            impulse = np.zeros(15)
            impulse[7] = 1
            gain *= float(np.sum(ndimage.gaussian_filter1d(impulse, s, truncate=2.5) ** 2))
        rng = person.generator("noise")
        for part in hu:
            noise = rng.standard_normal(part.shape, dtype=np.float32)
            noise *= np.float32(noise_hu / math.sqrt(gain))
            part += noise
    for axis, s in enumerate(sigma):
        ndimage.gaussian_filter1d(hu, s, axis=axis, output=hu, truncate=2.5, mode="nearest")


def outside_circle(grid: Grid, center: NDArray[np.float64], radius: float) -> NDArray[np.bool_]:
    """Broadcastable to (Z, Y, X): what lies farther than ``radius`` mm from the middle, in a plane of one height."""
    if not math.isfinite(radius):
        return np.zeros(grid.shape_zyx, bool)
    squared = sum((physical_axis(grid, axis) - np.float32(center[axis])) ** 2 for axis in (0, 1))
    return np.asarray(np.broadcast_to(squared > radius**2, grid.shape_zyx))
