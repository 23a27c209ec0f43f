"""What lies around the field of view, where a file marks it by a value that air does not have."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.volume.hounsfield import LOWEST_HU

#: HU: what is darker passes for air as it is.
_DARK = -300
#: A single value that fills so much of a scan is no tissue (under 5 % in each of 248 real scans).
_MUCH = 0.05
_SAMPLE = 2_000_000


def fill_field_of_view(array: NDArray[Any]) -> str:
    """Make air of a value of tissue, mostly 0, that fills the scan from its border, in place.

    Args:
        array: (Z, Y, X) HU.

    Returns:
        What was seen and done, in words; empty where nothing was.
    """
    step = max(1, round((array.size / _SAMPLE) ** (1 / 3)))
    sample = array[::step, ::step, ::step]
    values, counts = np.unique(sample[sample > _DARK], return_counts=True)
    if not counts.size or counts.max() < _MUCH * sample.size:
        return ""
    value = float(values[counts.argmax()])
    # HU that were clipped to a window have their lowest value there, and lung has it too.
    if value == float(sample.min()) and value != 0:
        return ""
    count = fill_from_border(array, value, LOWEST_HU)
    if count < _MUCH * array.size:
        return ""
    return f"{100 * count / array.size:.0f} % of the voxels are {value:g} HU around the body; taken as air"


def fill_from_border(array: NDArray[Any], value: float, by: float) -> int:
    """Replace a value wherever it reaches from the border of its slice, in place.

    Inside the body the same value may be tissue; it stays.

    Args:
        array: (Z, Y, X).
        value: what marks the padding.
        by: what it becomes.

    Returns:
        How many voxels were replaced.
    """
    count = 0
    for plane in array:
        marked = plane == value
        border = np.concatenate([marked[0], marked[-1], marked[:, 0], marked[:, -1]])
        if not border.any():
            continue
        parts, _ = ndimage.label(marked)
        around = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
        outside = np.isin(parts, around[around > 0])
        plane[outside] = by
        count += int(outside.sum())
    return count
