"""Scans and label maps: an array and its grid; reading, writing, resampling."""

from medlsam.volume.canonical import from_canonical, lps_grid, to_canonical, turned_to_lps
from medlsam.volume.checks import check_labels, check_same_grid
from medlsam.volume.model import Volume
from medlsam.volume.read import read_dicom_slices, read_label_map, read_volume
from medlsam.volume.resample import resample
from medlsam.volume.write import write_volume

__all__ = [
    "Volume",
    "check_labels",
    "check_same_grid",
    "from_canonical",
    "lps_grid",
    "read_dicom_slices",
    "read_label_map",
    "read_volume",
    "resample",
    "to_canonical",
    "turned_to_lps",
    "write_volume",
]
