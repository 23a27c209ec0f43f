"""Which lesions RECIST 1.1 allows to measure (Eisenhauer et al., Eur J Cancer 2009, sections 3.1 and Appendix II)."""

from __future__ import annotations

from typing import Literal

from medlsam.errors import UsageError
from medlsam.lesion.recist.lesion import Lesion

#: Thicker slices than this ask for larger lesions, mm.
THIN_SLICE_MM = 5.0
#: Longest diameter of a measurable tumour on thin slices, and short axis of a measurable node, mm.
LEAST_TUMOUR_MM, LEAST_NODE_MM = 10.0, 15.0
#: Below this short axis a node is normal, mm.
NORMAL_NODE_MM = 10.0
#: A diameter of 10 mm that rounding made 9.999999 is 10.
_HAIR = 1e-6

#: ``measurable``: may be a target. ``non_measurable``: a lesion all the same, so a non-target one. ``pathological``: a
#: node of 10 to 15 mm, a non-target one. ``normal``: a node below 10 mm, no lesion.
Measurability = Literal["measurable", "non_measurable", "pathological", "normal"]


def least_diameter_mm(slice_mm: float, node: bool = False) -> float:
    """The smallest diameter that counts as measurable.

    Args:
        slice_mm: thickness of the slices, or their distance where the thickness is not known.
        node: whether it is a lymph node.

    Returns:
        mm: 10 (nodes: 15) on slices of up to 5 mm, twice the thickness on thicker ones (nodes: at least 15).

    Raises:
        UsageError: the thickness is not positive.
    """
    if not slice_mm > 0:
        raise UsageError(f"slice thickness: a positive number of mm, got {slice_mm}")
    thick = 0.0 if slice_mm <= THIN_SLICE_MM + _HAIR else 2 * slice_mm
    return max(LEAST_NODE_MM if node else LEAST_TUMOUR_MM, thick)


def measurability(diameter_mm: float, slice_mm: float, node: bool = False) -> Measurability:
    """Judge one diameter.

    Args:
        diameter_mm: longest diameter of a tumour, short axis of a node.
        slice_mm: see ``least_diameter_mm``.
        node: whether it is a lymph node.
    """
    if diameter_mm >= least_diameter_mm(slice_mm, node) - _HAIR:
        return "measurable"
    if not node:
        return "non_measurable"
    return "pathological" if diameter_mm >= NORMAL_NODE_MM - _HAIR else "normal"


def measurability_of(lesion: Lesion, slice_mm: float | None = None) -> Measurability:
    """Judge a lesion; by the distance of its slices where nobody gives their thickness, which may be larger."""
    thickness = lesion.measured.slice_mm if slice_mm is None else slice_mm
    return measurability(lesion.diameter_mm, thickness, lesion.node)
