"""Resampling to another grid, without aliasing when it shrinks."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from medlsam.geometry import Grid
from medlsam.volume.resample_separable import parallel_axes, resample_parallel
from medlsam.volume.volume import AIR_HU, Volume, to_sitk

Interpolation = Literal["linear", "nearest"]


def resample(
    volume: Volume, grid: Grid, interpolation: Interpolation = "linear", fill: float | None = None
) -> Volume:
    """Sample a volume on another grid.

    Args:
        volume: HU or labels.
        grid: where to sample; any direction.
        interpolation: "linear" blurs first along every axis that shrinks (gaussian), and gives float32;
            "nearest" keeps values and type.
        fill: value outside the volume's voxels; -1024, or 0 for a label map, if None.

    Returns:
        The volume on ``grid``.
    """
    if fill is None:
        fill = 0.0 if volume.is_label_map else AIR_HU
    if interpolation == "nearest":
        sampled = _sampled(volume, grid, sitk.sitkNearestNeighbor, fill)
        return Volume(sampled.astype(volume.array.dtype, copy=False), grid, volume.path)
    sigmas = blur_sigmas_mm(volume.grid, grid)
    order = parallel_axes(volume.grid, grid)
    if order is None and any(sigmas):
        # Blurred on a coarser grid in the scan's own direction first: a blurred copy of every voxel of a large
        # scan would take many times the scan's memory.
        middle, sigmas = _between(volume.grid, grid, sigmas)
        blurred = resample_parallel(volume.array, volume.grid, middle, sigmas, (0, 1, 2), fill)
        return Volume(_sampled(Volume(blurred, middle), grid, sitk.sitkLinear, fill), grid, volume.path)
    if order is None:
        return Volume(_sampled(_without_padding(volume), grid, sitk.sitkLinear, fill), grid, volume.path)
    return Volume(resample_parallel(volume.array, volume.grid, grid, sigmas, order, fill), grid, volume.path)


def blur_sigmas_mm(source: Grid, target: Grid) -> tuple[float, float, float]:
    """The gaussian's sigma (mm) along each voxel axis (i, j, k) of ``source`` before sampling on ``target``.

    A voxel's point spread is taken as a gaussian whose full width at half maximum is the spacing; the blur is
    what is missing from the source's to the target's (Cardoso et al., MICCAI 2015).
    """
    missing = np.maximum(_extent_mm(source, target) ** 2 - np.asarray(source.spacing_xyz) ** 2, 0.0)
    i, j, k = np.sqrt(missing) / (2 * math.sqrt(2 * math.log(2)))
    return (float(i), float(j), float(k))


def _extent_mm(source: Grid, target: Grid) -> NDArray[np.float64]:
    """(3,) width of a voxel of ``target`` along the voxel axes (i, j, k) of ``source``."""
    turn = np.asarray(source.direction).reshape(3, 3).T @ np.asarray(target.direction).reshape(3, 3)
    width: NDArray[np.float64] = np.sqrt(((turn * np.asarray(target.spacing_xyz)) ** 2).sum(axis=1))
    return width


def _between(
    source: Grid, target: Grid, sigmas_mm: tuple[float, float, float]
) -> tuple[Grid, tuple[float, float, float]]:
    """A grid over the same box and in the same direction as ``source`` with about a third of the spacing of ``target``.

    Sampling linearly between its voxels blurs too, by a triangle whose variance is a sixth of the squared spacing on
    average: the gaussian before it is that much narrower.
    """
    extent = np.asarray(source.shape_zyx[::-1]) * np.asarray(source.spacing_xyz)
    wanted = np.maximum(_extent_mm(source, target) / 3, source.spacing_xyz)
    counts = np.maximum(np.floor(extent / wanted + 1e-3), 1).astype(int)
    spacing = extent / counts
    origin = source.ijk_to_lps((spacing / np.asarray(source.spacing_xyz) - 1) / 2)
    x, y, z = (int(n) for n in counts)
    sx, sy, sz = (float(s) for s in spacing)
    ox, oy, oz = (float(o) for o in origin)
    i, j, k = np.sqrt(
        np.maximum(np.square(sigmas_mm) - (spacing**2 - np.square(source.spacing_xyz)) / 6, 0.0)
    )
    return Grid((z, y, x), (sx, sy, sz), (ox, oy, oz), source.direction), (float(i), float(j), float(k))


def _without_padding(volume: Volume) -> Volume:
    if volume.is_label_map or volume.array.min() >= AIR_HU:
        return volume
    clipped = np.maximum(volume.array, volume.array.dtype.type(AIR_HU))
    return Volume(clipped, volume.grid, volume.path)


def _sampled(volume: Volume, grid: Grid, method: int, fill: float) -> NDArray[Any]:
    x, y, z = grid.shape_zyx[::-1]
    kind = sitk.sitkUnknown if method == sitk.sitkNearestNeighbor else sitk.sitkFloat32
    resampled = sitk.Resample(
        to_sitk(volume.array, volume.grid),
        (x, y, z),
        sitk.Transform(),
        method,
        grid.origin_xyz,
        grid.spacing_xyz,
        grid.direction,
        fill,
        kind,
    )
    return np.asarray(sitk.GetArrayFromImage(resampled))
