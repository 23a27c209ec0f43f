"""Eight bits a voxel: 256 HU values, close to each other where tissues differ by little.

=================  ===========  ==================
HU                 step, HU     largest error, HU
=================  ===========  ==================
-1024 to -224      16           8 (lung, air; 12 below -1000)
-224 to 226        3            1.5 (fat, soft tissue, blood with contrast)
226 to 1186        24           12 (bone)
1186 to 3071       about 126    63 (teeth, metal)
=================  ===========  ==================

In the grey values that the encoder sees these are about equal steps: 0.004 to 0.005 of its range from air to bone.
``benchmarks/pretrain/pool.py`` prints the errors in real scans beside what neighbouring voxels differ by.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.volume.hounsfield import HIGHEST_HU, LOWEST_HU

LOWEST, HIGHEST = int(LOWEST_HU), int(HIGHEST_HU)


def _levels() -> NDArray[np.int16]:
    parts = (
        # Most voxels of many scans are exactly -1000.
        np.array([LOWEST]),
        np.arange(-1000, -224, 16),
        np.arange(-224, 226, 3),
        np.arange(226, 1186, 24),
        np.rint(np.linspace(1186, HIGHEST, 16)),
    )
    return np.concatenate(parts).astype(np.int16)


#: (256,) HU of each code, rising.
LEVELS_HU = _levels()
#: (4096,) nearest code of each whole HU from ``LOWEST`` to ``HIGHEST``.
_CODES = np.searchsorted(
    (LEVELS_HU[1:].astype(np.float64) + LEVELS_HU[:-1]) / 2, np.arange(LOWEST, HIGHEST + 1)
).astype(np.uint8)


def to_codes(hu: NDArray[Any]) -> NDArray[np.uint8]:
    """The nearest code of every HU value, of any shape; what lies outside -1024 to 3071 is clipped."""
    whole = np.rint(np.clip(hu, LOWEST, HIGHEST)).astype(np.int16)
    return np.asarray(_CODES[whole - LOWEST])
