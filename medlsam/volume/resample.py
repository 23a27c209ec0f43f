"""Resampling to another grid, without aliasing when it shrinks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from medlsam.geometry import Grid
from medlsam.volume.hounsfield import LOWEST_HU
from medlsam.volume.resample_separable import parallel_axes, resample_parallel
from medlsam.volume.volume import LabelMap, V, Volume, to_sitk


def resample(volume: V, grid: Grid, fill: float | None = None) -> V:
    """Sample a volume on another grid: a label map by nearest neighbour, an image linearly, whatever their types.

    Args:
        volume: HU or labels.
        grid: where to sample; any direction.
        fill: value outside the volume's voxels; if None, -1024 HU, or label 0.

    Returns:
        The volume on ``grid``. Labels keep values and type. HU become float32; along every axis that shrinks they are
        blurred before (gaussian).
    """
    if isinstance(volume, LabelMap):
        sampled = _sampled(volume.array, volume.grid, grid, sitk.sitkNearestNeighbor, fill or 0.0)
        return volume.derived(sampled.astype(volume.array.dtype, copy=False), grid)
    return volume.derived(_linear(volume, grid, LOWEST_HU if fill is None else fill), grid)


def _linear(image: Volume, grid: Grid, fill: float) -> NDArray[Any]:
    sigmas = blur_sigmas_mm(image.grid, grid)
    order = parallel_axes(image.grid, grid)
    if order is not None:
        return resample_parallel(image.array, image.grid, grid, sigmas, order, fill)
    if any(sigmas):
        # Blurred on a coarser grid in the scan's own direction first: a blurred copy of every voxel of a large
        # scan would take many times the scan's memory.
        middle, sigmas = _between(image.grid, grid, sigmas)
        blurred = resample_parallel(image.array, image.grid, middle, sigmas, (0, 1, 2), fill)
        return _sampled(blurred, middle, grid, sitk.sitkLinear, fill)
    return _sampled(_without_padding(image.array), image.grid, grid, sitk.sitkLinear, fill)


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


def _without_padding(array: NDArray[Any]) -> NDArray[Any]:
    return array if array.min() >= LOWEST_HU else np.maximum(array, array.dtype.type(LOWEST_HU))


def _sampled(array: NDArray[Any], source: Grid, grid: Grid, method: int, fill: float) -> NDArray[Any]:
    x, y, z = grid.shape_zyx[::-1]
    kind = sitk.sitkUnknown if method == sitk.sitkNearestNeighbor else sitk.sitkFloat32
    resampled = sitk.Resample(
        to_sitk(array, source),
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
