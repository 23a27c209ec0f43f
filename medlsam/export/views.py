"""What all pictures have in common, without a library that draws: the three planes, the colours, the window."""

from __future__ import annotations

from typing import NamedTuple

from medlsam.windows import WINDOWS

SOFT_TISSUE = (WINDOWS["soft-tissue"].low, WINDOWS["soft-tissue"].high)
CONVENTION = "Radiological display: the patient's right is on the left of the picture."
# Told apart by people with any colour vision, on grey: orange, sky blue, and pink dashes.
MASK, BOX, REFERENCE = "#ffb000", "#5cc8ff", "#ff6fae"
CYCLE = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#7f9cff", "#b3de69")
PAPER, INK = "#101418", "#e8edf2"


class Plane(NamedTuple):
    """A way to cut a scan.

    Attributes:
        name: of the plane.
        across: the axis that runs to the right of the picture (0 = x, 1 = y, 2 = z), ascending.
        up: the axis that runs along the picture's height.
        cut: the axis that is cut.
        upwards: whether ``up`` ascends towards the top (else towards the bottom).
        sides: the patient's sides at the left, right, top and bottom of the picture.
    """

    name: str
    across: int
    up: int
    cut: int
    upwards: bool
    sides: str


PLANES = (
    Plane("axial", 0, 1, 2, False, "RLAP"),
    Plane("coronal", 0, 2, 1, True, "RLSI"),
    Plane("sagittal", 1, 2, 0, True, "APSI"),
)
