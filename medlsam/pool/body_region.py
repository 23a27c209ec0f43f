"""Which parts of the body a scan shows, estimated from the outline, lung and bone of its slices.

An estimate to see what a pool is made of and to weigh its parts, not a label: nobody looked at the scans
(docs/decisions/scale).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.geometry import filled
from medlsam.volume import Image
from medlsam.volume.hounsfield import BONE_HU, LUNG_HU, OUTLINE_HU

#: From the head downwards; ``other`` is what none of them is plain in (limbs, crops).
REGIONS = ("head", "neck", "chest", "abdomen", "pelvis", "other")
_STEP_MM = 4.0
#: A region counts where that much of it is seen, or half of a scan that is shorter than twice that.
_LEAST_MM = 30.0
#: Heads, necks and limbs are narrower.
_TRUNK_MM = 240.0
#: Shares of the outline: a skull, lungs, and bone as deep and lateral as only hips have it.
_SKULL, _LUNG, _HIPS = 0.14, 0.08, 0.008
_DEEP_MM, _LATERAL_MM = 28.0, 60.0


def regions(volume: Image) -> list[str]:
    """The regions of a prepared scan, from the head downwards.

    Args:
        volume: HU on an isotropic grid along LPS.
    """
    step = max(1, round(_STEP_MM / volume.grid.spacing_xyz[0]))
    spacing = volume.grid.spacing_xyz[0] * step
    array = volume.array[::step, ::step, ::step]
    kinds = _kinds(np.array([_measure(plane, spacing) for plane in array]))
    least = min(_LEAST_MM, 0.5 * len(kinds) * spacing)
    return [name for name in REGIONS if (kinds == name).sum() * spacing >= least] or ["other"]


def _measure(plane: NDArray[np.float32], spacing: float) -> tuple[float, float, float, float]:
    """Width (mm) of the largest outline of a slice, and shares of it: lung, bone, and bone deep at the sides."""
    outlines, count = ndimage.label(ndimage.binary_fill_holes(ndimage.binary_opening(plane > OUTLINE_HU)))
    if not count:
        return 0.0, 0.0, 0.0, 0.0
    body = outlines == np.bincount(outlines.ravel())[1:].argmax() + 1
    columns = filled(body, 1)
    middle = (columns[0] + columns[-1]) / 2
    inside = plane[body]
    bone = body & (plane > BONE_HU)
    deep = bone & (ndimage.distance_transform_cdt(body, "taxicab") * spacing > _DEEP_MM)
    deep[:, np.abs(np.arange(plane.shape[1]) - middle) * spacing < _LATERAL_MM] = False
    size = len(inside)
    return (
        len(columns) * spacing,
        float((inside < LUNG_HU).sum() / size),
        float(bone.sum() / size),
        float(deep.sum() / size),
    )


def _kinds(measures: NDArray[np.float64]) -> NDArray[np.str_]:
    """A region for each slice, the lowest first, from its own measures and what lies above and below."""
    width, lung, bone, deep = measures.T
    places = np.arange(len(measures))
    wide = width >= _TRUNK_MM
    kinds = np.full(len(measures), "other", dtype="U8")
    # A leg is as narrow as a neck, but lies below the trunk.
    narrow = ~wide & (width > 0) & (places > (places[wide].max() if wide.any() else -1))
    skull = narrow & (ndimage.median_filter(bone, 5) >= _SKULL)
    chest = wide & (lung >= _LUNG)
    if skull.any() or chest.any():
        kinds[narrow] = "neck"
    if skull.any():
        kinds[narrow & (places >= places[skull].min())] = "head"
    # Shoulders are chest: above the lungs, or below a neck where the scan ends before the lungs.
    lowest = places[chest].min() if chest.any() else (0 if skull.any() else len(measures))
    trunk = wide & (places < lowest)
    kinds[wide & ~trunk] = "chest"
    kinds[trunk] = np.where(deep[trunk] >= _HIPS, "pelvis", "abdomen")
    return kinds
