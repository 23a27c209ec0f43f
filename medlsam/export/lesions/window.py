"""The window of HU in which a lesion is drawn: lungs in that of the lung, the rest in that of soft tissue."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.export.planes import SOFT_TISSUE
from medlsam.windows import WINDOWS

LUNG = (WINDOWS["lung"].low, WINDOWS["lung"].high)
_LUNG_SITE = re.compile(r"(^|[_\W])(lungs?|pulmon\w*)($|[_\W])", re.IGNORECASE)
#: Words that label maps have for a lesion anywhere.
_NO_SITE = re.compile(r"(lesions?|tumou?rs?|nodules?|mass|masses|cancers?|metastas[ei]s)?", re.IGNORECASE)
#: What is between has as much air as a lung: less is tissue, more is air outside of the body or in the bowel.
_AERATED_HU = (-970.0, -450.0)
_RIM_MM = 6.0


def lesion_window(
    site: str, node: bool, hu: NDArray[Any], mask: NDArray[np.bool_], pixel_yx: tuple[float, float]
) -> tuple[float, float]:
    """Lowest and highest HU to be shown.

    Where the site is known it decides; nodes, also those of a lung's hilum, lie in fat. Where it is not, the rim of
    the lesion does: half of it has to be lung, since a lesion may lie at the pleura.

    Args:
        site: the organ; empty where unknown.
        node: whether it is a lymph node.
        hu: (Y, X) an axial slice.
        mask: (Y, X) the lesion in it.
        pixel_yx: mm of a pixel.
    """
    if node or not mask.any():
        return SOFT_TISSUE
    if not _NO_SITE.fullmatch(site):
        return LUNG if _LUNG_SITE.search(site) else SOFT_TISSUE
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    near = tuple(
        slice(max(int(at[0] - _RIM_MM / mm) - 1, 0), int(at[-1] + _RIM_MM / mm) + 2)
        for at, mm in zip((rows, columns), pixel_yx, strict=True)
    )
    distance = ndimage.distance_transform_edt(~mask[near], sampling=pixel_yx)
    # The nearest pixels hold some of the lesion.
    rim = hu[near][(distance > max(pixel_yx)) & (distance <= max(_RIM_MM, 2 * max(pixel_yx)))]
    aerated = (rim > _AERATED_HU[0]) & (rim < _AERATED_HU[1])
    return LUNG if rim.size and 2 * np.count_nonzero(aerated) >= rim.size else SOFT_TISSUE
