"""Scans and label maps as values; no file is read here.

``volume`` defines the two kinds: an ``Image`` in HU and a ``LabelMap``, each an array (Z, Y, X) on a ``Grid`` with the
``Source`` that it came from. Their type decides how they are treated, never the type of their numbers: ``resample``
samples an image linearly, blurred where it shrinks (``resample_separable`` does the work where the axes are parallel),
and a label map by nearest neighbour. ``canonical`` turns a volume to the LPS axes, which is how models look at it, and
brings labels back into the input's own geometry. What comes out of both keeps the source, but its grid is no longer the
scanner's. ``hounsfield`` names the HU values that decide something, such as what counts as air.
"""

from medlsam.volume.canonical import from_canonical, lps_grid, to_canonical, turned_to_lps
from medlsam.volume.resample import resample
from medlsam.volume.volume import Image, LabelMap, Source, Volume

__all__ = [
    "Image",
    "LabelMap",
    "Source",
    "Volume",
    "from_canonical",
    "lps_grid",
    "resample",
    "to_canonical",
    "turned_to_lps",
]
