"""A scan's label map as DICOM objects that refer to the series that the scan was read from.

``series`` reads the headers of the slices (no pixels): who the patient is, and where each slice lies. ``reference``
finds that series for a scan that is no DICOM. ``planes`` brings the label map into the series' own slices, also where
a tilted gantry was straightened for the networks. ``segmentation`` writes a DICOM SEG, ``structure_set`` an RTSTRUCT,
whose outlines ``contours`` draws. ``identity`` makes the UIDs and names that both need.
"""
