"""Figures of masks and boxes, in millimetres and millilitres: what the evaluation scores and what a user reads.

In come arrays with the spacing of their voxels, or finished segmentations; out come plain numbers. No model and no file
of labels is known here.

- ``metrics`` compares a prediction with a reference: Dice, IoU, HD95 and normalised surface Dice of masks, IoU and wall
  distance of boxes. Its docstring is the one place that says what an empty mask counts.
- ``detection`` counts connected regions that were found and missed (F1 at an IoU threshold) and Dice by voxels, for
  lesions; with its own policy for empty cases, which its docstring states.
- ``summary`` makes mean, spread and number of figures.
- ``statistics`` measures each structure of a segmentation for ``statistics.csv`` and ``statistics.json``: ``shape``
  gives axial diameters, surface and sphericity, ``intensity`` mean and percentiles of HU, ``place`` the centre, the
  distance to the scan's edge, and slice numbers as the scanner counts them.
"""
