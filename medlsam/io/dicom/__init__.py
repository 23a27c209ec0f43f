"""DICOM in: which files of a folder make a CT scan, and its voxels on a regular grid.

``header`` reads a few fields of every file. ``survey`` puts the files together by patient, study and series, wherever
below the folder they lie, and ``stacks`` tells the CT slices of a series from scouts, reports and copies. ``read``
chooses the scan and opens it: ``slices`` checks that single slices make one regular grid, ``multiframe`` takes the
frames of enhanced CT by their places, ``gantry_tilt`` straightens slices that were taken at an angle, and ``pixels``
decodes the values.
"""
