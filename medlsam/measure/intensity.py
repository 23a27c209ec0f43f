"""The HU inside of a mask, as figures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Percentiles that are reported beside the mean.
PERCENTILES = {"p5_hu": 5, "median_hu": 50, "p95_hu": 95}


def intensity_figures(values: NDArray[Any]) -> dict[str, float]:
    """Mean, standard deviation and percentiles of HU; one value of metal moves the first two, not the others.

    Args:
        values: (N,) HU of a structure's voxels, at least one.

    Returns:
        ``mean_hu``, ``std_hu``, and the names of ``PERCENTILES``; rounded to 0.01 HU.
    """
    values = values.astype(np.float64)
    figures = {"mean_hu": values.mean(), "std_hu": values.std()}
    figures |= zip(PERCENTILES, np.percentile(values, list(PERCENTILES.values())), strict=True)
    return {name: round(float(value), 2) for name, value in figures.items()}
