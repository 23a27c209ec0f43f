"""Scans and label maps as values: an array and its grid, turned to LPS and resampled. No file is read here."""

from medlsam.volume.canonical import from_canonical, lps_grid, to_canonical, turned_to_lps
from medlsam.volume.resample import resample
from medlsam.volume.volume import Volume

__all__ = ["Volume", "from_canonical", "lps_grid", "resample", "to_canonical", "turned_to_lps"]
