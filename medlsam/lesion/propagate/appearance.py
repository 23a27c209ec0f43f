"""How a lesion looks, and how its surroundings do: two histograms of smoothed HU, made on the key slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter, gaussian_filter1d

from medlsam.geometry import Grid

# Bins of HU; what lies beyond them counts as the last.
_LOW, _HIGH, _STEP = -250.0, 450.0, 10.0
_BINS = np.arange(_LOW, _HIGH + _STEP, _STEP)
# Noise of single pixels says nothing of tissue.
_SMOOTH_MM = 1.0
_RING_MM = (2.0, 10.0)
_LEAST_PIXELS = 20
#: Lesions that look too much like their surroundings cannot be judged by looks.
LEAST_DIFFERENCE = 0.15


@dataclass(frozen=True, eq=False)
class Appearance:
    """The looks of a lesion.

    Attributes:
        odds: for each bin of smoothed HU, the share of the lesion in lesion and ring, 0 to 1.
        inside: mean of that over the lesion on the key slice.
        around: mean over its ring there.
        smooth: standard deviation of the smoothing, pixels (rows, columns).
    """

    odds: NDArray[np.float64]
    inside: float
    around: float
    smooth: tuple[float, float]

    def of(self, hu: NDArray[np.generic]) -> NDArray[np.float64]:
        """Tell for each pixel of a slice (rows, columns) how much it looks like the lesion, 0 to 1."""
        smoothed = gaussian_filter(np.clip(hu, _LOW, _HIGH - 1).astype(np.float32), self.smooth)
        bins = np.clip((smoothed - _LOW) // _STEP, 0, len(self.odds) - 1).astype(int)
        return np.asarray(self.odds[bins])

    def likeness(self, hu: NDArray[np.generic], mask: NDArray[np.bool_]) -> float:
        """Tell how much a mask looks like the lesion: 1 as on the key slice, 0 as the surroundings there.

        1 where lesion and surroundings look alike, since then looks decide nothing.
        """
        if self.inside - self.around < LEAST_DIFFERENCE:
            return 1.0
        return float((self.of(hu)[mask].mean() - self.around) / (self.inside - self.around))


def learn_appearance(hu: NDArray[np.generic], mask: NDArray[np.bool_], grid: Grid) -> Appearance:
    """Learn the looks of a lesion from its mask on one slice.

    Args:
        hu: (rows, columns).
        mask: of the lesion, not empty.
        grid: of the scan, for the pixels' size.
    """
    pixel = float(np.sqrt(np.prod(grid.spacing_xyz[:2])))
    smooth = (_SMOOTH_MM / grid.spacing_xyz[1], _SMOOTH_MM / grid.spacing_xyz[0])
    smoothed = gaussian_filter(np.clip(hu, _LOW, _HIGH - 1).astype(np.float32), smooth)
    core = binary_erosion(mask)
    core = core if core.sum() >= _LEAST_PIXELS else mask
    near, far = (max(1, round(mm / pixel)) for mm in _RING_MM)
    ring = binary_dilation(mask, iterations=far) & ~binary_dilation(mask, iterations=near)
    inside, around = (_histogram(smoothed[where]) for where in (core, ring))
    odds = inside / (inside + around)
    made = Appearance(odds, 0.0, 0.0, smooth)
    likes = made.of(hu)
    return Appearance(
        odds, float(likes[mask].mean()), float(likes[ring].mean()) if ring.any() else 0.0, smooth
    )


def _histogram(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Share of each bin, smoothed, never 0."""
    counts = gaussian_filter1d(np.histogram(values, _BINS)[0].astype(float), 1.5)
    return np.asarray((counts + 1e-3 * counts.sum() + 1e-6) / (counts.sum() + 1e-6))
