"""Procedural phantoms: labelled CT-like scans of made-up people, the same for the same seed.

``generate.phantom`` makes one. A seed becomes a ``person`` with sizes and proportions of their own; a ``canvas`` holds
the part of the scan that is being painted, in the coordinates of an average body (``layout`` says what lies where and
which label it has). The anatomy is painted in layers, later ones over earlier ones: ``trunk_layers``, ``chest``,
``abdomen``, ``skeleton`` and ``head``, all made of the ``shapes``. Then the ``scanner`` adds the couch, metal and its
streaks, and blur and noise follow. The result is an ``Image``, a ``LabelMap`` on the same grid and the names of its
values; ``dataset`` writes those of several people to files, and ``lesions`` draws lesions into one or several visits.
"""

from medlsam.phantoms.generate import Phantom, phantom
from medlsam.phantoms.layout import NAMES, REGIONS

__all__ = ["NAMES", "REGIONS", "Phantom", "phantom"]
