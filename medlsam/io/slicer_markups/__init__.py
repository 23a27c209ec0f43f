"""Extreme points, boxes and marks drawn by hand in 3D Slicer (``.mrk.json``, and points in the older ``.fcsv``).

``nodes`` takes a file apart. ``extreme_points`` makes the six points of each structure of it, ``boxes`` the box of
each, ``marks`` the single ROIs, lines and points.
"""

from medlsam.io.slicer_markups.boxes import read_boxes
from medlsam.io.slicer_markups.extreme_points import read_markups
from medlsam.io.slicer_markups.marks import Mark, read_marks

__all__ = ["Mark", "read_boxes", "read_marks", "read_markups"]
