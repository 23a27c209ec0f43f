"""Resampling to another grid, without aliasing when it shrinks."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import SimpleITK as sitk  # noqa: N813

from medlsam.geometry import Grid
from medlsam.volume.model import AIR_HU, Volume, to_sitk
from medlsam.volume.separable import parallel_axes, resample_parallel

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
        image, method = to_sitk(volume.array, volume.grid), sitk.sitkNearestNeighbor
    else:
        sigmas = blur_sigmas_mm(volume.grid, grid)
        order = parallel_axes(volume.grid, grid)
        if order is not None:
            sampled = resample_parallel(volume.array, volume.grid, grid, sigmas, order, fill)
            return Volume(sampled, grid, volume.path)
        image, method = _blurred(volume, sigmas), sitk.sitkLinear
    x, y, z = grid.shape_zyx[::-1]
    resampled = sitk.Resample(
        image, (x, y, z), sitk.Transform(), method, grid.origin_xyz, grid.spacing_xyz, grid.direction, fill
    )
    array = sitk.GetArrayFromImage(resampled)
    return Volume(
        array.astype(volume.array.dtype) if interpolation == "nearest" else array, grid, volume.path
    )


def blur_sigmas_mm(source: Grid, target: Grid) -> tuple[float, float, float]:
    """The gaussian's sigma (mm) along each voxel axis (i, j, k) of ``source`` before sampling on ``target``.

    A voxel's point spread is taken as a gaussian whose full width at half maximum is the spacing; the blur is
    what is missing from the source's to the target's (Cardoso et al., MICCAI 2015).
    """
    turn = np.asarray(source.direction).reshape(3, 3).T @ np.asarray(target.direction).reshape(3, 3)
    wanted = np.sqrt(((turn * np.asarray(target.spacing_xyz)) ** 2).sum(axis=1))
    missing = np.maximum(wanted**2 - np.asarray(source.spacing_xyz) ** 2, 0.0)
    i, j, k = np.sqrt(missing) / (2 * math.sqrt(2 * math.log(2)))
    return (float(i), float(j), float(k))


def _blurred(volume: Volume, sigmas_mm: tuple[float, float, float]) -> sitk.Image:
    image = to_sitk(volume.array.astype(np.float32), volume.grid)
    for axis, sigma in enumerate(sigmas_mm):
        # Below a tenth of a voxel the kernel is a point; the recursive filter needs four voxels.
        if sigma > 0.1 * image.GetSpacing()[axis] and image.GetSize()[axis] >= 4:
            image = sitk.RecursiveGaussian(image, sigma=sigma, direction=axis)
    return image
