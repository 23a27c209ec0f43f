"""Figures of masks and boxes, in millimetres and millilitres: what the evaluation scores and what a user reads.

In come arrays with the spacing of their voxels, or finished segmentations; out come plain numbers. No model and no file
of labels is known here.

- ``metrics`` compares a prediction with a reference: Dice, IoU, HD95 and normalised surface Dice of masks, IoU and wall
  distance of boxes. Its docstring is the one place that says what an empty mask counts.
- ``statistics`` measures each structure of a segmentation for ``statistics.csv``: volume, mean HU, axial diameters,
  height, centre, and whether the scan cuts it off.
"""
