"""A user's own torchio transforms in pretraining (torchio 1.2; this is the only file that knows it).

They change the values of the block of HU that a view is drawn from, in the loader process: torchio runs on CPUs only,
the loaders are many, and in the block the axes are still those of the scan, so thick slices lie as a scanner makes
them. Gamma, blur and noise of ``intensity.py`` come after, on the device that trains. Transforms that move voxels are
refused, since both losses rely on the exact place of every voxel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torchio
from torch import Tensor

from medlsam.errors import UsageError

#: Type of the entries of ``data.transforms``.
ValueTransform = torchio.Transform

#: Not derived from ``IntensityTransform``, but returns the same grid: it drops slices and interpolates them.
_KEEPS_PLACES = (torchio.RandomAnisotropy,)
#: Derived from ``IntensityTransform``, but moves parts of the image, or needs labels, of which there are none.
_MOVES = (
    torchio.RandomSwap,
    torchio.Swap,
    torchio.RandomMotion,
    torchio.Motion,
    torchio.RandomLabelsToImage,
    torchio.LabelsToImage,
)


def check_transforms(transforms: Iterable[Any]) -> None:
    """Refuse transforms that move voxels, also inside ``Compose`` and ``OneOf``.

    Args:
        transforms: of ``data.transforms``.

    Raises:
        UsageError: with the transform, the reason, and what to do.
    """
    for transform in transforms:
        name = type(transform).__name__
        if isinstance(transform, torchio.Compose):
            check_transforms(transform.transforms)
        elif isinstance(transform, torchio.OneOf):
            check_transforms(transform.transforms_dict)
        elif isinstance(transform, (torchio.SpatialTransform, *_MOVES)):
            raise UsageError(
                f"data.transforms: {name} moves voxels or makes new ones, but the losses rely on the exact place of"
                " each voxel of the scan; leave it out (data.views has rotation_deg, scale, shift_mm and elastic_mm)"
            )
        elif not isinstance(transform, (torchio.IntensityTransform, *_KEEPS_PLACES)):
            raise UsageError(
                f"data.transforms: nothing says that {name} leaves voxels at their place, on which the losses rely;"
                " take a torchio.IntensityTransform or derive one"
            )


def change_values(
    block: Tensor, transforms: Sequence[ValueTransform], spacing_mm: float, rng: np.random.Generator
) -> Tensor:
    """Apply transforms to a block of a scan, one after the other.

    Args:
        block: (Z, Y, X) HU, LPS. The transforms get a torchio image: (1, X, Y, Z) with spacing and orientation, so that
            their axes 0, 1, 2 are x, y, z and their lengths are mm.
        transforms: that pass ``check_transforms``.
        spacing_mm: of the scan, isotropic.
        rng: torchio draws from torch's global generator, which is seeded from this one and put back after.

    Returns:
        (Z, Y, X) float32 HU.

    Raises:
        UsageError: a transform returned another grid, or values that are not finite.
    """
    # torchio's affine matrices are RAS.
    affine = np.diag([-spacing_mm, -spacing_mm, spacing_mm, 1.0])
    image: Any = torchio.ScalarImage(tensor=block.float().permute(2, 1, 0)[None], affine=affine)
    shape = image.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**62)))
        for transform in transforms:
            image = transform(image)
            if image.shape != shape or not np.allclose(image.affine, affine):
                raise UsageError(
                    f"data.transforms: {transform.name} made a grid of {image.shape[1:]} voxels (x, y, z) of one of"
                    f" {shape[1:]}, or moved it; the losses rely on the place of each voxel: leave it out"
                )
            if not bool(image.data.isfinite().all()):
                raise UsageError(
                    f"data.transforms: {transform.name} made values that are not finite, of HU from"
                    f" {float(block.min()):g} to {float(block.max()):g}; change its settings or leave it out"
                )
    changed: Tensor = image.data[0].float().permute(2, 1, 0).contiguous()
    return changed
